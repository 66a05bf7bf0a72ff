"""Collect usage now: of all active servers, of one, or of one tenant."""

from datetime import date, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.console import Console
from rich.progress import Progress

from metering import arguments, collection, collectors, periods
from metering.models import Collection, Server
from metering.periods import local_day
from metering.providers import base
from metering.providers.base import MetricType
from metering.server_lock import Busy


class Command(BaseCommand):
    help = "Collects usage now. Exits with 1 when a server failed or was held, with 2 for a wrong call."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--server", metavar="NAME", help="only this server")
        parser.add_argument("--tenant", metavar="KEY", help="only this tenant of the server")
        parser.add_argument(
            "--month",
            metavar="YYYY-MM",
            type=arguments.month,
            help="ask for a closed month again, where the provider can",
        )

    def handle(self, *, server: str | None, tenant: str | None, month: date | None, **_: Any) -> None:
        if tenant and not server:
            raise CommandError("--tenant needs --server, since two servers may have the same tenant.", returncode=2)
        if tenant and month:
            raise CommandError("--month asks for all tenants; leave out --tenant.", returncode=2)
        servers = self.chosen(server)
        if tenant:
            records = [self.collect_tenant(servers[0], tenant)]
        elif month:
            records = [record for one in servers for record in self.collect_month(one, month)]
        else:
            records = self.collect_all(servers)
        if not all(record.is_stored for record in records):
            raise CommandError("Not everything was collected.", returncode=1)

    def chosen(self, name: str | None) -> list[Server]:
        if name is None:
            return list(Server.objects.asked())
        try:
            server = Server.objects.get(name=name)
        except Server.DoesNotExist:
            known = ", ".join(Server.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no server called {name}. There are: {known}.", returncode=2) from None
        if not base.asks(server.provider):
            said = f"{server} is not asked for usage, which is pushed. For a file there is import_usage."
            raise CommandError(said, returncode=2)
        return [server]

    def collect_all(self, servers: list[Server]) -> list[Collection]:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("Collecting", total=len(servers))

            def done(server: Server, record: Collection | None) -> None:
                progress.update(task, advance=1, description="Collecting")
                self.say(server, record)

            def seen(tenants: int) -> None:
                progress.update(task, description=f"Collecting, {tenants:,} tenants so far")

            return collectors.collect_all(as_of=timezone.now(), servers=servers, done=done, progress=seen)

    def collect_tenant(self, server: Server, tenant: str) -> Collection:
        try:
            record = collection.collect(server=server, as_of=timezone.now(), tenant=tenant)
        except Busy as error:
            raise CommandError(str(error), returncode=1) from error
        self.say(server, record)
        return record

    def collect_month(self, server: Server, first: date) -> list[Collection]:
        now, period = timezone.now(), periods.month(first)
        provider = base.provider(server.provider)
        if not provider.can_look_back:
            raise CommandError(f"{provider.title} cannot answer for a month that is over.", returncode=2)
        if period.end > local_day(now, server.zone):
            raise CommandError(f"{first:%Y-%m} is not over; collect without --month.", returncode=2)
        types = {metric.type for metric in provider.metrics(server.settings)}
        asked = [period] if MetricType.MONTH in types else []
        if MetricType.DAY in types:
            asked += [periods.day(period.start + timedelta(days=number)) for number in range(period.days)]
        try:
            records = [collection.collect(server=server, as_of=now, period=one) for one in asked]
        except Busy as error:
            raise CommandError(str(error), returncode=1) from error
        for record in records:
            self.say(server, record)
        return records

    def say(self, server: Server, record: Collection | None) -> None:
        if record is None:
            self.stdout.write(f"{server}: another process is collecting it")
            return
        period = f" for {record.period_words}" if record.period_words else ""
        counts = f"{record.tenants} tenants, {record.values_seen} values, {record.rejected} refused"
        error = f". {record.error}" if record.error else ""
        self.stdout.write(f"{server}{period}: {record.status}, {counts}{error}")
