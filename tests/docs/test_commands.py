"""Each documented command is run as it stands, or accounted for in commands.toml, by name."""

import asyncio
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from documented_commands import (
    PLACES,
    Table,
    all_commands,
    check_arguments,
    entry,
    not_accounted_for,
    stale,
)
from documents import ROOT, Command, commands
from helm import helm_programs
from kubelet.loop_thread import in_thread
from terminal import CommandFailed, Terminal, loopback_of_its_own

TABLE = Table.read()
PAGES_WITHIN_S = 900
OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_HOST_IP": "127.0.0.1"}


def environment() -> dict[str, str]:
    """A reader's: this project's programs on the PATH, and nothing that asks the network."""
    kept = ("HOME", "LANG", "PYTHONPATH", "XDG_CACHE_HOME", "SUPERINFER_TRACES")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    programs = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    return {**own, **OFFLINE, "PATH": programs, "COLUMNS": "100", "TERM": "dumb"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy, which commands may write into."""
    target = tmp_path / "superinfer"
    target.mkdir()
    for name in ("crds", "deploy", "examples"):
        shutil.copytree(ROOT / name, target / name)
    return target


def follow(terminal: Terminal, listed: Iterable[Command]) -> None:
    """Do what a reader does, page by page."""
    page = ""
    try:
        for command in listed:
            if command.page != page:
                terminal.interrupt()
                page = command.page
            until = TABLE.until(command)
            print(f"$ {command.text}")
            if until is None:
                print(terminal.run(command))
            else:
                terminal.serve(command, until)
        terminal.interrupt()
    finally:
        terminal.close()


@pytest.fixture
def helm_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "helm").symlink_to(helm_programs()["helm4"])
    return folder


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    own = {**OFFLINE, **{k: v for k, v in os.environ.items() if k == "PYTHONPATH"}}
    with in_thread(Cluster.start(tmp_path / "cluster", environment=own)) as cluster:
        yield cluster


def test_every_command_is_accounted_for() -> None:
    listed = all_commands()
    assert len(listed) > 20
    assert not_accounted_for(TABLE, listed) == [], (
        f"see {Path(__file__).with_name('commands.toml')}"
    )
    assert stale(TABLE, listed) == []
    assert set(TABLE.places.values()) == set(PLACES)


def test_what_runs_a_command_elsewhere_is_there() -> None:
    for named in TABLE.elsewhere.values():
        file, _, test = named.partition("::")
        assert (ROOT / file).is_file(), file
        assert f"def {test}" in (ROOT / file).read_text(), named


@pytest.mark.parametrize(
    "command",
    [each for each in all_commands() if entry(TABLE.parsed, each)],
    ids=lambda command: f"{command.page}:{command.line}",
)
def test_arguments_are_what_the_program_takes(command: Command) -> None:
    check_arguments(command)


@pytest.mark.slow
def test_commands_in_a_shell(checkout: Path, tmp_path: Path) -> None:
    follow(Terminal(checkout, tmp_path / "state", environment()), TABLE.run_in("shell"))


@pytest.mark.e2e
@pytest.mark.timeout(PAGES_WITHIN_S)
def test_commands_on_a_box(checkout: Path, tmp_path: Path) -> None:
    with loopback_of_its_own() as enter:
        terminal = Terminal(checkout, tmp_path / "state", environment(), enter)
        follow(terminal, TABLE.run_in("box"))


@pytest.mark.cluster
@pytest.mark.timeout(PAGES_WITHIN_S)
async def test_commands_on_a_cluster(
    checkout: Path, tmp_path: Path, cluster: Cluster, helm_folder: Path
) -> None:
    own = environment()
    of_cluster = cluster.control_plane.environment()
    own["HOME"], own["KUBECONFIG"] = of_cluster["HOME"], of_cluster["KUBECONFIG"]
    own["PATH"] = f"{helm_folder}:{cluster.control_plane.tools}:{own['PATH']}"
    terminal = Terminal(checkout, tmp_path / "state", own)
    try:
        await asyncio.to_thread(follow, terminal, TABLE.run_in("cluster"))
    except CommandFailed as failed:
        raise CommandFailed(f"{failed}\n{cluster.logs('default')}") from None


PAGE = """\
# Page

```console
$ echo one   # said
one
$ printf '%s' \\
    two
```

## The next

```console
$ cat <<'END'
three
END
three
```

```sh
$ not a command
```
"""


def test_commands_are_found_with_what_continues_them() -> None:
    found = commands("page.md", PAGE)
    assert [each.bare for each in found] == [
        *("echo one", "printf '%s' two", "cat <<'END' three END")
    ]
    assert [(each.line, each.section) for each in found] == [(4, ""), (6, ""), (13, "the-next")]


def test_a_block_without_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match=r"page\.md:2"):
        commands("page.md", "```console\nmake test\n```\n")


def test_an_unlisted_command_is_told() -> None:
    unknown = Command("README.md", 1, "superinfer frobnicate", "")
    assert not_accounted_for(TABLE, [unknown]) == [str(unknown)]


@pytest.mark.parametrize(
    "text",
    ["superinfer bench --no-such", "superinfer-operator up", "make no-such-target", "frob -x"],
)
def test_wrong_arguments_are_told(text: str) -> None:
    with pytest.raises(Exception, match=r"."):
        check_arguments(Command("page.md", 1, text, ""))


def test_a_terminal_keeps_variables_and_tells_failures(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, tmp_path / "state", environment())
    said = [Command("p.md", n, text, "") for n, text in enumerate(("A=1", 'echo "$A"', "false"))]
    terminal.run(said[0])
    assert terminal.run(said[1]) == "1\n"
    with pytest.raises(CommandFailed, match="exit code 1"):
        terminal.run(said[2])


def test_a_server_is_interrupted_and_one_that_ends_is_told(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, tmp_path / "state", environment())
    terminal.serve(Command("p.md", 1, "touch up; sleep 100", ""), "test -e up")
    terminal.interrupt()
    with pytest.raises(CommandFailed, match="ended: 3"):
        terminal.serve(Command("p.md", 2, "exit 3", ""), "false")
    terminal.close()
