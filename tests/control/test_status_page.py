"""The status page over real HTTP: what it says of looks and forgets, and that text stays text."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback_server import serving
from superinfer_contract.kv_budget import KvBudget, TierState
from superinfer_contract.metrics import Objective
from superinfer_contract.service import ServiceSpec
from superinfer_operator.conditions import ConditionType
from superinfer_operator.ladder.decision import Decision
from superinfer_operator.ladder.memory import LadderState
from superinfer_operator.ladder.move import Move, Rung, Step
from superinfer_operator.ladder.rules import Lever
from superinfer_operator.ladder.view import Observed
from superinfer_operator.replica import ReplicaView
from superinfer_operator.status_page import sparkline
from superinfer_operator.status_page.board import Board, Look
from superinfer_operator.status_page.history import MAX_STEPS, PERIOD_S, SAMPLES, History
from superinfer_operator.status_page.pages import status_app
from superinfer_operator.status_page.view import MAX_REPLICAS, Point
from superinfer_operator.telemetry.windows import Share, Snapshot
from superinfer_operator.transitions import Condition
from superinfer_operator.turn import Outcome, Turn
from superinfer_operator.wish import Wish

MIB = 2**20
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPEC = ServiceSpec.model_validate(
    {
        "sloClasses": [
            {"name": "chat", "ttftSeconds": 1, "tbtSeconds": 0.1, "default": True},
            {"name": "batch", "ttftSeconds": 60, "tbtSeconds": 1, "target": 0.8},
        ],
        "budget": {"minEvents": 5},
    }
)
READY = Condition(ConditionType.READY, True, "AllReady", "all take requests")
LATE = Condition(ConditionType.SLO_SATISFIED, False, "ObjectivesMissed", "chat is late")
HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;"
GROW = Move(Rung.GROW_DRAM, Lever.DRAM, 4 * MIB, 8 * MIB)


class Clock:
    """Seconds by hand, and the time of day that goes with them."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def board(self) -> Board:
        return Board(lambda: self.now_s, lambda: NOON + timedelta(seconds=self.now_s))


def tier(allocated: int, used: int, desired: int = 0) -> TierState:
    return TierState(
        min_bytes=2 * MIB,
        max_bytes=32 * MIB,
        desired_bytes=(desired or allocated) * MIB,
        allocated_bytes=allocated * MIB,
        in_use_bytes=used * MIB,
        step_bytes=MIB,
    )


def replica(name: str = "chat-0", good: int = 9, **changes: Any) -> ReplicaView:
    shares = {("chat", objective): Share(good, 10) for objective in Objective}
    snapshot = Snapshot(age_s=1, shares=shares, gauges={}, rises={}, window_s=30)
    budget = KvBudget(hbm=tier(8, 8), dram=tier(16, 3, desired=20), pending=True)
    return replace(ReplicaView(name, True, snapshot, budget), **changes)


def turn(
    *views: ReplicaView, rung: Rung = Rung.HOLD, reason: str = "all is well", **changes: Any
) -> Turn:
    outcome = changes.pop("outcome", Outcome.NO_CHANGE)
    decision = Decision(rung, reason, LadderState(), **changes)
    return Turn(views or (replica(),), Observed(tiers={}), decision, outcome, Wish())


def look(*conditions: Condition, turned: Turn | None = None, **changes: Any) -> Look:
    made = Look(conditions or (READY,), SPEC, turned or turn(), "http://chat.team.svc:8000", 1, 1)
    return replace(made, **changes)


def told(board: Board) -> list[dict[str, Any]]:
    with serving(status_app(board)) as url:
        answer = httpx.get(f"{url}/api/v1/services", trust_env=False)
    assert answer.headers["content-type"] == "application/json"
    services: list[dict[str, Any]] = answer.json()["services"]
    return services


class Tags(HTMLParser):
    """All tags of a page and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_service_is_told_in_plain_units() -> None:
    board = Clock().board()
    board.looked("team/chat", look(READY, LATE))

    (service,) = told(board)

    assert (service["name"], service["tone"]) == ("team/chat", "bad")
    assert (service["ready_replicas"], service["replicas"]) == (1, 1)
    assert service["conditions"][1]["message"] == "chat is late"
    chat, batch = service["classes"]
    assert chat["attained"] == {"ttft": 0.9, "tbt": 0.9, "joint": 0.9}
    assert (chat["judged"], chat["target"], chat["tone"]) == (10, 0.95, "bad")
    assert (batch["attained"]["joint"], batch["tone"]) == (None, "neutral")
    (pod,) = service["pods"]
    assert pod["tiers"]["dram"] == {
        "min_bytes": 2 * MIB,
        "max_bytes": 32 * MIB,
        "desired_bytes": 20 * MIB,
        "allocated_bytes": 16 * MIB,
        "in_use_bytes": 3 * MIB,
    }
    assert service["decides"] == "Hold: all is well"


def test_those_to_look_at_come_first_and_those_gone_are_gone() -> None:
    board = Clock().board()
    for name, conditions in (("a", [READY]), ("b", [READY, LATE]), ("c", [])):
        board.looked(name, replace(look(), conditions=conditions))
    board.looked("d", Look([Condition(ConditionType.READY, False, "InvalidSpec", "no classes")]))
    assert [(each["name"], each["tone"]) for each in told(board)] == [
        ("b", "bad"),
        ("d", "bad"),
        ("a", "good"),
        ("c", "neutral"),
    ]

    board.forget("b")
    board.forget("b")
    assert "b" not in [each["name"] for each in told(board)]


def test_attainment_is_remembered_for_a_while_and_by_class() -> None:
    clock = Clock()
    board = clock.board()
    for number in range(SAMPLES + 50):
        board.looked("chat", look(turned=turn(replica(good=number % 11))))
        clock.now_s += PERIOD_S
    clock.now_s -= PERIOD_S

    (service,) = told(board)

    lately = service["classes"][0]["lately"]
    assert len(lately) == SAMPLES
    assert lately[-1] == {"age_s": 0, "attained": (SAMPLES + 49) % 11 / 10}
    assert lately[0]["age_s"] == PERIOD_S * (SAMPLES - 1)
    assert {point["attained"] for point in service["classes"][1]["lately"]} == {None}


def test_looking_often_makes_no_more_samples() -> None:
    history = History()
    for tenth in range(1000):
        history.sampled({"chat": 1.0}, tenth / 10)
    assert len(history.samples) <= 100 / (0.9 * PERIOD_S) + 1


def test_a_step_has_one_line_that_says_what_became_of_it() -> None:
    board = Clock().board()
    grow = {"rung": Rung.GROW_DRAM, "reason": "late: grow", "move": GROW}
    board.looked("chat", look(turned=turn(**grow, execute=True, outcome=Outcome.SENT)))
    assert [each["outcome"] for each in told(board)[0]["steps"]] == ["sent"]

    ended = Step(GROW, 0.0, "late: grow")
    board.looked("chat", look(turned=turn(ended=ended, landed=True)))
    board.looked("chat", look())
    (step,) = told(board)[0]["steps"]
    assert (step["rung"], step["outcome"], step["reason"]) == ("GrowDRAM", "landed", "late: grow")

    board.looked("chat", look(turned=turn(ended=ended, landed=False)))
    assert told(board)[0]["steps"][0]["outcome"] == "timed-out"


def test_the_last_steps_are_kept_newest_first() -> None:
    board = Clock().board()
    for number in range(3 * MAX_STEPS):
        same = turn(rung=Rung.EXHAUSTED, reason="word " * number)
        board.looked("chat", look(turned=same))
        board.looked("chat", look(turned=same))
    steps = told(board)[0]["steps"]
    assert [len(each["reason"].split()) for each in steps] == list(
        range(3 * MAX_STEPS - 1, 2 * MAX_STEPS - 1, -1)
    )


def test_of_very_many_replicas_some_are_shown_and_the_rest_counted() -> None:
    board = Clock().board()
    views = [replica(f"chat-{number}") for number in range(MAX_REPLICAS + 7)]
    board.looked("chat", look(turned=turn(*views)))
    (service,) = told(board)
    assert (len(service["pods"]), service["pods_not_shown"]) == (MAX_REPLICAS, 7)


def test_what_others_wrote_is_text_and_nothing_is_loaded_from_elsewhere() -> None:
    board = Clock().board()
    bad = Condition(ConditionType.DEGRADED, True, HOSTILE, HOSTILE)
    grow = turn(
        replica(HOSTILE, trouble=HOSTILE, silent=True),
        rung=Rung.GROW_DRAM,
        reason=HOSTILE,
        move=GROW,
        execute=True,
    )
    board.looked(HOSTILE, look(bad, turned=grow, url=f"javascript:{HOSTILE}"))

    with serving(status_app(board)) as url:
        answer = httpx.get(url, trust_env=False)
        style = httpx.get(f"{url}/style.css", trust_env=False)

    page = Tags(answer.text)
    assert page.text.count(HOSTILE) >= 7
    assert not {"script", "img", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    attributes = [(tag, name, value) for tag, given in page.tags for name, value in given.items()]
    assert not [each for each in attributes if each[1].startswith("on") or each[1] == "style"]
    links = {value for _, name, value in attributes if name in ("href", "src")}
    assert links == {"/style.css", "/api/v1/services"}
    assert not re.search(r"url\(|@import", style.text)


def test_browsers_are_told_to_load_and_run_nothing_else() -> None:
    with serving(status_app(Clock().board())) as url:
        for path in ("/", "/style.css", "/api/v1/services"):
            answer = httpx.get(url + path, trust_env=False)
            policy = answer.headers["content-security-policy"].split("; ")
            assert "default-src 'none'" in policy
            assert not [part for part in policy if "unsafe" in part or part.startswith("script")]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_written(method: str) -> None:
    with serving(status_app(Clock().board())) as url:
        for path in ("/", "/api/v1/services"):
            assert httpx.request(method, url + path, trust_env=False).status_code == 405


def test_without_services_the_page_says_so() -> None:
    with serving(status_app(Clock().board())) as url:
        assert "No SuperInferService" in httpx.get(url, trust_env=False).text


POINTS = st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=50).map(
    lambda shares: [
        Point(PERIOD_S * (len(shares) - 1 - index), share) for index, share in enumerate(shares)
    ]
)


@given(POINTS)
def test_a_line_stays_in_its_box_and_is_broken_where_nothing_was_judged(
    points: list[Point],
) -> None:
    drawn = sparkline.path(points, span_s=100, width=240, height=32)
    for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn):
        assert 0 <= float(x) <= 240
        assert 0 <= float(y) <= 32
    known = [point.attained is not None for point in points]
    starts = sum(now and not before for before, now in zip([False, *known], known, strict=False))
    assert drawn.count("M") == starts
    assert drawn.count("M") + drawn.count("L") == sum(known)
