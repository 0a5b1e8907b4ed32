"""ServeGen clients: not a log but distributions, from which a seed draws one possible log.

Per window (10 minutes) a client has a rate and a pattern (Gamma or Weibull gaps of some shape);
per 6 hours it has histograms of input and of output tokens. The invariant is each window's count:
`rate x window` arrivals, which is the count that ServeGen measured; the pattern's shape only says
how they bunch up inside the window. Windows without traffic before the first arrival are skipped.
"""

import ast
import heapq
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random

from superinfer_runtime.bench.traces import TracedRequest, TraceError, read_text

DEFAULT_WINDOW_S = 600.0

MIN_SHAPE = 0.01
"""Gaps of a smaller shape overflow; already here one gap is all of the window, the rest nothing."""

_FILE = re.compile(r"chunk-(\d+)-(?:trace\.csv|dataset\.json)")


@dataclass(frozen=True, slots=True)
class Histogram:
    """Token counts and their cumulated weights."""

    tokens: tuple[int, ...]
    cumulated: tuple[float, ...]

    def draw(self, rng: Random) -> int:
        return rng.choices(self.tokens, cum_weights=self.cumulated)[0]


@dataclass(frozen=True, slots=True)
class Lengths:
    """The length histograms that hold from `start_s` on."""

    start_s: float
    input_tokens: Histogram
    output_tokens: Histogram


@dataclass(frozen=True, slots=True)
class Window:
    """`count` arrivals from `start_s` on, over `length_s`."""

    start_s: float
    length_s: float
    count: int
    pattern: str
    shape: float

    def arrivals(self, rng: Random) -> list[float]:
        """Arrival times in seconds; gaps follow the pattern and fill the window exactly."""
        shape = max(self.shape, MIN_SHAPE)
        if self.pattern == "Gamma":
            gaps = [rng.gammavariate(shape, 1.0) for _ in range(self.count + 1)]
        else:
            gaps = [rng.weibullvariate(1.0, shape) for _ in range(self.count + 1)]
        times = list(accumulate(gaps))
        if times[-1] <= 0:  # gaps of a very small shape can all underflow to nothing
            times = [float(index + 1) for index in range(len(gaps))]
        unit_s = self.length_s / times[-1]
        return [self.start_s + time * unit_s for time in times[:-1]]


@dataclass(frozen=True, slots=True)
class Client:
    """One of ServeGen's clients (a chunk)."""

    number: int
    windows: tuple[Window, ...]
    lengths: tuple[Lengths, ...]

    def requests(self, seed: int, start_s: float) -> Iterator[TracedRequest]:
        rng = Random(f"{seed}/ServeGen client {self.number}")
        for window in self.windows:
            # A window before a client's first histogram borrows that one.
            lengths = next(
                (item for item in reversed(self.lengths) if item.start_s <= window.start_s),
                self.lengths[0],
            )
            for arrival_s in window.arrivals(rng):
                yield TracedRequest(
                    arrival_s - start_s,
                    lengths.input_tokens.draw(rng),
                    lengths.output_tokens.draw(rng),
                )


@dataclass(frozen=True, slots=True)
class ServeGen:
    """One client or several together; starts at the first window with traffic."""

    name: str
    clients: tuple[Client, ...]
    timed: bool = True

    def requests(self, seed: int) -> Iterator[TracedRequest]:
        start_s = min(client.windows[0].start_s for client in self.clients)
        return heapq.merge(
            *(client.requests(seed, start_s) for client in self.clients),
            key=lambda request: request.arrival_s,
        )

    def lengths(self, seed: int) -> Iterator[tuple[int, int]]:
        while True:
            for request in self.requests(seed):
                yield request.input_tokens, request.output_tokens
            seed += 1


def read_servegen(path: Path) -> ServeGen:
    """Read one client from either file of its pair, or every client of a folder.

    Raises:
        TraceError: a file is missing or broken, or no window has traffic.
    """
    if path.is_dir():
        numbers = sorted(
            int(match[1])
            for file in path.glob("chunk-*-trace.csv")
            if (match := _FILE.fullmatch(file.name))
        )
        folder = path
        if not numbers:
            raise TraceError(f"trace {path} is a folder without ServeGen's chunk-N-trace.csv")
    elif match := _FILE.fullmatch(path.name):
        numbers, folder = [int(match[1])], path.parent
    else:
        raise TraceError(
            f"trace {path.name} looks like ServeGen's, which come as a pair named "
            "chunk-N-trace.csv and chunk-N-dataset.json"
        )
    clients = [_client(folder, number) for number in numbers]
    active = tuple(client for client in clients if client.windows)
    if not active:
        raise TraceError(f"trace ServeGen {path.name} holds no request")
    return ServeGen(f"ServeGen {path.name}", active)


def _client(folder: Path, number: int) -> Client:
    trace = folder / f"chunk-{number}-trace.csv"
    dataset = folder / f"chunk-{number}-dataset.json"
    windows = _windows(read_text(trace), trace.name)
    lengths = _lengths(read_text(dataset), dataset.name)
    if windows and not lengths:
        raise TraceError(f"trace {dataset.name} has no histogram of lengths")
    return Client(number, windows, lengths)


def _windows(text: str, file_name: str) -> tuple[Window, ...]:
    rows: list[tuple[float, float, str, float]] = []
    for line, content in enumerate(text.splitlines(), start=1):
        if not content.strip():
            continue
        try:
            start, rate, _cv, pattern, shape, _scale = content.split(",")
            row = (float(start), float(rate), pattern, float(shape))
        except ValueError as error:
            raise TraceError(f"trace {file_name}, line {line}: {error}") from None
        if row[1] > 0 and (pattern not in ("Gamma", "Weibull") or row[3] <= 0):
            raise TraceError(f"trace {file_name}, line {line}: unknown pattern {pattern!r}")
        rows.append(row)
    length_s = rows[1][0] - rows[0][0] if len(rows) > 1 else DEFAULT_WINDOW_S
    return tuple(
        Window(start_s, length_s, count, pattern, shape)
        for start_s, rate, pattern, shape in rows
        if (count := round(rate * length_s)) > 0
    )


def _lengths(text: str, file_name: str) -> tuple[Lengths, ...]:
    found: list[Lengths] = []
    try:
        for start, histograms in json.loads(text).items():
            inputs = _histogram(histograms["input_tokens"])
            outputs = _histogram(histograms["output_tokens"])
            if inputs.tokens and outputs.tokens:
                found.append(Lengths(float(start), inputs, outputs))
    except (ValueError, KeyError, TypeError, AttributeError, SyntaxError) as error:
        raise TraceError(f"trace {file_name}: {error!r}") from None
    return tuple(sorted(found, key=lambda lengths: lengths.start_s))


def _histogram(literal: str) -> Histogram:
    """ServeGen writes a histogram as the text of a Python dict."""
    weights: dict[int, float] = ast.literal_eval(literal)
    kept = {int(tokens): float(weight) for tokens, weight in weights.items() if weight > 0}
    return Histogram(tuple(kept), tuple(accumulate(kept.values())))
