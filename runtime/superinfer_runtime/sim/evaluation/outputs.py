"""The files that `superinfer simulate` writes. Equal runs give equal bytes.

Charts need matplotlib, which is imported only where one is asked for.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from superinfer_contract.validation import ConfigError

from superinfer_runtime.sim.evaluation.case import Keep, Outcome
from superinfer_runtime.sim.evaluation.study import Study
from superinfer_runtime.sim.evaluation.sweep_runner import Evaluation
from superinfer_runtime.sim.report.chrome_trace import chrome_trace
from superinfer_runtime.sim.report.sweep import Sweep
from superinfer_runtime.sim.result import RunResult


class OutputError(Exception):
    """A file cannot be written; the message is one line that names it."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where what is to be written; None: not at all."""

    json: Path | None = None
    html: Path | None = None
    plots: Path | None = None
    """A folder, made if need be."""
    chrome_trace: Path | None = None
    requests: Path | None = None

    @property
    def files(self) -> Mapping[str, Path | None]:
        """By option."""
        return {
            "--output": self.json,
            "--html": self.html,
            "--chrome-trace": self.chrome_trace,
            "--requests": self.requests,
        }

    def check(self, study: Study) -> None:
        """Tell now what would go wrong after minutes of simulation.

        Raises:
            ConfigError: a path cannot be written, or an output does not suit the study.
        """
        for option, path in self.files.items():
            if path is not None and not _writable(path):
                raise ConfigError(f"{option}: cannot write {path}")
        if self.plots is not None:
            self._make_folder(self.plots)
        if self._has_charts and find_spec("matplotlib") is None:
            raise ConfigError("charts need matplotlib: pip install 'superinfer[sim]'")
        if self.chrome_trace is not None and (len(study.cases) != 1 or study.searches):
            raise ConfigError(
                "--chrome-trace is of one run: give one scenario, policy, rate and seed"
            )

    def kept(self, study: Study) -> Keep:
        """What of each run is needed."""
        if self.chrome_trace is not None:
            return Keep.TIMELINE
        needs_records = self.requests is not None or (self._has_charts and study.compares_runs)
        return Keep.RECORDS if needs_records else Keep.FIGURES

    def write(self, study: Study, evaluation: Evaluation, sweep: Sweep) -> None:
        """Raises OutputError."""
        runs = [outcome.run for outcome in evaluation.outcomes if outcome.run is not None]
        if self.json is not None:
            _write(self.json, json.dumps(sweep.to_dict(), indent=2) + "\n")
        if self.requests is not None:
            _write(self.requests, "".join(_request_lines(evaluation.outcomes)))
        if self.chrome_trace is not None:
            _write(self.chrome_trace, json.dumps(chrome_trace(runs[0])) + "\n")
        if study.compares_runs:
            self._write_runs(sweep, runs)
        else:
            self.write_sweep(sweep)

    def write_sweep(self, sweep: Sweep) -> None:
        """The page and the pictures of a sweep. Raises OutputError."""
        if self.html is not None:
            from superinfer_runtime.sim.report.html_report import sweep_page

            _write(self.html, sweep_page(sweep, _title(sweep)))
        if self.plots is not None:
            _write_pictures(self.plots, _sweep_pictures(sweep))

    def _write_runs(self, sweep: Sweep, runs: Sequence[RunResult]) -> None:
        if self.html is not None:
            from superinfer_runtime.sim.report.html_report import run_page

            _write(self.html, run_page(runs, _title(sweep), sweep.parameters))
        if self.plots is not None:
            from superinfer_runtime.sim.report import plots

            _write_pictures(self.plots, [("ttft", plots.png(plots.ttft_figure(runs)))])

    @staticmethod
    def _make_folder(path: Path) -> None:
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--plots: cannot make {path}: {error.strerror}") from error

    @property
    def _has_charts(self) -> bool:
        return self.html is not None or self.plots is not None


def _sweep_pictures(sweep: Sweep) -> Iterator[tuple[str, bytes]]:
    from superinfer_runtime.sim.report import plots

    for scenario in dict.fromkeys(point.scenario for point in sweep.points):
        figure = plots.attainment_figure(sweep, scenario)
        yield f"attainment-{re.sub(r'[^A-Za-z0-9._-]+', '-', scenario)}", plots.png(figure)
    for goal in sweep.goals:
        yield f"max-rate-{goal * 100:g}", plots.png(plots.max_rate_figure(sweep, goal))


def _request_lines(outcomes: Iterable[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        point, run = outcome.point, outcome.run
        where = {
            "scenario": point.scenario,
            "policy": point.policy,
            "rate": point.rate,
            "seed": point.seed,
        }
        for record in run.records if run is not None else ():
            yield json.dumps({**where, **asdict(record)}) + "\n"


def _title(sweep: Sweep) -> str:
    parameters = sweep.parameters
    return f"{parameters['model']} on {parameters['hardware']}: {', '.join(sweep.scenarios)}"


def _writable(path: Path) -> bool:
    return os.access(path if path.exists() else path.parent, os.W_OK) and not path.is_dir()


def _write_pictures(folder: Path, pictures: Iterable[tuple[str, bytes]]) -> None:
    for name, content in pictures:
        _write(folder / f"{name}.png", content)


def _write(path: Path, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(path.name + ".partial")
    try:
        # In one step, so that a reader never sees half a file.
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
