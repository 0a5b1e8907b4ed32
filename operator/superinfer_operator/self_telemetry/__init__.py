"""What the operator tells of itself: metrics (`OperatorMetrics`) and traces (`OperatorTraces`)."""

from superinfer_operator.self_telemetry.metrics import OperatorMetrics
from superinfer_operator.self_telemetry.traces import OperatorTraces

__all__ = ["OperatorMetrics", "OperatorTraces"]
