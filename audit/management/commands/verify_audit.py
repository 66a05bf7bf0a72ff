"""Compute the chain of the audit log again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit import sealing
from audit.models import Entry, Seal


class Command(BaseCommand):
    help = "Checks every entry of the audit log, its seals and its triggers. Exits with 1 and a list of what is wrong."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--known", default="", metavar="DIGEST", help="of a seal, as it was written down elsewhere")

    def handle(self, *, known: str, **_: Any) -> None:
        findings = 0
        for finding in sealing.verify(known=known):
            self.stdout.write(str(finding))
            findings += 1
        if findings:
            raise CommandError(f"{findings} things are wrong.", returncode=1)
        last = Seal.objects.order_by("-id").first()
        open_ = Entry.objects.filter(pk__gt=last.through if last else 0).count()
        self.stdout.write(f"All entries are as they were written. {open_} are not sealed yet.")
        if last:
            self.stdout.write(f"Keep the newest digest somewhere else: {last.digest}")
