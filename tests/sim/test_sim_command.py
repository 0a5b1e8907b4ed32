"""`superinfer simulate` as its users call it, with short loads."""

import json
from pathlib import Path
from typing import Any

import pytest
from superinfer_contract import exit_codes
from superinfer_runtime.cli import app
from superinfer_runtime.sim.report.sweep import Sweep
from typer.testing import CliRunner, Result

pytestmark = pytest.mark.slow

SMALL = ("--model", "Qwen2.5-7B", "--hardware", "gh200-96-480", "--duration", "4")
CHAT = (*SMALL, "--scenario", "short-chat")
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
    f"2023-11-16 18:15:{second:02}.0000000,{300 + 40 * second},60\n" for second in range(20)
)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(AZURE)
    return path


def simulate(*options: str | Path) -> Result:
    return CliRunner().invoke(app, ["simulate", *map(str, options)], env={"SUPERINFER_TRACES": ""})


def written(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_sweep_is_shown_and_written_the_same_each_time(tmp_path: Path) -> None:
    options = (
        *(*CHAT, "--rate", "4,2", "--seed", "0", "--seed", "1", "--policy", "stock,rotasched"),
        *("--find-max-rate", "0.9", "--low", "2", "--high", "4"),
    )
    first = simulate(*options, "--workers", "1", "--output", tmp_path / "one.json")
    again = simulate(*options, "--workers", "2", "--output", tmp_path / "two.json")
    assert first.exit_code == again.exit_code == exit_codes.OK, first.output
    assert first.stdout == again.stdout
    assert "short-chat: attainment by request rate" in first.stdout
    assert "short-chat, stock, 90 %: held up to the highest rate, 4 req/s" in first.stdout
    content = (tmp_path / "one.json").read_bytes()
    assert (tmp_path / "two.json").read_bytes() == content
    assert b"tmp" not in content
    sweep = Sweep.from_dict(json.loads(content))
    assert sweep.max_rates == {"short-chat": {"stock": {0.9: 4.0}, "rotasched": {0.9: 4.0}}}
    assert [(point.rate, point.policy, point.seed) for point in sweep.points] == [
        (rate, policy, seed)
        for rate in (4, 2)
        for policy in ("stock", "rotasched")
        for seed in (0, 1)
    ]
    parameters = sweep.parameters
    assert parameters["model"] == "Qwen2.5-7B"
    assert parameters["search"] == {"goals": [0.9], "low": 2, "high": 4, "tolerance": 0.25}
    assert parameters["seeds"] == [0, 1]
    assert parameters["knobs"]["alpha"] == 3


def test_one_run_with_all_there_is_of_it(trace: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("run.json", "run.html", "timeline", "requests")}
    result = simulate(
        *(*SMALL, "--trace", trace, "--duration", "10", "--policy", "rotasched"),
        *("--slo-class", "chat:1:5:0.1", "--slo-class", "batch:1:60:1", "--seed", "3"),
        *("--output", files["run.json"], "--html", files["run.html"]),
        *("--plots", tmp_path / "plots"),
        *("--chrome-trace", files["timeline"], "--requests", files["requests"]),
    )
    assert result.exit_code == exit_codes.OK, result.output
    (point,) = Sweep.from_dict(written(files["run.json"])).points
    assert (point.scenario, point.rate, point.seed) == ("trace.csv", 1.0, 3)
    records = [json.loads(line) for line in files["requests"].read_text().splitlines()]
    assert len(records) == point.summary.total.requests == 10
    assert {record["arrival_s"] for record in records} == set(range(10))
    for name, summary in point.summary.classes.items():
        assert name in result.stdout
        assert sum(record["slo_class"] == name for record in records) == summary.requests > 0
    assert {record["policy"] for record in records} == {"rotasched"}
    events = written(files["timeline"])["traceEvents"]
    assert sum(event["name"] == "step" for event in events) == point.summary.num_steps
    assert (tmp_path / "plots" / "ttft.png").read_bytes().startswith(b"\x89PNG")
    page = files["run.html"].read_text()
    assert "Time to first token by policy" in page
    assert "Qwen2.5-7B on gh200-96-480: trace.csv" in page


def test_charts_of_a_sweep(tmp_path: Path) -> None:
    result = simulate(
        *(*SMALL, "--scenario", "short-chat,two-classes", "--rate", "2,3", "--policy", "stock"),
        *("--find-max-rate", "0.99", "--low", "2", "--high", "3", "--tolerance", "1"),
        *("--plots", tmp_path / "plots", "--html", tmp_path / "page.html"),
    )
    assert result.exit_code == exit_codes.OK, result.output
    names = {path.name for path in (tmp_path / "plots").iterdir()}
    assert names == {"attainment-short-chat.png", "attainment-two-classes.png", "max-rate-99.png"}
    page = (tmp_path / "page.html").read_text()
    assert "<h2>two-classes</h2>" in page
    assert "Highest rates at 99 % joint attainment" in page


def test_the_machine_is_what_the_options_say(tmp_path: Path) -> None:
    config = tmp_path / "small" / "config.json"
    config.parent.mkdir()
    config.write_text(
        json.dumps(
            {
                "num_hidden_layers": 8,
                "hidden_size": 1024,
                "num_attention_heads": 8,
                "intermediate_size": 4096,
                "vocab_size": 32000,
                "torch_dtype": "bfloat16",
            }
        )
    )
    result = simulate(
        *("--model", config, "--hardware", "h200", "--tensor-parallel", "2", "--replicas", "3"),
        *("--hbm", "1Gi", "--dram", "4Gi", "--block-size", "32", "--max-num-seqs", "64"),
        *("--max-num-batched-tokens", "2048", "--max-model-len", "4096", "--no-prefix-caching"),
        *("--knob", "alpha=1", "--knob", "relegate=false", "--knob", "transfer_budget_blocks=9"),
        *("--scenario", "sessions", "--rate", "6", "--duration", "3", "--policy", "rotasched"),
        *("--output", tmp_path / "out.json"),
    )
    assert result.exit_code == exit_codes.OK, result.output
    parameters = written(tmp_path / "out.json")["parameters"]
    knobs = parameters.pop("knobs")
    assert (knobs["alpha"], knobs["relegate"], knobs["transfer_budget_blocks"]) == (1, False, 9)
    assert parameters["model"] == "small"
    assert parameters["replicas"] == 3
    assert parameters["tensor_parallel"] == 2
    assert parameters["hbm_kv_bytes"] == 1 << 30
    assert parameters["dram_kv_bytes"] == 4 << 30
    assert parameters["block_size"] == 32
    assert parameters["max_num_seqs"] == 64
    assert parameters["max_num_batched_tokens"] == 2048
    assert parameters["max_model_len"] == 4096
    assert parameters["prefix_caching"] is False
    (point,) = written(tmp_path / "out.json")["points"]
    assert point["summary"]["hbm_blocks"] == 1024
    assert point["summary"]["total"]["cached_tokens"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give exactly one of them"),
        (("--scenario", "bursty", "--trace", "t.csv"), "give exactly one of them"),
        (("--scenario", "bursty"), "needs --rate or --find-max-rate"),
        (("--scenario", "bursty", "--rate", "5,fast"), "'fast' is not a number above 0"),
        (("--scenario", "bursty", "--rate", "-1"), "'-1' is not a number above 0"),
        (("--scenario", "bursty", "--rate", "1", "--duration", "0"), "must be above 0"),
        (("--scenario", "bursty", "--rate", "1", "--seed", "1.5"), "is not a whole number"),
        (("--scenario", "bursty", "--rate", "1", "--policy", "best"), "no policy 'best': choose"),
        (("--scenario", "bursty", "--rate", "1", "--knob", "gamma=1"), "no knob 'gamma': choose"),
        (("--scenario", "bursty", "--rate", "1", "--knob", "alpha=0"), "alpha: Input should be"),
        (("--scenario", "bursty", "--rate", "1", "--hbm", "lots"), "is not a byte quantity"),
        (("--scenario", "bursty", "--find-max-rate", "90"), "90 is not a share of 1"),
        (("--scenario", "bursty", "--find-max-rate", "0.9", "--low", "99"), "0 < low < high"),
        (("--scenario", "bursty", "--max-input-tokens", "9"), "needs --trace"),
        (("--scenario", "bursty", "--slo-class", "a:1:1:1:9:9"), "brings its own lengths"),
        (("--trace", "t.csv", "--slo-class", "a:1:1"), "is not NAME:SHARE:TTFT_S:TBT_S"),
    ],
)
def test_wrong_options_are_told_at_once(options: tuple[str, ...], message: str) -> None:
    result = simulate(*options)
    assert result.exit_code == exit_codes.USAGE
    assert message in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scenario", "rush hour"), "unknown scenario 'rush hour': choose from short-chat"),
        (("--scenario", "sharegpt"), "sharegpt, stock, 3 req/s, seed 0: the recorded trace"),
        (("--scenario", "bursty", "--rate", "1e-9"), "no request arrives"),
        (("--scenario", "bursty", "--model", "someone/else"), "no built-in model 'someone/else'"),
        (("--scenario", "bursty", "--model", "no/config.json"), "cannot be read"),
        (("--scenario", "bursty", "--hardware", "abacus"), "unknown hardware 'abacus'"),
        (("--scenario", "bursty", "--tensor-parallel", "4"), "gh200-144-480 has 1 GPUs"),
        (("--scenario", "bursty", "--model", "Llama-3.1-70B"), "leaves no HBM for KV"),
        (("--scenario", "bursty", "--hbm", "900Gi"), "--hbm 900Gi: a replica takes 4Mi to"),
        (("--scenario", "bursty", "--dram", "900Gi"), "--dram 900Gi: a replica takes 0 to"),
        (("--scenario", "bursty", "--hbm", "64Mi"), "can never run"),
        (("--trace", "absent.csv"), "absent.csv"),
        (("--scenario", "bursty", "--output", "/nowhere/at/all.json"), "cannot write"),
        (("--scenario", "bursty", "--plots", "/nowhere/at/all"), "cannot make"),
        (
            ("--scenario", "bursty", "--policy", "stock,lvf", "--chrome-trace", "t.json"),
            "--chrome-trace is of one run",
        ),
    ],
)
def test_what_cannot_be_simulated_is_refused(options: tuple[str, ...], message: str) -> None:
    result = simulate("--rate", "3", "--policy", "stock", "--duration", "4", *options)
    assert result.exit_code == exit_codes.CONFIG, result.output
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
