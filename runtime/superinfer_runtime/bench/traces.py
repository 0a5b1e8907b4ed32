"""Recorded workloads: who asked when, for how long a prompt and how long an answer.

A format is recognised by its content, never by its file name:

- Azure LLM inference CSV: ``TIMESTAMP,ContextTokens,GeneratedTokens``;
- Mooncake JSON lines: ``timestamp`` (milliseconds), ``input_length``, ``output_length``;
- lengths CSV (Sarathi, Vidur): ``num_prefill_tokens,num_decode_tokens,...``, no arrival times;
- ServeGen: a ``chunk-N-trace.csv`` with its ``chunk-N-dataset.json``, or a folder of such pairs.

The first arrival of a log counts as its start, and requests come in the order of their arrival.
Mooncake's prefix hashes (``hash_ids``) are kept for the simulator. A bench run does not replay
them: its prompts share no prefix, so that a prefix cache cannot blur what scheduling did.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Protocol


class TraceError(ValueError):
    """A trace cannot be read or is in no known format; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class TracedRequest:
    """One request of a trace: arrival in seconds from the trace's start, lengths in tokens."""

    arrival_s: float
    input_tokens: int
    output_tokens: int
    prefix_hashes: tuple[int, ...] | None = None
    """One per `TOKENS_PER_HASH` tokens of the prompt, the last for what is left over. Each stands
    for all of the prompt up to the end of its tokens. None: the trace does not tell."""


TOKENS_PER_HASH = 512
"""Mooncake's block (FAST'25 release)."""


class Trace(Protocol):
    """What a workload needs of a trace. The same seed gives the same requests."""

    @property
    def name(self) -> str:
        """For messages and the result file: the format and the file's name."""

    @property
    def timed(self) -> bool:
        """Whether the trace says when requests arrive."""

    def requests(self, seed: int) -> Iterator[TracedRequest]:
        """In order of arrival; only where `timed`."""

    def lengths(self, seed: int) -> Iterator[tuple[int, int]]:
        """Input and output tokens of typical requests, without end."""


@dataclass(frozen=True, slots=True)
class RequestLog:
    """A trace that lists its requests one by one."""

    name: str
    rows: tuple[TracedRequest, ...]
    timed: bool

    def requests(self, seed: int) -> Iterator[TracedRequest]:
        del seed  # a log is replayed as it stands
        return iter(self.rows)

    def lengths(self, seed: int) -> Iterator[tuple[int, int]]:
        rng = Random(f"{seed}/log lengths")
        while True:
            row = rng.choice(self.rows)
            yield row.input_tokens, row.output_tokens


_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_LENGTHS = ("num_prefill_tokens", "num_decode_tokens")
_MOONCAKE = ("timestamp", "input_length", "output_length")


def parse_log(text: str, file_name: str) -> RequestLog | None:
    """Read one of the log formats; None when the text is in none of them.

    Raises:
        TraceError: the format is known, a line of it is broken or there is no request.
    """
    first_line = text.lstrip().partition("\n")[0].strip()
    if first_line.startswith("{"):
        try:
            first = json.loads(first_line)
        except ValueError:
            return None
        if not all(key in first for key in _MOONCAKE):
            return None
        return _log(f"Mooncake {file_name}", _mooncake(text, file_name), timed=True)
    columns = tuple(column.strip() for column in first_line.split(","))
    if columns[: len(_AZURE)] == _AZURE:
        return _log(f"Azure {file_name}", _azure(text, file_name), timed=True)
    if columns[: len(_LENGTHS)] == _LENGTHS:
        return _log(f"lengths {file_name}", _lengths(text, file_name), timed=False)
    return None


def _log(name: str, rows: Iterator[TracedRequest], *, timed: bool) -> RequestLog:
    ordered = sorted(rows, key=lambda row: row.arrival_s)
    if not ordered:
        raise TraceError(f"trace {name} holds no request")
    start_s = ordered[0].arrival_s
    return RequestLog(
        name,
        tuple(
            TracedRequest(
                row.arrival_s - start_s, row.input_tokens, row.output_tokens, row.prefix_hashes
            )
            for row in ordered
        ),
        timed,
    )


def _azure(text: str, file_name: str) -> Iterator[TracedRequest]:
    for line, row in _csv_rows(text):
        try:
            # Seconds since a fixed day, because a naive datetime's timestamp() obeys the local zone
            # and its changes of the clock.
            stamp = datetime.fromisoformat(row[0])
            since = stamp - datetime(2000, 1, 1, tzinfo=stamp.tzinfo)
            yield TracedRequest(since.total_seconds(), _tokens(row[1]), _tokens(row[2]))
        except (ValueError, IndexError) as error:
            raise TraceError(f"trace {file_name}, line {line}: {error}") from None


def _lengths(text: str, file_name: str) -> Iterator[TracedRequest]:
    for line, row in _csv_rows(text):
        try:
            yield TracedRequest(0.0, _tokens(row[0]), _tokens(row[1]))
        except (ValueError, IndexError) as error:
            raise TraceError(f"trace {file_name}, line {line}: {error}") from None


def _mooncake(text: str, file_name: str) -> Iterator[TracedRequest]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
            hashes = row.get("hash_ids")
            yield TracedRequest(
                float(row["timestamp"]) / 1000,
                _tokens(row["input_length"]),
                _tokens(row["output_length"]),
                None if hashes is None else tuple(map(int, hashes)),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TraceError(f"trace {file_name}, line {line}: {error!r}") from None


def _csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text.strip().splitlines())
    next(reader)  # the header, already recognised
    for row in reader:
        if row:
            yield reader.line_num, row


def _tokens(value: str | float) -> int:
    tokens = int(value)
    if tokens < 0:
        raise ValueError(f"{tokens} tokens")
    return tokens


def read_text(path: Path) -> str:
    """The file as text, a byte order mark left out.

    Raises:
        TraceError: it cannot be read, or is not text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TraceError(f"trace {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise TraceError(f"trace {path.name} is not a text file") from None
