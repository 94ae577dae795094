"""`manage.py seed_demo [--force] [--history N]`: the tenants' command, and a month of history."""

import argparse
import time
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from map_project.desk.days import forget_days
from map_project.desk.demo import history
from map_project.postgresql.base import allow_any_time
from map_project.tenants.lookup import whole_number
from map_project.tenants.management.commands import seed_demo

_WIDTH = 30


class Command(seed_demo.Command):
    """As before; with `--history`, some believable customers as well, and N runs of theirs."""

    help = "Make the demo tenants A and B with their keys, and with --history a month of runs."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--history",
            type=_some,
            metavar="N",
            help="runs of the last 30 days, over several tenants",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        super().handle(*args, **options)
        if options["history"]:
            allow_any_time()
            history.write(
                options["history"], now=timezone.now(), progress=self._bar(options["history"])
            )
            forget_days()

    def _bar(self, total: int) -> Callable[[int], None]:
        """Draws how far it is: in place at a terminal, else a line every tenth."""
        started = time.monotonic()
        terminal = self.stdout.isatty()
        tenths = set()

        def show(done: int) -> None:
            seconds = time.monotonic() - started
            filled = "#" * (_WIDTH * done // total)
            line = f"[{filled:.<{_WIDTH}}] {done:,} of {total:,} runs, {seconds:.0f} s"
            if terminal:
                self.stdout.write(f"\r{line}", ending="\n" if done == total else "")
                self.stdout.flush()
            elif (tenth := 10 * done // total) not in tenths:
                tenths.add(tenth)
                self.stdout.write(line)

        return show


def _some(text: str) -> int:
    number = whole_number(text)
    if not 1 <= number <= 10_000_000:
        raise argparse.ArgumentTypeError("it must be from 1 to 10,000,000")
    return number
