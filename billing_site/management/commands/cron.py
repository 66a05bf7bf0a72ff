"""The site's jobs from a crontab: all that are due, only the named ones, or all but the named."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing_site import clock, jobs, stopping


class Command(BaseCommand):
    help = (
        "Runs the jobs that are due; `do` runs the named ones now, `skip` all that are due but the named. "
        "Usage is always collected before invoices are made. Exits with 1 when a job failed or was refused."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("which", nargs="?", choices=["do", "skip"], help="only, or all but, the named jobs")
        for name in jobs.TASKS:
            parser.add_argument(f"--{name}", action="append_const", dest="names", const=name, help=f"the job {name}")

        parser.add_argument(
            "--confirm-clock", action="store_true", help="believe what the clock says, after it jumped or stood still"
        )

    def handle(self, *, which: str | None, names: list[str] | None, confirm_clock: bool, **_: Any) -> None:
        if bool(which) != bool(names):
            raise CommandError("`do` and `skip` go with the names of jobs, such as --CreateInvoices.", returncode=2)
        at = timezone.now()
        if confirm_clock:
            clock.confirm(at=at, by="the command line")
        with stopping.on_sigterm():
            said = jobs.run_named(names or (), at=at) if which == "do" else jobs.run_due(at=at, skip=names or ())
        for name, words in said.items():
            self.stdout.write(f"{name}: {words}")
        if not said:
            self.stdout.write("Nothing is due.")
        if any(words.startswith("failed") for words in said.values()):
            raise CommandError("A job failed; the log says why.", returncode=1)
        if any(words.startswith("refused") for words in said.values()):
            raise CommandError("A job was refused, as said above.", returncode=1)
