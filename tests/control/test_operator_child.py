"""A child's output, its end, and the processes that it leaves."""

import asyncio
import os
import sys

import psutil
import pytest
from superinfer_operator.child import LONGEST_LINE_BYTES, Child


async def run(code: str) -> tuple[int, list[str], Child]:
    lines: list[str] = []
    child = await Child.start([sys.executable, "-c", code], os.environ, lines.append)
    return await asyncio.wait_for(child.wait(), 20), lines, child


async def test_lines_are_forwarded_and_the_last_error_is_kept() -> None:
    code, lines, child = await run(
        "import sys; print('out'); print('why', file=sys.stderr); print(file=sys.stderr); exit(7)"
    )
    assert code == 7
    assert sorted(lines) == ["", "out", "why"]
    assert child.last_error_line == "why"


async def test_bytes_that_are_no_text_and_lines_without_end_do_no_harm() -> None:
    size = 3 * LONGEST_LINE_BYTES
    _, lines, _ = await run(f"import os; os.write(1, b'\\xff\\n'); os.write(1, b'x' * {size})")
    assert lines[0] == "\N{REPLACEMENT CHARACTER}"
    assert sum(map(len, lines[1:])) == size


async def test_what_a_crashed_child_leaves_in_its_group_is_ended() -> None:
    code, lines, _ = await run(
        "import subprocess, os; p = subprocess.Popen(['sleep', '600']); "
        "print(p.pid, flush=True); os._exit(1)"
    )
    assert code == 1
    pid = int(lines[0])
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        await asyncio.sleep(0.01)


async def test_stop_asks_before_it_kills() -> None:
    polite = "import signal, sys, time; signal.signal(15, lambda *a: sys.exit(0));"
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN);"
    for code, grace_s, expected in ((polite, 20.0, 0), (stubborn, 0.1, -9)):
        started = asyncio.Event()
        child = await Child.start(
            [sys.executable, "-c", code + "print('up', flush=True); time.sleep(600)"],
            os.environ,
            lambda _, started=started: started.set(),  # type: ignore[misc]
        )
        await asyncio.wait_for(started.wait(), 20)
        assert await child.stop(grace_s) == expected


async def test_a_command_that_does_not_exist_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        await Child.start(["/nonexistent/command"], os.environ, print)
