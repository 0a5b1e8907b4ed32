"""Every relative link in a page leads to a file that is there, every anchor to a heading."""

import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from documents import ROOT, anchors, links


def tracked_pages() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:  # an unpacked archive
        return [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    return [page for page in listed.stdout.split() if (ROOT / page).exists()]


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    wrong = []
    text = page.read_text()
    for link in links(text):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue  # the world outside is not the test's business
        target = page if not parts.path else page.parent / unquote(parts.path)
        if not target.exists():
            wrong.append(f"{link}: there is no such file")
        elif not target.resolve().is_relative_to(ROOT) and page.is_relative_to(ROOT):
            wrong.append(f"{link}: outside of the repository")
        elif (
            parts.fragment
            and target.suffix == ".md"
            and unquote(parts.fragment) not in anchors(target.read_text())
        ):
            wrong.append(f"{link}: there is no such heading")
    return wrong


@pytest.mark.parametrize("page", tracked_pages())
def test_links_lead_somewhere(page: str) -> None:
    assert broken(ROOT / page) == []


def test_what_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text(
        "# Title\n\n## Twice `x`\n\n## Twice `x`\n\n```\n# no\n```\n"
    )
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](other.md) [b](other.md#twice-x-1) [c](#here) `[d](none.md)`\n"
        "[e](none.md) [f](other.md#no) ![g](none.png) [h](#there) [i](https://example.com/x)\n"
    )
    assert [each.split(":")[0] for each in broken(page)] == [
        *("none.md", "other.md#no", "none.png", "#there")
    ]
