"""`superinfer serve` as it is, but for the scheduler: one that writes its steps down.

With policy stock the configuration names that scheduler itself. Takes the arguments of
`superinfer serve`; see `step_recorder`.
"""

from superinfer_runtime.cli import main
from superinfer_runtime.server import vllm_args

# The engine's processes import this module again under another name (multiprocessing's spawn).
if __name__ == "__main__":
    vllm_args.SCHEDULER_CLASS = "step_recorder.RecordingRota"
    main()
