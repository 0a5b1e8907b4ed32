import json
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from superinfer_runtime.bench.servegen import ServeGen, Window
from superinfer_runtime.bench.trace_file import read_trace
from superinfer_runtime.bench.traces import RequestLog, TracedRequest, TraceError

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""
MOONCAKE = """{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}
{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46]}
"""
LENGTHS = """num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio
74,918,992,0.0806
340,74,414,4.59
"""
SERVEGEN_WINDOWS = """0,0,0,,0,0
600,0.085,6.69,Gamma,0.0223,73.02
1200,0.22,0.80,Weibull,1.2848,5.0087
"""
SERVEGEN_HISTOGRAMS = {
    "0": {"input_tokens": "{}", "output_tokens": "{}", "reason_ratio": "{}"},
    "900": {
        "input_tokens": "{45: 0.5, 46: 0.5}",
        "output_tokens": "{64: 0.25, 77: 0.75, 78: 0.0}",
        "reason_ratio": "{0.5: 1.0}",
    },
}


def write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def servegen(folder: Path, number: int = 3) -> Path:
    write(folder / f"chunk-{number}-dataset.json", json.dumps(SERVEGEN_HISTOGRAMS, indent=2))
    return write(folder / f"chunk-{number}-trace.csv", SERVEGEN_WINDOWS)


def test_azure(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path / "any.name", AZURE))
    first, second = trace.requests(0)
    assert trace.timed
    assert first == TracedRequest(0, 374, 44)
    assert second.arrival_s == pytest.approx(4.314579)
    assert (second.input_tokens, second.output_tokens) == (396, 109)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    path.write_bytes(b"\xef\xbb\xbf" + AZURE.replace("\n", "\r\n").encode())
    assert len(list(read_trace(path).requests(0))) == 2


def test_mooncake_counts_milliseconds_from_the_first_request(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path / "t", MOONCAKE))
    first, second = trace.requests(0)
    assert first == TracedRequest(0, 6955, 52, prefix_hashes=(46, 47))
    assert second.arrival_s == pytest.approx(3.053)


def test_mooncake_without_hashes_is_a_trace_too(tmp_path: Path) -> None:
    lines = '{"timestamp": 0, "input_length": 5, "output_length": 1}\n'
    assert list(read_trace(write(tmp_path / "t", lines)).requests(0)) == [TracedRequest(0, 5, 1)]


def test_lengths_have_no_arrivals_and_no_end(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path / "t", LENGTHS))
    assert not trace.timed
    drawn = list(islice(trace.lengths(5), 50))
    assert set(drawn) == {(74, 918), (340, 74)}
    assert drawn == list(islice(trace.lengths(5), 50))


def test_servegen_keeps_each_windows_count_and_starts_at_its_first_traffic(tmp_path: Path) -> None:
    trace = read_trace(servegen(tmp_path))
    requests = list(trace.requests(0))
    arrivals_s = [request.arrival_s for request in requests]
    assert trace.timed
    assert arrivals_s == sorted(arrivals_s)
    assert sum(arrival_s <= 600 for arrival_s in arrivals_s) == 51
    assert len(requests) == 51 + 132
    assert {request.input_tokens for request in requests} == {45, 46}
    assert {request.output_tokens for request in requests} == {64, 77}
    assert requests == list(trace.requests(0))
    assert requests != list(trace.requests(1))


def test_servegen_is_found_from_either_file_and_from_the_folder(tmp_path: Path) -> None:
    windows = servegen(tmp_path)
    from_windows = list(read_trace(windows).requests(0))
    assert list(read_trace(tmp_path / "chunk-3-dataset.json").requests(0)) == from_windows
    assert list(read_trace(tmp_path).requests(0)) == from_windows
    servegen(tmp_path, number=4)
    both = [request.arrival_s for request in read_trace(tmp_path).requests(0)]
    assert len(both) == 2 * len(from_windows)
    assert both == sorted(both)
    assert next(read_trace(tmp_path).lengths(0))[0] in (45, 46)


@settings(max_examples=50)
@given(
    st.sampled_from(["Gamma", "Weibull"]),
    st.floats(0.001, 20),
    st.integers(1, 200),
    st.integers(),
)
def test_a_window_holds_its_arrivals(pattern: str, shape: float, count: int, seed: int) -> None:
    times = Window(600, 600, count, pattern, shape).arrivals(Random(seed))
    assert len(times) == count
    assert times == sorted(times)
    assert times[0] >= 600
    assert times[-1] <= 1200.000001


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t", "when,what\n1,2\n", "in no known format"),
        ("t", "{ broken", "in no known format"),
        ("t", '{"a": 1}\n', "in no known format"),
        ("t", "[1, 2]\n", "in no known format"),
        ("t", "", "in no known format"),
        ("t", "TIMESTAMP,ContextTokens,GeneratedTokens\n", "holds no request"),
        ("t", AZURE + "yesterday,1,2\n", "line 4"),
        ("t", AZURE + "2023-11-16 18:15:50.9951690,396\n", "line 4"),
        ("t", MOONCAKE + '{"timestamp": 1}\n', "line 3"),
        ("t", MOONCAKE + "[1]\n", "line 3"),
        ("t", MOONCAKE.replace("[46]", "7"), "line 2"),
        ("t", LENGTHS + "-1,2\n", "line 4"),
        ("t", SERVEGEN_WINDOWS, "come as a pair"),
        ("chunk-7-trace.csv", SERVEGEN_WINDOWS, "chunk-7-dataset.json"),
        ("t", json.dumps(SERVEGEN_HISTOGRAMS), "come as a pair"),
    ],
)
def test_what_is_no_trace_gives_one_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(TraceError) as caught:
        read_trace(write(tmp_path / name, content))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("windows", "histograms", "message"),
    [
        ("0,0,0,,0,0\n", SERVEGEN_HISTOGRAMS, "holds no request"),
        ("0,1,1,Gamma,1,1\n0,1\n", SERVEGEN_HISTOGRAMS, "line 2"),
        ("0,1,1,Pareto,1,1\n", SERVEGEN_HISTOGRAMS, "in no known format"),
        ("0,1,1,Gamma,1,1\n600,1,1,Pareto,1,1\n", SERVEGEN_HISTOGRAMS, "line 2"),
        ("0,1,1,Gamma,1,1\n", {"0": SERVEGEN_HISTOGRAMS["0"]}, "no histogram"),
        ("0,1,1,Gamma,1,1\n", {"0": {"input_tokens": "{1:", "output_tokens": ""}}, "dataset"),
    ],
)
def test_broken_servegen_pairs(
    tmp_path: Path, windows: str, histograms: object, message: str
) -> None:
    write(tmp_path / "chunk-0-dataset.json", json.dumps(histograms))
    with pytest.raises(TraceError, match=message):
        read_trace(write(tmp_path / "chunk-0-trace.csv", windows))


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "absent.csv")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(TraceError, match="not a text file"):
        read_trace(tmp_path / "binary")
    with pytest.raises(TraceError, match="folder without"):
        read_trace(tmp_path)


@pytest.mark.parametrize(
    ("path", "count", "mean_input", "mean_output"),
    [
        ("azure-llm-2023/AzureLLMInferenceTrace_conv.csv", 19_366, 1155, 211),
        ("mooncake-fast25/synthetic_trace.jsonl", 3_993, 15_325, 149),
        (
            "sharegpt-arxiv-lengths/sharegpt_8k_filtered_stats_llama2_tokenizer.csv",
            30_731,
            2340,
            439,
        ),
    ],
)
def test_real_logs(
    traces_dir: Path, path: str, count: int, mean_input: int, mean_output: int
) -> None:
    trace = read_trace(traces_dir / path)
    assert isinstance(trace, RequestLog)
    # The Azure file's last line may lack its newline, so wc and rows differ by one.
    assert len(trace.rows) == pytest.approx(count, abs=1)
    rows = trace.rows
    assert sum(row.input_tokens for row in rows) / len(rows) == pytest.approx(mean_input, abs=1)
    assert sum(row.output_tokens for row in rows) / len(rows) == pytest.approx(mean_output, abs=1)
    assert all(row.arrival_s >= 0 for row in rows)


def test_real_servegen_clients(traces_dir: Path) -> None:
    trace = read_trace(traces_dir / "servegen-deepseek-r1")
    assert isinstance(trace, ServeGen)
    assert len(trace.clients) == 12
    requests = list(islice(trace.requests(0), 2000))
    assert [r.arrival_s for r in requests] == sorted(r.arrival_s for r in requests)
    assert all(r.input_tokens > 0 and r.output_tokens > 0 for r in requests)
