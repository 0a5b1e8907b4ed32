"""The control socket: how budgets of a running engine are read and changed.

vLLM has no RPC that reaches the scheduler, so the scheduler's process listens on a Unix socket: one
JSON object a line in, one a line out.

    {"op": "get"}
    {"op": "set", "hbm_bytes": n or null, "dram_bytes": n or null, "class_shares": {name: share}}

Both are answered with ``{"snapshot": {...}}``, or ``{"error": "what is wrong"}``.

The listening thread never touches the scheduler: it answers from the last published snapshot and
leaves wishes in a mailbox that the scheduler empties at the start of each step. An idle engine
takes no steps; whoever sets a budget wakes it with any utility call.
"""

import contextlib
import json
import os
import queue
import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from superinfer_contract.kv_budget import MIN_CLASS_SHARE

from superinfer_runtime.telemetry.snapshot import EngineSnapshot, TierSnapshot

_MAX_LINE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class BudgetWish:
    """Wished-for budgets in bytes, within bounds and rounded; None, left out: as it is."""

    hbm_bytes: int | None = None
    dram_bytes: int | None = None
    class_shares: Mapping[str, float] = field(default_factory=dict)


class BudgetError(Exception):
    """The wish is out of bounds; the message says the bounds."""


def checked_wish(message: dict[str, Any], snapshot: EngineSnapshot) -> BudgetWish:
    """Check a ``set`` message against the bounds and round it down to each tier's step.

    Raises:
        BudgetError: a budget out of its bounds, not a number, or for a tier that does not move.
    """
    return BudgetWish(
        _checked("hbm", message.get("hbm_bytes"), snapshot.hbm),
        _checked("dram", message.get("dram_bytes"), snapshot.dram),
        _checked_shares(message.get("class_shares"), snapshot.class_shares),
    )


def _checked_shares(wish: object, known: Mapping[str, float]) -> Mapping[str, float]:
    if wish is None:
        return {}
    if not isinstance(wish, dict):
        raise BudgetError("class_shares must be an object")
    for name, share in wish.items():
        if name not in known:
            raise BudgetError(f"class_shares: no class {name!r}; there are {', '.join(known)}")
        if not isinstance(share, int | float) or not MIN_CLASS_SHARE <= share <= 1:
            raise BudgetError(f"class_shares: {name} must lie between {MIN_CLASS_SHARE} and 1")
    return {name: float(share) for name, share in wish.items()}


def _checked(tier: str, wish: object, state: TierSnapshot) -> int | None:
    if wish is None:
        return None
    if not isinstance(wish, int) or isinstance(wish, bool):
        raise BudgetError(f"{tier}_bytes must be a whole number of bytes")
    if not state.min_bytes <= wish <= state.max_bytes:
        raise BudgetError(
            f"{tier}_bytes must lie between {state.min_bytes} and {state.max_bytes}, not {wish}"
        )
    return max(wish - wish % state.step_bytes, state.min_bytes)


class ControlMailbox:
    """Last snapshot out, wishes in; safe between the scheduler's thread and the socket's."""

    def __init__(self, snapshot: EngineSnapshot) -> None:
        self._snapshot = snapshot
        self._wishes: queue.SimpleQueue[BudgetWish] = queue.SimpleQueue()
        self._lock = threading.Lock()

    @property
    def pending(self) -> bool:
        return not self._wishes.empty()

    def publish(self, snapshot: EngineSnapshot) -> None:
        """Replace the snapshot that readers see. Called by the scheduler."""
        with self._lock:
            if self._wishes.empty():
                self._snapshot = snapshot

    def take(self) -> list[BudgetWish]:
        """Return the wishes since the last call. Called by the scheduler."""
        wishes: list[BudgetWish] = []
        with self._lock, contextlib.suppress(queue.Empty):
            while True:
                wishes.append(self._wishes.get_nowait())
        return wishes

    def handle(self, message: dict[str, Any]) -> dict[str, Any]:
        """Answer one message of a client."""
        with self._lock:
            if message.get("op") == "set":
                if self._snapshot.rotation_off_reason is not None:
                    return {"error": f"budgets are fixed: {self._snapshot.rotation_off_reason}"}
                try:
                    wish = checked_wish(message, self._snapshot)
                except BudgetError as error:
                    return {"error": str(error)}
                self._wishes.put(wish)
                self._snapshot = replace(
                    self._snapshot,
                    hbm=_wished(self._snapshot.hbm, wish.hbm_bytes),
                    dram=_wished(self._snapshot.dram, wish.dram_bytes),
                    class_shares={**self._snapshot.class_shares, **wish.class_shares},
                )
            elif message.get("op") != "get":
                return {"error": "op must be get or set"}
            return {"snapshot": self._snapshot.to_dict()}


def _wished(tier: TierSnapshot, desired_bytes: int | None) -> TierSnapshot:
    return tier if desired_bytes is None else replace(tier, desired_bytes=desired_bytes)


Answer = Callable[[dict[str, Any]], dict[str, Any]]


class ControlServer:
    """Listens on ``path`` (mode 0600) until `close`; ``answer`` turns a message into its reply."""

    def __init__(self, path: str, answer: Answer) -> None:
        self._path = path
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._server = _Server(path, answer)
        os.chmod(path, 0o600)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="superinfer-control", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, answer: Answer) -> None:
        super().__init__(path, _Handler)
        self.answer = answer


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        while line := self.rfile.readline(_MAX_LINE_BYTES):
            try:
                message = json.loads(line)
            except json.JSONDecodeError as error:
                reply = {"error": f"not JSON: {error}"}
            else:
                is_object = isinstance(message, dict)
                reply = self.server.answer(message) if is_object else {"error": "not an object"}
            self.wfile.write(json.dumps(reply).encode() + b"\n")
