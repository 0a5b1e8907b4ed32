import pickle
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_contract.slo import check_classes
from superinfer_runtime.bench.traces import TraceError
from superinfer_runtime.sim.workload.scenarios import Scenario, scenarios
from superinfer_runtime.sim.workload.shapes import CONTEXT_TOKENS

MADE_UP = ("short-chat", "bursty", "reasoning", "two-classes", "sessions")
RECORDED = ("sharegpt", "azure-conv", "mooncake", "servegen")


def keeps_its_promises(scenario: Scenario, seed: int) -> None:
    """What holds of every scenario, for one seed and two rates."""
    slow = scenario.make(2.0, 40.0, seed)
    fast = scenario.make(3.0, 40.0, seed)
    assert slow == scenario.make(2.0, 40.0, seed)
    arrivals_s = [request.arrival_s for request in slow]
    assert arrivals_s == sorted(arrivals_s)
    assert 0 <= arrivals_s[0] <= arrivals_s[-1] < 40
    assert len({request.request_id for request in slow}) == len(slow)
    assert {request.slo_class for request in slow} <= {c.name for c in scenario.classes}
    for request in slow:
        assert min(request.prompt_tokens, request.output_tokens) >= 1
        assert request.prompt_tokens + request.output_tokens <= CONTEXT_TOKENS
    for one, other in zip(slow, fast, strict=False):
        assert replace(one, arrival_s=0) == replace(other, arrival_s=0)


def test_every_scenario_is_here() -> None:
    named = scenarios()
    assert tuple(named) == (*MADE_UP, *RECORDED)
    for name, scenario in named.items():
        assert scenario.name == name
        check_classes(scenario.classes)
        assert pickle.loads(pickle.dumps(scenario)) == scenario


@settings(max_examples=25)
@given(st.sampled_from(MADE_UP), st.integers())
def test_made_up_scenarios(name: str, seed: int) -> None:
    keeps_its_promises(scenarios()[name], seed)


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_scenarios(traces_dir: Path, name: str) -> None:
    for seed in range(3):
        keeps_its_promises(scenarios(traces_dir)[name], seed)


@pytest.mark.parametrize("name", RECORDED)
def test_absent_recordings_are_told_of(tmp_path: Path, name: str) -> None:
    with pytest.raises(TraceError, match="SUPERINFER_TRACES"):
        scenarios()[name].make(1.0, 10.0, 0)
    with pytest.raises(TraceError, match="No such file"):
        scenarios(tmp_path)[name].make(1.0, 10.0, 0)


@pytest.mark.parametrize(
    ("name", "prompt_tokens", "output_tokens"),
    [("short-chat", 222, 396), ("bursty", 222, 396), ("reasoning", 200, 3_000)],
)
def test_made_up_means(name: str, prompt_tokens: int, output_tokens: int) -> None:
    requests = scenarios()[name].make(10.0, 1_000.0, 0)
    count = len(requests)
    # The cut of the tails takes a few percent.
    assert sum(r.prompt_tokens for r in requests) / count == pytest.approx(prompt_tokens, rel=0.06)
    assert sum(r.output_tokens for r in requests) / count == pytest.approx(output_tokens, rel=0.06)


def test_only_bursty_comes_in_bursts() -> None:
    def close_share(name: str) -> float:
        requests = scenarios()[name].make(10.0, 300.0, 0)
        gaps_s = [later.arrival_s - former.arrival_s for former, later in pairwise(requests)]
        return sum(gap_s < 0.01 for gap_s in gaps_s) / len(gaps_s)

    # Gaps below a tenth of their mean: 0.10 of exponential ones, 0.44 of Gamma ones of shape 0.25.
    assert close_share("short-chat") == pytest.approx(0.10, abs=0.03)
    assert close_share("bursty") == pytest.approx(0.44, abs=0.05)


def test_two_classes_have_their_shares_and_lengths() -> None:
    requests = scenarios()["two-classes"].make(10.0, 500.0, 0)
    chat = [request for request in requests if request.slo_class == "chat"]
    batch = [request for request in requests if request.slo_class == "batch"]
    assert len(chat) / len(requests) == pytest.approx(0.7, abs=0.03)
    mean_chat = sum(request.prompt_tokens for request in chat) / len(chat)
    mean_batch = sum(request.prompt_tokens for request in batch) / len(batch)
    assert mean_batch > 5 * mean_chat


def test_sessions_offer_the_rate_asked_for_in_turns() -> None:
    turns = 0
    for request in scenarios()["sessions"].make(10.0, 1_000.0, 0):
        turns += 1
        while request.next_turn is not None:
            request = request.next_turn.request
            turns += 1
    assert turns / 1_000 == pytest.approx(10, rel=0.1)
