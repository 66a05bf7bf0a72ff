"""Send the mails that wait in the outbox."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from invoicing import outbox


class Command(BaseCommand):
    help = "Sends the mails that are due. Exits with 1 when the mail server is to blame for what was not sent."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, default=outbox.LIMIT, help="mails at most (%(default)s)")

    def handle(self, *, limit: int, **_: Any) -> None:
        done = outbox.send_due(at=timezone.now(), limit=limit)
        waiting, given_up = outbox.waiting().count(), outbox.given_up().count()
        self.stdout.write(f"{done.sent} sent, {done.failed} failed; {waiting} waiting, {given_up} given up.")
        if done.error:
            raise CommandError(done.error, returncode=1)
