"""SuperInfer's paper: largest virtual lag first (arXiv 2601.20309, Algorithm 1).

Without what RotaSched adds: no credit for early tokens, no relegation, no run quantum, and first
come, first served while there is room. What the paper leaves open is settled as in RotaSched.
"""

from dataclasses import replace

from superinfer_contract.runtime_config import SchedulerKnobs

from superinfer_runtime.policy.rotasched import Decision, Iteration, decide


def decide_lvf(iteration: Iteration, knobs: SchedulerKnobs) -> Decision:
    """Return the admissions and rotations of one iteration; of ``knobs`` the paper's count."""
    papers = knobs.model_copy(update={"tbt_credit": 0.0, "relegate": False, "run_quantum_s": 0.0})
    decision = decide(iteration, papers)
    return decision if decision.contended else replace(decision, admit=list(iteration.waiting))
