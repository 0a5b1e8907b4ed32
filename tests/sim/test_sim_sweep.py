import json

import pytest
from made_up_runs import sweep_of
from superinfer_runtime.sim.report.curves import curves
from superinfer_runtime.sim.report.policy_style import STYLES, policy_styles
from superinfer_runtime.sim.report.sweep import Sweep


def test_a_sweep_written_and_read_again_is_the_same() -> None:
    sweep = sweep_of("stock", "rotasched")
    written = json.dumps(sweep.to_dict(), allow_nan=False)
    read = Sweep.from_dict(json.loads(written))
    assert json.dumps(read.to_dict()) == written
    assert read.max_rates == sweep.max_rates
    assert read.goals == (0.9, 0.99)
    assert (read.scenarios, read.policies) == (("paper",), ("stock", "rotasched"))


def test_a_file_that_is_no_sweep_is_refused_with_the_place() -> None:
    data = sweep_of("stock").to_dict()
    data["points"][1]["summary"]["total"]["requests"] = "many"
    with pytest.raises(ValueError, match=r"points\.1\.summary\.total\.requests"):
        Sweep.from_dict(data)


def test_curves_average_the_seeds_and_tell_their_range() -> None:
    slow, fast = curves(sweep_of("stock"), "paper")["stock"][::-1]
    assert (fast.rate, slow.rate, fast.seeds) == (2.0, 4.0, 2)
    assert (fast.ttft.low, fast.ttft.mean, fast.ttft.high) == (1.0, 1.0, 1.0)
    assert slow.ttft.mean == 0.5
    assert (slow.tbt.mean, slow.joint.mean) == (0.5, 0.0)
    assert curves(sweep_of("stock"), "elsewhere") == {}


def test_a_policy_looks_the_same_in_every_company() -> None:
    alone = policy_styles(["rotasched"])
    together = policy_styles(["stock", "mine", "rotasched", "lvf", "theirs"])
    assert together["rotasched"] == alone["rotasched"] == STYLES["rotasched"]
    assert list(together) == ["stock", "mine", "rotasched", "lvf", "theirs"]


def test_looks_differ_however_many_policies_there_are() -> None:
    names = [*STYLES, "mine", "theirs", "another"]
    styles = policy_styles(names)
    assert len(set(styles.values())) == len(names)
    assert styles == {name: policy_styles(sorted(names))[name] for name in names}
