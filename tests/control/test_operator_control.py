"""The loop against runtimes that answer well, refuse, talk nonsense or are gone: true HTTP."""

import io
import json
import socket
from collections.abc import AsyncIterator

import pytest
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from superinfer_contract.kv_budget import PATH, KvBudget, KvBudgetPatch, TierState
from superinfer_contract.metrics import KV_HEADROOM, ROTATION_STALLS, SLO_REQUESTS
from superinfer_contract.service import SuperInferService
from superinfer_operator.control import Controller
from superinfer_operator.events import EventLog
from superinfer_operator.ladder.move import Rung
from superinfer_operator.ladder.rules import Lever
from superinfer_operator.replica import Replica
from superinfer_operator.runtime_client import RuntimeClient, RuntimeRefused, RuntimeUnreachable
from superinfer_operator.status import Phase, View, line, table, topic
from superinfer_operator.telemetry.http_server import bind, serving_app
from superinfer_operator.telemetry.points import Point, Shape, Source
from superinfer_operator.telemetry.windows import Windows
from superinfer_operator.turn import Outcome, Turn
from superinfer_operator.wish import Wish

MIB = 2**20
TIER = TierState(
    min_bytes=0,
    max_bytes=64 * MIB,
    desired_bytes=4 * MIB,
    allocated_bytes=4 * MIB,
    in_use_bytes=4 * MIB,
    step_bytes=MIB,
)
SERVICE = SuperInferService.model_validate(
    {
        "apiVersion": "superinfer.dev/v1alpha1",
        "kind": "SuperInferService",
        "metadata": {"name": "demo"},
        "spec": {"kvCache": {"dram": {"max": "8Mi", "step": "2Mi"}, "slab": "1Mi"}},
    }
)


class Runtime:
    """A served budget whose answer to PATCH a test chooses."""

    def __init__(self) -> None:
        self.patch_answer: Response | None = None
        self.patches: list[KvBudgetPatch] = []
        self.budget = KvBudget(hbm=TIER, dram=TIER, pending=False)

    async def answer(self, request: Request) -> Response:
        if request.method == "PATCH":
            self.patches.append(KvBudgetPatch.model_validate_json(await request.body()))
            if self.patch_answer is not None:
                return self.patch_answer
        return JSONResponse(self.budget.model_dump())

    async def ready(self, _: Request) -> Response:
        return Response(status_code=503)

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/ready", self.ready),
                Route(PATH, self.answer, methods=["GET", "PATCH"]),
            ]
        )


class Scene:
    """A controller of a served runtime, its clock and its events."""

    def __init__(self, client: RuntimeClient, runtime: Runtime) -> None:
        self.client = client
        self.runtime = runtime
        self.now_s = 100.0
        self.windows = Windows(window_s=30, stale_s=17)
        self.file = io.StringIO()
        self.log = EventLog(self.file)
        self.replica = Replica("demo-0", client)
        self.controller = Controller(
            SERVICE,
            lambda pod, now_s: self.windows.snapshot(Source("demo", pod), now_s),
            lambda: self.now_s,
        )

    async def turn(self, *more: Replica) -> Turn:
        turn = await self.controller.turn([self.replica, *more])
        self.log.turned(turn)
        return turn

    def report_stalls(self) -> None:
        source = Source("demo", "demo-0")
        point = Point(source, ROTATION_STALLS.name, (), Shape.DELTA, 5, int(self.now_s * 1e9), 1)
        labels = (("superinfer.kv.tier", "dram"),)
        left = Point(source, KV_HEADROOM.name, labels, Shape.GAUGE, 0, point.time_ns, 0)
        self.windows.add([point, left], self.now_s)

    def events(self) -> list[tuple[str, str]]:
        return [
            (event["rung"], event["outcome"])
            for event in map(json.loads, self.file.getvalue().splitlines())
        ]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    runtime = Runtime()
    async with (
        serving_app(runtime.app, bind("127.0.0.1", 0)) as url,
        RuntimeClient(url, "token") as client,
    ):
        yield Scene(client, runtime)


async def test_a_decision_is_sent_and_seen_to_land(scene: Scene) -> None:
    assert (await scene.turn()).outcome is Outcome.NO_CHANGE
    scene.report_stalls()
    assert (await scene.turn()).outcome is Outcome.SENT
    moving = TIER.model_copy(update={"desired_bytes": 6 * MIB})
    scene.runtime.budget = KvBudget(hbm=TIER, dram=moving, pending=True)
    assert (await scene.turn()).outcome is Outcome.NO_CHANGE
    grown = moving.model_copy(update={"allocated_bytes": 6 * MIB})
    scene.runtime.budget = KvBudget(hbm=TIER, dram=grown, pending=False)
    await scene.turn()
    assert scene.runtime.patches == [KvBudgetPatch(dram_bytes=6 * MIB)]
    assert scene.controller.wish == Wish(dram_bytes=6 * MIB)
    assert scene.events() == [
        ("Hold", "no-change"),
        ("GrowDRAM", "sent"),
        ("Hold", "no-change"),
        ("GrowDRAM", "landed"),
        ("Hold", "no-change"),
    ]


async def test_a_restarted_runtime_is_told_the_wish_again(scene: Scene) -> None:
    scene.report_stalls()
    await scene.turn()
    await scene.turn()  # the runtime says that it has 4Mi still
    assert scene.runtime.patches == [KvBudgetPatch(dram_bytes=6 * MIB)] * 2


async def test_a_refusal_is_written_down_with_its_words(scene: Scene) -> None:
    error = {"error": {"message": "hybrid models cannot move"}}
    scene.runtime.patch_answer = JSONResponse(error, status_code=409)
    scene.report_stalls()
    turn = await scene.turn()
    assert turn.outcome is Outcome.REFUSED
    assert turn.trouble == "PATCH /v1/kv/budget: 409 hybrid models cannot move"
    assert turn.resting[Lever.DRAM].message == turn.trouble
    assert turn.wish == Wish(dram_bytes=4 * MIB)
    assert "hybrid models cannot move" in json.loads(scene.file.getvalue())["reason"]
    await scene.turn()
    assert len(scene.runtime.patches) == 1


async def test_a_repeated_decision_is_written_once(scene: Scene) -> None:
    scene.report_stalls()
    for _ in range(4):
        await scene.turn()
    assert scene.events() == [("GrowDRAM", "sent"), ("Hold", "no-change")]


async def test_replicas_that_are_gone_deaf_or_not_ready_hold_up_nobody(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        port = closing.getsockname()[1]
    scene.report_stalls()
    async with RuntimeClient(f"http://127.0.0.1:{port}", "token") as gone:
        assert not await gone.is_live()
        turn = await scene.turn(
            Replica("demo-1", gone), Replica("demo-2", scene.client, ready=False)
        )
        alone = await Scene(gone, scene.runtime).turn()
    assert turn.decision.rung is Rung.GROW_DRAM
    assert turn.seen.absent == ("demo-1", "demo-2")
    assert turn.trouble.startswith("demo-1: GET /v1/kv/budget: ")
    assert turn.trouble.endswith("; demo-2: not ready")
    assert [view.budget is not None for view in turn.views] == [True, False, False]
    assert alone.decision.reason == "no replica is ready and answers"


async def test_every_fault_is_one_of_two_errors(scene: Scene) -> None:
    assert not await scene.client.is_ready()
    assert not await scene.client.is_live()  # this runtime has no such route
    patch = KvBudgetPatch(dram_bytes=1)
    scene.runtime.patch_answer = Response("<html>", status_code=502)
    with pytest.raises(RuntimeRefused, match="502 <html>"):
        await scene.client.patch_budget(patch)
    scene.runtime.patch_answer = JSONResponse({"hello": "world"})
    with pytest.raises(RuntimeUnreachable, match="another program"):
        await scene.client.patch_budget(patch)


async def test_the_status_shows_it_all_without_colour(scene: Scene) -> None:
    scene.report_stalls()
    labels = (
        ("superinfer.slo.class", "default"),
        ("superinfer.slo.objective", "ttft"),
        ("superinfer.slo.outcome", "good"),
    )
    source = Source("demo", "demo-0")
    good = Point(source, SLO_REQUESTS.name, labels, Shape.DELTA, 7, int(scene.now_s * 1e9), 1)
    scene.windows.add([good], scene.now_s)
    view = View(
        "demo", "Auto", "http://127.0.0.1:1", SERVICE.spec.slo_classes, Phase.READY, restarts=2
    )
    started = topic(view)
    assert line(view) == "demo: ready, http://127.0.0.1:1"
    view = View(
        "demo",
        "Auto",
        "http://127.0.0.1:1",
        SERVICE.spec.slo_classes,
        Phase.READY,
        restarts=2,
        turn=await scene.turn(),
    )
    assert topic(view) != started
    assert line(view).startswith("demo: ready | DRAM 4Mi of 4Mi | HBM 4Mi of 4Mi | GrowDRAM: ")
    console = Console(file=io.StringIO(), width=160)
    with console.capture() as shown:
        console.print(table(view))
    text = shown.get()
    for said in ("2 restarts", "default", "95%", "100%", "DRAM", "rotary 0", "last decision: Grow"):
        assert said in text
    assert "\x1b" not in text
