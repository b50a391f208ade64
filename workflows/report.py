"""Make the report of an experiment's sweeps: tables, figures, tests and one page to look at.

    python workflows/report.py --experiment raysq --tracking-uri sqlite:////data/runs/mlflow.db
    python workflows/report.py --rows tests/benchmarks/results/multi30k/rows --output-dir report

Of every tune space and task the newest sweep counts, with what kept rows (--rows) add to it; what was not run
says so. Tables are in the papers' form, with the papers' numbers beside ours. The rows from which the same
report can be made again are written beside it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from pydantic import model_validator

from raysq.addresses import Place
from raysq.commandline import run_command
from raysq.config import Config, UserError
from raysq.files import write_lines
from raysq.places import lasting
from raysq.report.formats import markdown, markdown_text, write_table
from raysq.report.gather import completed, of_experiment, with_references
from raysq.report.page import page
from raysq.report.papers import TABLES
from raysq.report.rows import SpaceResults, read_rows, write_rows
from raysq.report.section import Section, section_of
from raysq.report.tables import quoted_table
from raysq.storage import pull, push
from raysq.terminal import as_started, terminal
from raysq.tracked import Tracked
from raysq.tracking import Tracker, default_uri

PAGE = "report.html"


class ReportSettings(Config):
    """What is reported, and where to."""

    experiment: str | None = None
    """Experiment in MLflow whose sweeps are reported; none: rows alone."""
    tracking_uri: str | None = None
    """MLflow's store, sqlite:////absolute/path/mlflow.db or http(s)://server; none: runs/mlflow.db."""
    rows: tuple[Path, ...] = ()
    """Folders of rows that earlier reports wrote: they stand in for what the experiment does not have."""
    data_dir: tuple[Place, ...] = ()
    """Prepared data, for the references of the bootstrap; none: where the sweeps found them, and those that
    kept rows have."""
    output_dir: Place = Path("report")
    """Folder for tables, figures, rows and report.html. Rows of an earlier report in its folder rows/ are
    removed, unless that folder is given with --rows: then they are completed."""
    no_log: bool = False
    """Leave MLflow as it is: otherwise report.html is attached to the sweeps' runs."""

    @model_validator(mode="after")
    def _something_to_report(self) -> ReportSettings:
        if self.experiment is None and not self.rows:
            raise ValueError("`experiment` or `rows` must be given")
        given = [name for name in ("tracking_uri", "no_log") if getattr(self, name)]
        if self.experiment is None and given:
            raise ValueError(f"`{given[0]}` has no effect without `experiment`: leave it out")
        return self


def main(settings: ReportSettings) -> None:
    """Gather, write, log."""
    console = terminal()
    output = lasting("--output-dir", settings.output_dir)
    uri = settings.tracking_uri or default_uri(Path("runs"))
    tracked = Tracked(uri, settings.experiment) if settings.experiment else None
    parts = of_experiment(tracked, settings.data_dir) if tracked else []
    for folder in settings.rows:
        parts += with_references(read_rows(folder), settings.data_dir)
    if not parts:
        raise UserError(
            f"experiment {settings.experiment} has no sweep: {as_started('tune')} --space NAME makes one"
        )
    make(output)
    pull(output)
    sections = [section_of(completed(of_one)) for of_one in _by_space(parts)]
    removed = write(output, sections, settings)
    push(output)
    for section in sections:
        console.print(f"{section.name}: {section.said[0]}")
    if removed:
        console.print(f"removed: {removed} rows of an earlier report in {output / 'rows'}")
    console.print(f"report: {output / PAGE}")
    if tracked is not None and not settings.no_log:
        tracker = Tracker(tracked.uri, str(settings.experiment))
        for section in sections:
            if section.results.run_id is not None:
                tracker.log_artifact(section.results.run_id, output / PAGE, "report")


def make(output: Path) -> None:
    """Make the folder. Raises UserError where nothing can be written there: before the work of figures."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output).close()
    except OSError as error:
        raise UserError(
            f"--output-dir {output}: {error.strerror}: give a folder that can be written"
        ) from error


def write(output: Path, sections: list[Section], settings: ReportSettings) -> int:
    """Write everything below ``output``; returns how many rows of an earlier report were removed there."""
    experiment = settings.experiment
    shown = {section.results.space.table for section in sections}
    papers = [quoted_table(table) for key, table in TABLES.items() if key not in shown and table.rows]
    for section in sections:
        for table in section.tables:
            write_table(output / section.name, table)
        for drawing in section.drawings:
            drawing.write(output / section.name)
    keep = (output / "rows").resolve() in [folder.expanduser().resolve() for folder in settings.rows]
    removed = write_rows(output / "rows", [section.results for section in sections], keep=keep)
    for table in papers:
        write_table(output / "papers", table)
    source = f"experiment {experiment}" if experiment else "kept rows"
    made = f"Made from {source} on {time.strftime('%Y-%m-%d at %H:%M')}."
    title = "Sweeps" if experiment is None else f"Sweeps of {experiment}"
    write_lines(output / PAGE, page(title, made, sections, papers).splitlines())
    write_lines(output / "report.md", _markdown(title, made, sections).splitlines())
    return removed


def _markdown(title: str, made: str, sections: list[Section]) -> str:
    """What can be pasted into a README: sentences, tables, and links to the figures."""
    e = markdown_text
    parts = [f"# {e(title)}\n\n{e(made)}\n"]
    for section in sections:
        parts.append(f"## {e(section.results.space.title)}, {e(section.results.task)}\n")
        parts.append("".join(f"- {e(sentence)}\n" for sentence in section.said))
        parts += map(markdown, section.tables)
        parts += [f"![{d.key}]({section.name}/{d.key}.png)\n\n{e(d.caption)}\n" for d in section.drawings]
    return "\n".join(parts)


def _by_space(parts: list[SpaceResults]) -> list[list[SpaceResults]]:
    """What belongs together, spaces in the order in which they first occur."""
    found: dict[tuple[str, str], list[SpaceResults]] = {}
    for part in parts:
        found.setdefault((part.space.name, part.task), []).append(part)
    return list(found.values())


if __name__ == "__main__":
    sys.exit(run_command(ReportSettings, main, description=__doc__))
