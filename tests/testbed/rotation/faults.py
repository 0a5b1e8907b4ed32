"""Faults: a failed or stuck copy, or memory refused, ends in recompute and a counter."""

from typing import Any

from rotation.probes import STUCK_FOR_S
from rotation.rig import Platform, counted, generate, left_over, model_folder, serving, settle

FAULTS = {
    "failing": "FailingConnector",
    "stuck": "StuckConnector",
    "refusing": "RefusingConnector",
}


def faults(on: Platform, tier: str, seconds: float) -> dict[str, Any]:
    """Serve under each fault; all requests must finish, and nothing may be left.

    Tokens of requests that were computed again are compared where recompute is exact (float32 on a
    CPU); on a GPU a prefill beside decodes takes other kernels, which stock vLLM's preemption shows
    as well.
    """
    found: dict[str, Any] = {}
    wrong: list[str] = []
    with model_folder(on) as model:
        with serving(model, on) as llm:
            plain = generate(llm, on)
        for fault, connector in FAULTS.items():
            with serving(model, on, connector, tier=tier) as llm:
                tokens = generate(llm, on)
                settle(llm, after_s=STUCK_FOR_S)
                run = {"left_over": left_over(), **counted()}
            run["finished"] = sum(len(one) == on.max_tokens for one in tokens)
            run["identical"] = sum(a == b for a, b in zip(tokens, plain, strict=True))
            found[fault] = run
            if run["finished"] != len(plain):
                wrong.append(f"{fault}: {run['finished']} of {len(plain)} finished")
            if not on.is_cuda and run["identical"] != len(plain):
                wrong.append(f"{fault}: {run['identical']} of {len(plain)} identical")
            if any(run["left_over"].values()):
                wrong.append(f"{fault}: left over {run['left_over']}")
    if not found["failing"]["copy_failures"] or not found["failing"]["recompute_preemptions"]:
        wrong.append("failing: no copy failed")
    if not found["stuck"]["rotations_in"]:
        wrong.append("stuck: rotation did not go on afterwards")
    if found["stuck"]["copy_failures"] != 1:
        wrong.append(f"stuck: {found['stuck']['copy_failures']} failures counted, not 1")
    found["problems"] = wrong
    return found
