"""Bill what is due."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.console import Console
from rich.progress import Progress

from catalog import money
from catalog.models import Service
from invoicing import termination
from invoicing.billing import Result, create_invoices
from invoicing.drafts import Draft
from invoicing.finding import find_service
from metering import arguments, dates


class Command(BaseCommand):
    help = "Bills every service that is due. Exits with 1 when a service was parked, with 2 for a wrong call."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--on", metavar="DATE", type=arguments.day, help="bill what is due by then (today)")
        parser.add_argument("--service", metavar="ID", help="only this service")
        parser.add_argument("--dry-run", action="store_true", help="say what would be billed and write nothing")

    def handle(self, *, on: date | None, service: str | None, dry_run: bool, **_: Any) -> None:
        chosen, now = self.chosen(service), timezone.now()
        if chosen is None and not dry_run:
            self.finish_terminated()
        with stoppable() as stop, Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("Billing", total=None)
            result = create_invoices(
                on=on or dates.site_day(),
                at=now,
                service=chosen,
                dry_run=dry_run,
                should_stop=stop.is_set,
                progress=lambda done, due: progress.update(task, completed=done, total=max(due, done)),
            )
        self.say(result, dry_run)
        if stop.is_set():
            raise CommandError("Stopped. What is billed stays billed; the next run does the rest.", returncode=1)
        if result.parked:
            raise CommandError(f"{len(result.parked)} services were parked.", returncode=1)

    def chosen(self, service: str | None) -> Service | None:
        if service is None:
            return None
        try:
            return find_service(service)
        except Service.DoesNotExist:
            raise CommandError(f"There is no service {service}.", returncode=2) from None

    def finish_terminated(self) -> None:
        """Make the last invoices that waited for their servers."""
        for ended in termination.finish_all(at=timezone.now()):
            said = f"its last invoice is {ended.invoice.number}" if ended.invoice else "there is nothing left to charge"
            self.stdout.write(f"{ended.service}: {ended.warning if ended.waits else said}")

    def say(self, result: Result, dry_run: bool) -> None:
        run = result.run
        for document in result.documents:
            total = f"{money.write(document.net, document.currency)}{' before tax' if document.tax else ''}"
            kind = "credit note, " if document.credits else ""
            self.stdout.write(f"{document.number} (dry run)  {document.client}  {kind}{total}")
            for draft in document.drafts:
                for line in draft.lines:
                    amount = money.write(line.amount, document.currency)
                    self.stdout.write(f"    {line.title}: {line.detail}  {amount}")
        totals = ", ".join(money.write(amount, code) for code, amount in sorted(result.amounts.items())) or "nothing"
        taxed = " before tax" if result.is_taxed else ""
        verb = "would be issued" if dry_run else "issued"
        self.stdout.write(f"{run.invoices} invoices {verb} for {run.services} terms: {totals}{taxed}")
        if run.credit_notes:
            self.stdout.write(f"{run.credit_notes} credit notes {verb}")
        for draft in result.in_grace:
            self.stdout.write(f"in grace: service {draft.service.pk}: a draft over {_total(draft)}")
        if run.drafts and not dry_run:
            self.stdout.write(f"{run.drafts} invoices are drafts in their days of grace")
        for wait in result.waiting:
            self.stdout.write(f"waiting: {wait.setting.metric}, {wait.start} to {wait.end}: {wait.reason}")
        left = {draft.service.pk: draft for draft in result.left}
        for pk, reason in result.held.items():
            what = f", {_total(left[pk])}" if pk in left else ""
            self.stdout.write(f"left out: service {pk}{what}: {reason}")
        for pk, reason in result.parked.items():
            self.stdout.write(f"parked: service {pk}: {reason}")


def _total(draft: Draft) -> str:
    return money.write(draft.total, draft.service.currency)


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Set a flag on SIGTERM and SIGINT instead of ending at once, so that the batch at hand is finished."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread hears signals
        return
    known = {each: signal.signal(each, lambda *_: stop.set()) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for each, before in known.items():
            signal.signal(each, before)
