"""A small site with real metered data, safe to repeat."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.actors import working
from billing_site import demo, demo_days, demo_months, demo_people
from invoicing.models import Invoice
from metering import dates
from metering.collectors import collect_all


class Command(BaseCommand):
    help = "Makes logins, servers, products and services, collects for real, and creates the invoices that fall due."

    def handle(self, **_: Any) -> None:
        today = dates.site_day()
        people = demo.make_people()
        clients = demo.make_clients(people)
        try:
            servers = demo.make_servers()
        except demo.NotHere as error:
            raise CommandError(str(error), returncode=1) from error
        with working(user=people.staff.pk, name=str(people.staff)):
            products = demo.make_products(today, people.staff)
            demo.make_services(today, clients, products, servers)
            year = demo_months.begin(today=today, clients=clients, by=people.staff)
        self.collect(servers)
        if year:
            demo_months.bill(year=year, before=demo_days.first_run(today), by=people.staff)
        demo_days.bill_first_terms(today=today, at=timezone.now())
        if year:
            demo_months.bill(year=year, before=today, by=people.staff)
            demo_months.catch_up(year=year, clients=clients, at=timezone.now(), people=people)
        demo.write_more_rows()
        # The server counts written rows a moment after they were written.
        time.sleep(1.2)
        records = self.collect(servers)
        before = Invoice.objects.count()
        run = demo_days.bill_today(today=today, at=timezone.now(), by=people.staff)
        demo_days.work(today=today, at=timezone.now(), by=people.staff)
        demo_people.live(today=today, at=timezone.now(), clients=clients, people=people)
        for record in records:
            self.stdout.write(f"{record.server}: {record.tenants} tenants, {record.values_seen} values measured.")
        self.stdout.write(f"{Invoice.objects.count() - before} invoices issued; {run.parked} parked, {run.held} held.")
        self.stdout.write(
            "What pg-demo and files-demo report is measured, on this machine, just now, save for one value that says "
            "that it is sample data; their services are backdated by a month, so that they renew today. A year of "
            "usage is sample data: its servers and products say so in their names. Names and prices are made up."
        )
        self.say_logins(people)

    def collect(self, servers: Any) -> list[Any]:
        return collect_all(as_of=timezone.now(), servers=servers)

    def say_logins(self, people: demo.People) -> None:
        password = people.password or "(as it was: set DEMO_PASSWORD to change it)"
        self.stdout.write(f"Staff:    {demo.STAFF}   password: {password}")
        self.stdout.write(f"Client:   {demo.CLIENT}  password: {password}")
