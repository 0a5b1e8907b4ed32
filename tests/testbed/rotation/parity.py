"""Parity: rotation must change nothing but time. Tokens are compared one by one."""

from typing import Any

from rotation.rig import Platform, counted, generate, left_over, model_folder, serving, settle

CONNECTORS = {
    "rotating": "KeepingConnector",
    "rotating-caching": "KeepingConnector",
    "corrupting": "CorruptingConnector",
}


def parity(on: Platform, tier: str, seconds: float) -> dict[str, Any]:
    """Generate plain, rotating, rotating with prefix caching, and with corrupted copies."""
    from rotation.probes import CountingScheduler

    with model_folder(on) as model:
        with serving(model, on) as llm:
            plain = generate(llm, on)
        found: dict[str, Any] = {"requests": len(plain), "tokens": sum(map(len, plain))}
        for setting, connector in CONNECTORS.items():
            caching = setting == "rotating-caching"
            with serving(model, on, connector, tier=tier, enable_prefix_caching=caching) as llm:
                tokens = generate(llm, on)
                settle(llm)
                resumed = CountingScheduler.latest.resumed_tokens
                found[setting] = {
                    "identical": sum(a == b for a, b in zip(tokens, plain, strict=True)),
                    "resumes": len(resumed),
                    "resumes_of_one_token": resumed.count(1),
                    "left_over": left_over(),
                    **counted(),
                }
        if on.is_cuda:
            # For comparison: what stock vLLM's own preemption, by recompute, does to tokens.
            with serving(model, on, few_blocks=True) as llm:
                tokens = generate(llm, on)
            found["stock_preempting_identical"] = sum(
                a == b for a, b in zip(tokens, plain, strict=True)
            )
    found["problems"] = problems(found, on)
    return found


def problems(found: dict[str, Any], on: Platform) -> list[str]:
    """Everything that is not as it must be."""
    wrong: list[str] = []
    for setting in ("rotating", "rotating-caching"):
        run = found[setting]
        if run["identical"] != found["requests"]:
            wrong.append(f"{setting}: {run['identical']} of {found['requests']} identical")
        if run["rotations_out"] < on.min_rotations:
            wrong.append(f"{setting}: only {run['rotations_out']} rotations")
        if run["rotations_in"] != run["rotations_out"]:
            wrong.append(f"{setting}: {run['rotations_in']} of {run['rotations_out']} came back")
        if not run["resumes"] == run["resumes_of_one_token"] == run["rotations_in"]:
            wrong.append(f"{setting}: a resume computed more than one token")
        if run["recompute_preemptions"]:
            wrong.append(f"{setting}: {run['recompute_preemptions']} recomputed")
        if any(run["left_over"].values()):
            wrong.append(f"{setting}: left over {run['left_over']}")
    corrupting = found["corrupting"]
    if corrupting["identical"] > found["requests"] // 2:
        wrong.append("corrupted copies hardly show: the comparison proves nothing")
    return wrong
