"""Bill what is due."""

from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.console import Console
from rich.progress import Progress

from catalog import money
from catalog.models import Service
from invoicing.billing import Result, create_invoices
from invoicing.finding import find_service
from metering import arguments


class Command(BaseCommand):
    help = "Bills every service that is due. Exits with 1 when a service was parked, with 2 for a wrong call."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--on", metavar="DATE", type=arguments.day, help="bill what is due by then (today)")
        parser.add_argument("--service", metavar="ID", help="only this service")
        parser.add_argument("--dry-run", action="store_true", help="say what would be billed and write nothing")

    def handle(self, *, on: date | None, service: str | None, dry_run: bool, **_: Any) -> None:
        chosen = self.chosen(service)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("Billing", total=None)
            result = create_invoices(
                on=on or timezone.localdate(),
                at=timezone.now(),
                service=chosen,
                dry_run=dry_run,
                progress=lambda done, due: progress.update(task, completed=done, total=max(due, done)),
            )
        self.say(result, dry_run)
        if result.parked:
            raise CommandError(f"{len(result.parked)} services were parked.", returncode=1)

    def chosen(self, service: str | None) -> Service | None:
        if service is None:
            return None
        try:
            return find_service(service)
        except Service.DoesNotExist:
            raise CommandError(f"There is no service {service}.", returncode=2) from None

    def say(self, result: Result, dry_run: bool) -> None:
        run = result.run
        for document in result.documents:
            total = money.write(document.total, document.client.currency)
            self.stdout.write(f"{document.number} (dry run)  {document.client}  {total}")
            for draft in document.drafts:
                for line in draft.lines:
                    amount = money.write(line.amount, document.client.currency)
                    self.stdout.write(f"    {line.title}: {line.detail}  {amount}")
        totals = ", ".join(money.write(amount, code) for code, amount in sorted(result.amounts.items())) or "nothing"
        verb = "would be issued" if dry_run else "issued"
        self.stdout.write(f"{run.invoices} invoices {verb} for {run.services} terms: {totals}")
        for wait in result.waiting:
            self.stdout.write(f"waiting: {wait.setting.metric}, {wait.start} to {wait.end}: {wait.reason}")
        for pk, reason in result.parked.items():
            self.stdout.write(f"parked: service {pk}: {reason}")
