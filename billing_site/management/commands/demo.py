"""A small site with real metered data, safe to repeat."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from billing_site import demo
from invoicing.billing import create_invoices
from metering.collection import collect_all


class Command(BaseCommand):
    help = "Makes logins, servers, products and services, collects for real, and creates the invoices that fall due."

    def handle(self, **_: Any) -> None:
        today = timezone.localdate()
        people = demo.make_people()
        clients = demo.make_clients(people)
        try:
            servers = demo.make_servers()
        except demo.NotHere as error:
            raise CommandError(str(error), returncode=1) from error
        products = demo.make_products(today, people.staff)
        demo.make_services(today, clients, products, servers)
        self.collect(servers)
        demo.write_more_rows()
        # The server counts written rows a moment after they were written.
        time.sleep(1.2)
        records = self.collect(servers)
        run = create_invoices(on=today, at=timezone.now()).run
        for record in records:
            self.stdout.write(f"{record.server}: {record.tenants} tenants, {record.values_seen} values measured.")
        self.stdout.write(f"{run.invoices} invoices issued for {run.services} terms.")
        self.stdout.write(
            "All usage is measured, on this machine, just now. The services are backdated by a month, "
            "so that they renew today; names and prices are made up."
        )
        self.say_logins(people)

    def collect(self, servers: Any) -> list[Any]:
        return collect_all(as_of=timezone.now(), servers=servers)

    def say_logins(self, people: demo.People) -> None:
        password = people.password or "(as it was: set DEMO_PASSWORD to change it)"
        self.stdout.write(f"Staff:    {demo.STAFF}   password: {password}")
        self.stdout.write(f"Client:   {demo.CLIENT}  password: {password}")
