"""Compute everything that was issued again."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress

from invoicing.models import Invoice
from invoicing.verification import verify


class Command(BaseCommand):
    help = "Checks every invoice, its sums, numbers, chain and usage. Exits with 1 and a list of what is wrong."

    def handle(self, **_: Any) -> None:
        count = 0
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("Verifying", total=None)
            for finding in verify(progress=lambda done, of: progress.update(task, completed=done, total=of)):
                self.stdout.write(str(finding))
                count += 1
        if count:
            raise CommandError(f"{count} things are wrong.", returncode=1)
        self.stdout.write(f"{Invoice.objects.count()} documents are as they were issued.")
