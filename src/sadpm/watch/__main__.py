"""``python -m sadpm.watch [folder of an experiment]``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from sadpm.running.files import UserError
from sadpm.watch.jobs import newest, read_jobs
from sadpm.watch.look import look, starts_jobs
from sadpm.watch.view import plain, view

BESIDE_JOBS = 8
"""Lines of a terminal that are needed for other things than jobs, besides one for each rule."""


def main(arguments: list[str] | None = None) -> None:
    """Show the jobs of an experiment, again and again on a terminal, and once elsewhere."""
    parser = argparse.ArgumentParser(prog="python -m sadpm.watch", description=main.__doc__, allow_abbrev=False)
    parser.add_argument("folder", nargs="?", type=Path, help="of an experiment; the one started last below results/")
    parser.add_argument("--once", action="store_true", help="print one plain table, as without a terminal")
    parser.add_argument("--all", action="store_true", help="list also the jobs that wait and are done")
    parser.add_argument("--every", type=float, default=2, metavar="SECONDS", help="between two looks (2)")
    options = parser.parse_args(arguments)
    try:
        folder = options.folder or newest(Path("results"))
        if options.once or not sys.stdout.isatty():
            run = read_jobs(folder)
            shown = view(look(folder, run, time.time()), str(folder), starts_jobs(run), options.all)
            sys.stdout.write(plain(shown))
        else:
            _go_on_watching(folder, options.all, options.every)
    except UserError as error:
        sys.exit(f"watch: {error}")
    except KeyboardInterrupt:
        pass


def _go_on_watching(folder: Path, every_job: bool, every: float) -> None:
    """Show the jobs until all are done; another run of the workflow takes the place of the one before."""
    console = Console()
    with Live(console=console, screen=False, auto_refresh=False) as live:
        while True:
            run = read_jobs(folder)
            seen = look(folder, run, time.time())
            room = max(3, console.height - BESIDE_JOBS - len({one.job.rule for one in seen}))
            live.update(view(seen, str(folder), starts_jobs(run), every_job, room), refresh=True)
            if all(one.standing == "done" for one in seen):
                return
            time.sleep(every)


if __name__ == "__main__":
    main()
