"""Debian's Chromium without a screen, as `tools/check-system` installs it."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import httpx

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
WITHIN_S = 90.0
POLL_S = 0.2
OPTIONS = (
    "--headless",
    "--no-sandbox",  # for root, which tests run as
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-proxy-server",
    "--window-size=1320,900",
)


class _Text(HTMLParser):
    """A page's text, each run of spaces as one."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._parts: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self._parts).split())

    def handle_data(self, data: str) -> None:
        self._parts.append(data)


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser with a profile of its own in ``folder``."""

    program: str
    folder: Path

    @classmethod
    def found(cls, folder: Path) -> "Browser":
        """Return this machine's browser.

        Raises:
            AssertionError: there is none.
        """
        programs = [shutil.which(name) for name in PROGRAMS]
        program = next((each for each in programs if each), None)
        assert program is not None, "no browser here: run tools/check-system chromium"
        return cls(program, folder)

    async def text(self, url: str) -> str:
        """Return the text of the page as the browser's own tree has it."""
        return _Text(await self._run("--dump-dom", url)).text

    async def screenshot(self, url: str) -> Path:
        """Return a picture of the page, as PNG."""
        picture = self.folder / "page.png"
        await self._run(f"--screenshot={picture}", url)
        return picture

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until ``met``; what cannot be reached yet is asked again."""
        async with asyncio.timeout(WITHIN_S):
            while not await asyncio.to_thread(_holds, met):
                await asyncio.sleep(POLL_S)

    async def _run(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(self.program, *OPTIONS, f"--user-data-dir={self.folder / 'profile'}", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(WITHIN_S):
            said, problems = await process.communicate()
        assert process.returncode == 0, problems.decode()
        return said.decode()


def _holds(met: Callable[[], bool]) -> bool:
    try:
        return met()
    except (httpx.HTTPError, ValueError):
        return False
