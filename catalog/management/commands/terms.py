"""A service's terms as JSON lines."""

import json
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from catalog.terms import Cycle, term
from metering import arguments


class Command(BaseCommand):
    help = 'Writes terms as {"number", "start", "end"}, the end exclusive. Exits with 2 for a wrong call.'
    requires_system_checks: list[str] = []  # noqa: RUF012 (as Django declares it)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--anchor", required=True, metavar="DATE", type=arguments.day, help="first day of term 0")
        parser.add_argument("--cycle", required=True, choices=[cycle.value for cycle in Cycle])
        parser.add_argument("--number", type=int, default=0, metavar="N", help="first term written (0)")
        parser.add_argument("--count", type=int, default=1, metavar="N", help="how many terms (1)")

    def handle(self, *, anchor: date, cycle: str, number: int, count: int, **_: Any) -> None:
        if count < 1:
            raise CommandError(f"--count must be at least 1, not {count}.", returncode=2)
        for one in range(number, number + count):
            try:
                period = term(anchor, Cycle(cycle), one)
            except ValueError as error:
                raise CommandError(f"Term {one}: {error}.", returncode=2) from error
            self.stdout.write(json.dumps({"number": one, "start": str(period.start), "end": str(period.end)}))
