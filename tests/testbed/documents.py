"""The pages of the documentation as tests read them: their commands, links and anchors."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "$ "
_FENCE = re.compile(r"^ *(`{3,}|~{3,}) *([\w-]*).*$")
_LINK = re.compile(r"(?<!\\)\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6} +(.*?) *#*$")
_NAMED = re.compile(r"<a (?:id|name)=\"([^\"]+)\"")


@dataclass(frozen=True, slots=True)
class Command:
    """What follows one prompt of a ``console`` block, with the lines that continue it."""

    page: str
    line: int
    text: str
    section: str
    """Anchor of the second-level heading above; empty before the first."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: $ {self.text}"

    @property
    def bare(self) -> str:
        """The command on one line and without its comment: what tables name it by."""
        joined = self.text.replace("\\\n", " ")
        return " ".join(re.sub(r"\s#(?: .*)?$", "", joined, flags=re.MULTILINE).split())


def pages() -> list[str]:
    """README, CONTRIBUTING and all below docs/."""
    below = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
    return ["README.md", "CONTRIBUTING.md", *below]


def commands(page: str, text: str | None = None) -> list[Command]:
    """Return the commands of a page in order.

    A line that ends with a backslash, and a here-document, belong to what comes before.

    Raises:
        ValueError: a block holds no command, or a command goes on beyond its block.
    """
    text = (ROOT / page).read_text() if text is None else text
    found: list[Command] = []
    for first, language, section, lines in _blocks(text):
        if language == "console":
            block = [
                Command(page, number, said, section)
                for number, said in _block_commands(page, first, lines)
            ]
            if not block:
                raise ValueError(f"{page}:{first}: a console block without a command")
            found += block
    return found


def blocks(page: str, language: str) -> list[str]:
    """Return the page's fenced blocks in a language, in order."""
    text = (ROOT / page).read_text()
    return ["\n".join(lines) for _, told, _, lines in _blocks(text) if told == language]


def _blocks(text: str) -> Iterator[tuple[int, str, str, list[str]]]:
    """Fenced blocks: number of the first line, language, section, lines."""
    fence, language, section, first, lines = "", "", "", 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        match = _FENCE.match(line)
        if not fence and match:
            fence, language, first, lines = match[1], match[2], number + 1, []
        elif fence and match and match[1].startswith(fence) and not match[2]:
            yield first, language, section, lines
            fence = ""
        elif fence:
            lines.append(line)
        elif line.startswith("## "):
            section = _slug(line.removeprefix("## ").strip())


def _block_commands(page: str, first: int, lines: list[str]) -> Iterator[tuple[int, str]]:
    numbered = iter(enumerate(lines, first))
    for number, line in numbered:
        if not line.startswith(PROMPT):
            continue  # what it printed
        said = [line.removeprefix(PROMPT)]
        here = re.search(r"<<-?\s*'?(\w+)'?", said[0])
        while said[-1].endswith("\\") if here is None else said[-1].strip() != here[1]:
            _, following = next(numbered, (0, None))
            if following is None:
                raise ValueError(f"{page}:{number}: the command goes on beyond its block")
            said.append(following)
        yield number, "\n".join(said)


def prose(text: str) -> str:
    """Return the page without its fenced blocks and code spans."""
    kept: list[str] = []
    fence = ""
    for line in text.splitlines():
        match = _FENCE.match(line)
        if match and not fence:
            fence = match[1]
        elif match and fence and match[1].startswith(fence):
            fence = ""
        elif not fence:
            kept.append(line)
    return re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", lambda m: "`" * len(m[0]), "\n".join(kept))


def links(text: str) -> list[str]:
    """Return the targets of links and images."""
    return _LINK.findall(prose(text))


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives a page: one a heading, numbered where they repeat."""
    found: set[str] = set()
    seen: dict[str, int] = {}
    fence = ""
    for line in text.splitlines():
        match = _FENCE.match(line)
        if match and (not fence or match[1].startswith(fence)):
            fence = "" if fence else match[1]
        elif not fence and (heading := _HEADING.match(line)):
            slug = _slug(heading[1])
            again = seen.get(slug, 0)
            seen[slug] = again + 1
            found.add(f"{slug}-{again}" if again else slug)
        found.update(_NAMED.findall(line))
    return found


def _slug(heading: str) -> str:
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
