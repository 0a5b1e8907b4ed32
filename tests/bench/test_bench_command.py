"""The command and `run_load` over real HTTP, against the fake endpoint in conftest."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from superinfer_contract import exit_codes
from superinfer_runtime.bench.client import Client, Endpoint, EndpointError, EndpointType
from superinfer_runtime.bench.command import bench
from superinfer_runtime.bench.runner import run_load
from superinfer_runtime.bench.slo_mix import LoadClass
from superinfer_runtime.bench.workload import PlannedRequest, Workload
from typer.testing import CliRunner, Result

CLASSES = (LoadClass("chat", 0.5, 5.0, 1.0), LoadClass("batch", 0.5, 30.0, 5.0, 40, 3))
WORKLOAD = Workload(
    request_rate=100, max_requests=20, input_tokens=12, output_tokens=6, classes=CLASSES
)

app = typer.Typer()
app.command("bench")(bench)


def invoke(*options: str) -> Result:
    return CliRunner().invoke(app, list(options))


def quick(endpoint: Any, *options: str) -> Result:
    return invoke(
        *("--url", endpoint.url, "--request-rate", "100", "--max-requests", "20"),
        *("--input-len", "12", "--output-len", "6"),
        *options,
    )


@pytest.mark.parametrize("endpoint_type", EndpointType)
async def test_run_load(endpoint: Any, endpoint_type: EndpointType) -> None:
    report = await run_load(Endpoint(endpoint.url + "/v1/", type=endpoint_type), WORKLOAD)
    assert report.model == "tiny"
    assert report.total.requests == report.planned == 20
    assert report.failures == ()
    assert report.joint_attainment == 1
    assert not report.interrupted
    by_name = {slo_class.name: summary for slo_class, summary in report.classes}
    assert by_name["batch"].output_tokens == 3 * by_name["batch"].requests
    assert by_name["batch"].input_tokens == 40 * by_name["batch"].requests
    assert by_name["chat"].output_tokens == 6 * by_name["chat"].requests
    assert by_name["chat"].ttft_s is not None
    assert by_name["chat"].ttft_s.p50 >= 0.009
    sent_classes = [headers["x-superinfer-slo-class"] for _, headers, _ in endpoint.requests]
    assert sent_classes.count("chat") == by_name["chat"].requests


async def test_the_same_seed_sends_the_same_bytes(endpoint: Any) -> None:
    request = PlannedRequest(3, 0.0, CLASSES[0], 50, 6)
    bodies = []
    for seed in (1, 1, 2):
        async with Client(Endpoint(endpoint.url, "tiny", vocab_size=300), seed) as client:
            bodies.append(client.body(request))
    assert bodies[0] == bodies[1] != bodies[2]
    body = json.loads(bodies[0])
    assert len(body["prompt"]) == 50
    assert all(10 <= token < 300 for token in body["prompt"])
    assert body["ignore_eos"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert (body["temperature"], body["max_tokens"]) == (0, 6)


async def test_several_tokens_a_chunk_and_line_separators_in_text(endpoint: Any) -> None:
    endpoint.tokens_per_chunk, endpoint.text = 4, "\u2028\x85"
    report = await run_load(Endpoint(endpoint.url), WORKLOAD)
    assert report.total.failed == 0
    assert report.total.output_tokens == sum(body["max_tokens"] for _, _, body in endpoint.requests)
    assert report.total.gaps == report.total.output_tokens - 20


async def test_unfinished_answers_fail_after_the_grace(endpoint: Any) -> None:
    endpoint.hangs_after = 2
    report = await run_load(Endpoint(endpoint.url), WORKLOAD, grace_s=0.3)
    assert report.total.failed == 20
    assert report.joint_attainment == 0
    assert report.duration_s < 30


async def test_answers_that_break_off_fail(endpoint: Any) -> None:
    endpoint.breaks_after = 2
    report = await run_load(Endpoint(endpoint.url), WORKLOAD)
    assert report.total.failed == 20
    assert "ended before" in report.failures[0][0].message


async def test_one_refused_class_among_others_is_a_failure_not_the_end(endpoint: Any) -> None:
    endpoint.refusal, endpoint.refused_class = (400, {"error": {"message": "what is it?"}}), "batch"
    report = await run_load(Endpoint(endpoint.url), WORKLOAD)
    by_name = {slo_class.name: summary for slo_class, summary in report.classes}
    assert by_name["batch"].failed == by_name["batch"].requests
    assert by_name["chat"].failed == 0
    assert report.failures[0][0].message == "HTTP 400: what is it?"


async def test_cancelling_the_run_leaves_nothing_behind(endpoint: Any) -> None:
    endpoint.hangs_after = 0
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await run_load(Endpoint(endpoint.url), WORKLOAD)
    assert asyncio.all_tasks() == before


async def test_no_model_to_pick(endpoint: Any) -> None:
    endpoint.models = []
    with pytest.raises(EndpointError, match="lists no model"):
        await run_load(Endpoint(endpoint.url), WORKLOAD)
    with pytest.raises(EndpointError, match="HTTP 404"):
        await run_load(Endpoint(endpoint.url + "/elsewhere"), WORKLOAD)


def test_the_command_prints_tables_and_writes_json(endpoint: Any, tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    outcome = quick(
        endpoint,
        *("--slo-class", "chat:0.7:5:1", "--slo-class", "batch:0.3:30:5:40:3"),
        *("--output", str(output), "--seed", "4"),
    )
    assert outcome.exit_code == exit_codes.OK, outcome.output
    assert "Objectives met" in outcome.stdout
    assert "100.0%" in outcome.stdout
    assert "20 requests over" in outcome.stderr
    written = json.loads(output.read_text())
    assert written["completed"] == 20
    assert written["joint_attainment"] == 1
    assert set(written["slo"]) == {"chat", "batch"}
    assert written["load"]["seed"] == 4
    assert list(tmp_path.iterdir()) == [output]


def test_the_header_is_sent_for_named_classes_only(endpoint: Any) -> None:
    header = "x-superinfer-slo-class"
    for options, sent in (
        ((), False),
        (("--slo-class", "chat:1:5:1"), True),
        (("--slo-class", "chat:1:5:1", "--no-slo-header"), False),
    ):
        endpoint.requests.clear()
        assert quick(endpoint, *options).exit_code == exit_codes.OK
        assert all((header in headers) is sent for _, headers, _ in endpoint.requests)


def test_a_trace_from_the_command_line(endpoint: Any, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text(
        "".join(
            json.dumps({"timestamp": 1000 * n, "input_length": 900, "output_length": 4}) + "\n"
            for n in range(5)
        )
    )
    outcome = invoke(
        *("--url", endpoint.url, "--trace", str(trace), "--trace-speedup", "100"),
        *("--max-input-tokens", "30"),
    )
    assert outcome.exit_code == exit_codes.OK, outcome.output
    lengths = {(len(body["prompt"]), body["max_tokens"]) for _, _, body in endpoint.requests}
    assert lengths == {(30, 4)}
    assert len(endpoint.requests) == 5


def test_a_refusing_endpoint_gives_one_line(endpoint: Any) -> None:
    endpoint.refusal = (400, {"error": {"message": "unknown SLO class 'chat'"}})
    outcome = quick(endpoint, "--slo-class", "chat:1:5:1")
    assert outcome.exit_code == exit_codes.FAILURE
    assert outcome.stdout == ""
    assert outcome.stderr.splitlines()[1:] == ["error: HTTP 400: unknown SLO class 'chat'"]


def test_a_broken_endpoint_gives_one_line(endpoint: Any) -> None:
    endpoint.refusal = (500, {"error": {"message": "engine died"}})
    outcome = quick(endpoint)
    assert outcome.exit_code == exit_codes.FAILURE
    assert outcome.stderr.splitlines()[1:] == ["error: every request failed: HTTP 500: engine died"]


def test_an_unreachable_endpoint_gives_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        outcome = invoke("--url", f"http://127.0.0.1:{taken.getsockname()[1]}", "--model", "m")
    assert outcome.exit_code == exit_codes.FAILURE
    assert len(outcome.stderr.splitlines()) == 2
    assert "cannot reach" in outcome.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--no-such-option",),
        ("--url", "localhost:8000"),
        ("--slo-class", "chat:1"),
        ("--slo-class", "chat:1:1:1", "--slo-class", "chat:1:1:1"),
        ("--request-rate", "0"),
        ("--trace-speedup", "2"),
        ("--arrivals", "constant", "--burstiness", "2"),
        ("--vocab-size", "3"),
        ("--grace", "-1"),
        ("--output", "no/such/folder/result.json"),
        ("--duration", "0.000001"),
    ],
)
def test_bad_options(options: tuple[str, ...]) -> None:
    outcome = invoke(*options)
    assert outcome.exit_code == exit_codes.USAGE, outcome.output


def test_an_unreadable_trace(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    for content in (None, "a,b\n1,2\n"):
        if content is not None:
            trace.write_text(content)
        outcome = invoke("--trace", str(trace))
        assert outcome.exit_code == exit_codes.CONFIG
        assert len(outcome.stderr.splitlines()) == 1


def test_lengths_without_a_rate(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("num_prefill_tokens,num_decode_tokens\n5,6\n")
    outcome = invoke("--trace", str(trace))
    assert outcome.exit_code == exit_codes.USAGE
    assert "no arrival times" in " ".join(outcome.stderr.split())


def test_ctrl_c_prints_what_was_measured(endpoint: Any, tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    script = (
        "import typer; from superinfer_runtime.bench.command import bench; "
        "app = typer.Typer(); app.command()(bench); app()"
    )
    options = ("--url", endpoint.url, "--request-rate", "50", "--output-len", "4")
    with subprocess.Popen(
        [sys.executable, "-c", script, *options, "--output", str(output)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        give_up = time.monotonic() + 60
        while len(endpoint.requests) < 10 and time.monotonic() < give_up:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == exit_codes.FAILURE, stderr
    assert "Objectives met" in stdout
    assert "Stopped after" in stdout
    written = json.loads(output.read_text())
    assert written["interrupted"] is True
    assert written["completed"] >= 5
