"""Requests made from an OpenAPI document, valid and invalid ones, and what was a server error."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

TIMEOUT_S = 60
MOST_AT_ONCE = 4
"""Answers that one request may ask for: a fuzzer is no load test."""
MULTIPLIERS = ("n", "best_of", "beam_width", "prompt_logprobs", "logprobs", "top_logprobs")


@dataclass(slots=True)
class Fuzzed:
    """What came of it: cases by status, and each server error in words."""

    statuses: Counter[int] = field(default_factory=Counter)
    server_errors: list[str] = field(default_factory=list)

    @property
    def num_cases(self) -> int:
        return self.statuses.total()


def fuzz(
    document: dict[str, Any],
    base_url: str,
    session: requests.Session,
    max_examples: int,
    model: str = "",
    leave_out: Collection[str] = (),
) -> Fuzzed:
    """Ask ``base_url`` up to ``max_examples`` times for each operation of ``document``.

    The cases are the same each time. ``model`` is put where a body names one; ``leave_out`` are
    operations (``POST /path``) that are not to be called.
    """
    schema = schemathesis.openapi.from_dict(document)
    found = Fuzzed()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.label not in leave_out:
            _fuzz_one(operation, found, base_url, session, max_examples, model)
    return found


def _fuzz_one(
    operation: Any,
    found: Fuzzed,
    base_url: str,
    session: requests.Session,
    max_examples: int,
    model: str,
) -> None:
    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))

    @settings(
        max_examples=max_examples,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def ask(case: Any) -> None:
        if isinstance(case.body, dict):
            if isinstance(case.body.get("model"), str):
                case.body["model"] = model  # another one is refused before anything else is read
            for name in MULTIPLIERS:
                value = case.body.get(name)
                if isinstance(value, int) and value > MOST_AT_ONCE:
                    case.body[name] = MOST_AT_ONCE
        answer = case.call(
            base_url=base_url, session=session, verify=session.verify, timeout=TIMEOUT_S
        )
        found.statuses[answer.status_code] += 1
        if answer.status_code >= 500:
            said = f"{answer.status_code} {answer.text[:300]} for {case.as_curl_command()[:600]}"
            found.server_errors.append(f"{operation.label}: {said}")

    run: Callable[[], None] = ask
    run()
