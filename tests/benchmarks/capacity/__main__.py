"""The command: measure, run, write the page."""

from __future__ import annotations

import sys

from raysq.commandline import run_command
from raysq.files import replace_json
from raysq.terminal import terminal
from tests.benchmarks.capacity import __doc__ as about
from tests.benchmarks.capacity.constants import RECORD, Record, read
from tests.benchmarks.capacity.session import ask_for_a_token
from tests.benchmarks.capacity.settings import CapacitySettings


def main(settings: CapacitySettings) -> None:
    """Make the steps asked for; each is written when it is finished."""
    ask_for_a_token()
    from tests.benchmarks.capacity import figure, measure, page, runs, saturation

    say = terminal().print
    settings.output_dir.mkdir(parents=True, exist_ok=True)

    def write(record: Record) -> None:
        replace_json(settings.output_dir / RECORD, record.model_dump(mode="json"))

    if "measure" in settings.steps:
        write(measure.measure(settings, say))
    if "runs" in settings.steps:
        runs.run(settings, read(settings.output_dir), say, write)
    if "page" in settings.steps:
        record = read(settings.output_dir)
        found = list(saturation.sizes(settings, record))
        page.fill(settings.page, page.blocks(settings, record, found))
        figure.draw(found, settings.output_dir / "saturation.png")
        say(f"the tables of {settings.page} are those of {settings.output_dir / RECORD}")


if __name__ == "__main__":
    sys.exit(
        run_command(CapacitySettings, main, description=about, prog="python -m tests.benchmarks.capacity")
    )
