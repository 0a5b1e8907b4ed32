"""Scenarios in classes of the user's, and traces as scenarios."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from superinfer_contract.validation import ConfigError
from superinfer_runtime.bench.slo_mix import PAPER_MIX, LoadClass
from superinfer_runtime.sim.evaluation.loads import (
    TraceFile,
    own_rate,
    standard_scenarios,
    trace_scenario,
)
from superinfer_runtime.sim.request import SimRequest

MIX = (LoadClass("gold", 1, 1.0, 0.05), LoadClass("iron", 3, 60.0, 1.0))
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:15:{second:02}.0000000,{300 + second},60\n" for second in range(0, 40, 2)
)
LENGTHS = "num_prefill_tokens,num_decode_tokens\n74,918\n340,74\n"


def turns(request: SimRequest) -> list[SimRequest]:
    chain = [request]
    while (following := chain[-1].next_turn) is not None:
        chain.append(following.request)
    return chain


@pytest.mark.parametrize("name", ["short-chat", "two-classes", "sessions"])
def test_classes_of_the_users_change_nothing_else(name: str) -> None:
    (own,) = standard_scenarios([name], None, None)
    (mixed,) = standard_scenarios([name], None, MIX)
    assert [one.name for one in mixed.classes] == ["gold", "iron"]
    requests = mixed.make(20.0, 100.0, 1)
    chains = [(turns(a), turns(b)) for a, b in zip(own.make(20.0, 100.0, 1), requests, strict=True)]
    for before, after in chains:
        assert len({turn.slo_class for turn in after}) == 1, "a session is of one class"
        for a, b in zip(before, after, strict=True):
            assert replace(b, slo_class=a.slo_class, next_turn=a.next_turn) == a
    counts = Counter(after[0].slo_class for _, after in chains)
    assert counts["gold"] / counts.total() == pytest.approx(0.25, abs=0.1)


def test_a_trace_keeps_its_pace_or_takes_another(tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    path.write_text(AZURE)
    recorded = trace_scenario(TraceFile(path, PAPER_MIX, True, None, None))
    assert recorded.name == "azure.csv"
    assert own_rate(recorded, 20.0, 0) == 0.5
    assert own_rate(recorded, 1.0, 0) == 1, "a lone request"
    assert [request.arrival_s for request in recorded.make(7.0, 6.0, 0)] == [0, 2, 4]
    rescaled = trace_scenario(TraceFile(path, PAPER_MIX, False, 310, None))
    requests = rescaled.make(5.0, 2.0, 0)
    assert len(requests) == 10
    assert requests[-1].arrival_s < 2
    assert max(request.prompt_tokens for request in requests) == 310


def test_a_trace_without_arrivals_has_no_pace_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "lengths.csv"
    path.write_text(LENGTHS)
    scenario = trace_scenario(TraceFile(path, PAPER_MIX, True, None, None))
    with pytest.raises(ConfigError, match="no arrival times"):
        own_rate(scenario, 10.0, 0)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown scenario 'rush'"):
        standard_scenarios(["short-chat", "rush"], None, None)
    with pytest.raises(ConfigError, match=r"absent\.csv"):
        trace_scenario(TraceFile(tmp_path / "absent.csv", PAPER_MIX, True, None, None))
