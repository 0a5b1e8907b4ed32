"""The meters of this process.

vLLM makes stat loggers itself, from an entry point and with nothing but its own configuration. So
`superinfer serve` sets the meters up before it starts the engine and leaves them here, in the same
process; where nobody did (vLLM used without SuperInfer) the stat logger finds none and does
nothing. Secrets of the telemetry configuration never pass through vLLM that way.
"""

from superinfer_runtime.telemetry.meters import SloMeters

_active: SloMeters | None = None


def activate(meters: SloMeters | None) -> None:
    """Make ``meters`` the ones that stat loggers of this process feed; None: none."""
    global _active
    _active = meters


def active_meters() -> SloMeters | None:
    """Return what `activate` left."""
    return _active
