"""Terminate a service and make its final invoice."""

from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from catalog import money
from catalog.models import Service
from invoicing.boundary import CannotClose
from invoicing.drafts import CannotBill
from invoicing.finding import find_service
from invoicing.termination import WhenDown, terminate
from metering import arguments, dates


class Command(BaseCommand):
    help = "Terminates a service and bills its usage to date. Exits with 1 when it cannot, with 2 for a wrong call."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("service", metavar="ID", help="public id or number of the service")
        parser.add_argument("--on", metavar="DATE", type=arguments.day, help="the last day (today)")
        parser.add_argument(
            "--when-down",
            choices=[str(each) for each in WhenDown],
            default=str(WhenDown.LAST_VALUES),
            help="if the server does not answer: bill the last values known, or let the last invoice wait for it "
            "(%(default)s)",
        )

    def handle(self, *, service: str, on: date | None, when_down: str, **_: Any) -> None:
        try:
            ended = terminate(
                service=find_service(service),
                on=on or dates.site_day(),
                at=timezone.now(),
                when_down=WhenDown(when_down),
            )
        except Service.DoesNotExist:
            raise CommandError(f"There is no service {service}.", returncode=2) from None
        except (CannotClose, CannotBill) as error:
            raise CommandError(str(error), returncode=1) from error
        if ended.warning:
            self.stderr.write(ended.warning)
        if ended.waits:
            self.stdout.write(f"{ended.service} is terminated; its last invoice waits for its server.")
        elif ended.invoice is None:
            self.stdout.write(f"{ended.service} is terminated; nothing was left to charge.")
        else:
            total = money.write(ended.invoice.total, ended.invoice.currency)
            self.stdout.write(f"{ended.service} is terminated; its last invoice is {ended.invoice.number}, {total}.")
