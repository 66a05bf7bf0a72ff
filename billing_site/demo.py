"""A small site with real metered data: databases on the site's own PostgreSQL, and directories.

Every usage number of theirs is measured. What is made up are the names, the prices and the dates: the services
are backdated by a month, so that they renew today and an invoice falls due. `billing_site.demo_days` lets
people work with it, and `billing_site.demo_months` puts a year of sample data beside it, which says so.
"""

import os
import secrets
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection
from django.utils.text import slugify
from psycopg import sql

from catalog.metric_billing import add_version, switch
from catalog.models import Client, ClientUser, MetricSetting, Product, ProductPrice, Role, Service, TaxRate, User
from catalog.pricing import Bracket, Notation, Pricing, Scheme
from catalog.sheet import Sheet
from catalog.terms import Cycle, term
from metering.declaring import declared_metrics
from metering.models import Server, Tenant

STAFF, CLIENT = "staff@demo.test", "client@demo.test"


@dataclass(frozen=True)
class Database:
    """A tenant database: who has it, and how many tables of how many rows it holds. One that was `ordered` so many
    days ago was not billed yet; the others renew today."""

    name: str
    client: str
    tables: int
    rows: int
    ordered: int | None = None


#: Currency, address, and where invoices are mailed to, if anywhere.
CLIENTS = {
    "Lindqvist & Moe": ("USD", "Sjøgata 6\n9008 Tromsø\nNorway", "invoices@lindqvist.test"),
    "Studio Brandt": ("EUR", "Torstraße 20\n10119 Berlin\nGermany", ""),
    "Harbour Analytics": ("USD", "12 Wharf Street\nPortland, ME 04101\nUSA", ""),
    "Kestrel Press": ("GBP", "3 Quay Lane\nBristol BS1 4QA\nUnited Kingdom", ""),
}
#: Who pays tax, at the rate and with the tax number that are there, as of a provider in Germany: name, percent and
#: statement of a rate. All others pay their prices.
VAT = ("VAT", "19", "")
REVERSE_CHARGE = ("VAT", "0", "Reverse charge")
TAXED = {
    "Studio Brandt": (VAT, ""),
    "Bergmann Logistik GmbH": (VAT, ""),
    "Maison Laurent": (REVERSE_CHARGE, "FR00000000000"),
    "Cooperativa Olivar del Sur": (REVERSE_CHARGE, "ESF00000000"),
}
DATABASES = [
    Database("lindqvist_shop", "Lindqvist & Moe", tables=12, rows=4_000),
    Database("brandt_crm", "Studio Brandt", tables=25, rows=1_500),
    Database("harbour_events", "Harbour Analytics", tables=5, rows=60_000),
    Database("harbour_reports", "Harbour Analytics", tables=14, rows=2_000),
    Database("harbour_staging", "Harbour Analytics", tables=8, rows=500),
    Database("brandt_intranet", "Studio Brandt", tables=11, rows=500, ordered=10),
    Database("nobody_knows", "", tables=3, rows=500),
]
#: Files of each tenant, as (name, size in bytes). COPIES have a product of their own, NEW ones were ordered today.
FILES = {
    "lindqvist_media": ("Lindqvist & Moe", [(f"photo-{number:03}.raw", 150_000) for number in range(120)]),
    "brandt_archive": ("Studio Brandt", [(f"plan-{number:02}.dwg", 40_000) for number in range(30)]),
    "kestrel_scans": ("Kestrel Press", [(f"page-{number:02}.tiff", 60_000) for number in range(40)]),
    "lindqvist_copies": ("Lindqvist & Moe", [(f"shop-{number:02}.dump", 400_000) for number in range(20)]),
}
COPIES, NEW = {"lindqvist_copies"}, {"kestrel_scans"}
GRACE_DAYS = 5
#: A tenant that no server knows, so its usage cannot be measured.
MISSING = ("brandt_moved", "Studio Brandt")


class NotHere(Exception):
    """The demo would make databases on a server that is not the site's own."""


@dataclass(frozen=True)
class People:
    """The logins, with the password to print; empty when the users existed before and keep theirs."""

    staff: User
    client: User
    password: str


def make_people() -> People:
    """Make both logins, with the password of DEMO_PASSWORD or a new one. Repeating keeps the old password."""
    given = os.environ.get("DEMO_PASSWORD", "")
    password = given or secrets.token_urlsafe(9)
    staff = User.objects.filter(email=STAFF).first()
    client = User.objects.filter(email=CLIENT).first()
    is_new = staff is None or client is None
    staff = staff or User.objects.create_superuser(STAFF, name="Ines Okafor")
    client = client or User.objects.create_user(CLIENT, name="Sara Lindqvist")
    if is_new or given:
        for user in (staff, client):
            user.set_password(password)
            user.save(update_fields=["password"])
    return People(staff, client, password if is_new or given else "")


def make_clients(people: People) -> dict[str, Client]:
    """Make the clients; the client login belongs to the first."""
    clients = {
        name: Client.objects.get_or_create(
            name=name, defaults={"currency": currency, "address": address, "email": email, **taxed(name)}
        )[0]
        for name, (currency, address, email) in CLIENTS.items()
    }
    owner = {"role": Role.OWNER}
    ClientUser.objects.get_or_create(client=next(iter(clients.values())), user=people.client, defaults=owner)
    return clients


def taxed(name: str) -> dict[str, Any]:
    """How a new client is taxed, as defaults of its row. The rate is made with the first client that has it."""
    if name not in TAXED:
        return {}
    (tax, percent, note), number = TAXED[name]

    def rate() -> TaxRate:
        return TaxRate.objects.get_or_create(name=tax, percent=Decimal(percent), note=note)[0]

    return {"tax_rate": rate, "tax_number": number}


def make_servers() -> tuple[Server, Server]:
    """Point a server at the site's own PostgreSQL and one at a directory, both with real tenants.

    Raises NotHere when the site does not run on its embedded database.
    """
    if connection.settings_dict["ENGINE"] != "billing_site.embedded":
        raise NotHere(
            "The demo makes databases on the server that it meters. It does so only on the embedded one: "
            "leave DATABASE_URL unset for the demo."
        )
    params = connection.get_connection_params()
    _fill_databases(params["host"], params["user"])
    files = settings.VAR_DIR / "demo-files"
    _fill_files(files)
    postgresql, _ = Server.objects.update_or_create(
        name="pg-demo",
        defaults={
            "provider": "postgresql",
            "settings": {
                "host": params["host"],
                "port": 5432,
                "user": params["user"],
                "database": "postgres",
                "sslmode": "prefer",
                "tenants": "databases",
                "left_out": f"postgres, {connection.settings_dict['NAME']}",
            },
        },
    )
    filesystem, _ = Server.objects.update_or_create(
        name="files-demo", defaults={"provider": "filesystem", "settings": {"root": str(files)}}
    )
    calls = {"system_name": "api_calls", "display_name": "API calls", "type": "day", "unit": "requests"}
    Server.objects.update_or_create(name="app-demo", defaults={"provider": "push", "settings": {"metrics": [calls]}})
    return postgresql, filesystem


def make_products(today: date, staff: User) -> tuple[Product, Product, Product]:
    """Make the products, with enabled and priced metrics, in force since before the services began."""
    since = backdated(today)[0].replace(day=1)
    managed = _product("Managed PostgreSQL", "postgresql", {"USD": "12", "EUR": "11"})
    storage = _product("File storage", "filesystem", {"USD": "6", "EUR": "5.50"})
    copies = _product("Backup space", "filesystem", {"USD": "3", "EUR": "2.80"}, grace_days=GRACE_DAYS)
    plans: list[tuple[Product, str, str, str, str, list[tuple[str, str, str]]]] = [
        (
            managed,
            "tables",
            "graduated",
            "first_unit",
            "0",
            [("0", "2", "1.90"), ("10", "1", "0.95"), ("20", "0.50", "0.48")],
        ),
        (managed, "disk_used", "per_unit", "above", "5", [("0", "0.25", "0.24")]),
        (managed, "rows_written", "per_unit", "first_unit", "1000", [("0", "0.0001", "0.0001")]),
        (storage, "disk_used", "graduated", "above", "10", [("0", "0.50", "0.45"), ("15", "0.20", "0.18")]),
        (storage, "files", "volume", "first_unit", "0", [("0", "0.02", "0.02"), ("100", "0.01", "0.01")]),
        (copies, "disk_used", "per_unit", "above", "0", [("0", "0.15", "0.14")]),
    ]
    for product, metric, scheme, notation, included, brackets in plans:
        setting = _setting(product, metric)
        switch(setting=setting, on=True, day=since)
        if not setting.versions.exists():
            add_version(
                setting=setting,
                sheet=Sheet(
                    setting.metric.unit,
                    {
                        currency: Pricing(
                            Scheme(scheme),
                            tuple(Bracket(Decimal(row[0]), Decimal(row[column])) for row in brackets),
                            Decimal(included),
                            Notation(notation),
                        )
                        for column, currency in enumerate(("USD", "EUR"), start=1)
                    },
                ),
                effective_from=since,
                today=today,
                by=staff,
                reason="The demo begins with usage of the month before.",
            )
    return managed, storage, copies


def make_services(
    today: date,
    clients: dict[str, Client],
    products: tuple[Product, Product, Product],
    servers: tuple[Server, Server],
) -> list[Service]:
    """Join clients and tenants, each service backdated so that it renews today, or by as much as it says."""
    managed, storage, copies = products
    databases, files = servers
    anchor, number = backdated(today)
    wanted = [
        (managed, databases, each.name, each.client, anchor, number - 1)
        if each.ordered is None
        else (managed, databases, each.name, each.client, today - timedelta(days=each.ordered), 0)
        for each in DATABASES
        if each.client
    ]
    wanted += [(managed, databases, *MISSING, anchor, number - 1)]
    wanted += [
        (
            copies if key in COPIES else storage,
            files,
            key,
            client,
            *((today, 0) if key in NEW else (anchor, number - 1)),
        )
        for key, (client, _) in FILES.items()
    ]
    return [
        _service(product, Tenant.objects.get_or_create(server=server, key=key)[0], clients[client], anchor, number)
        for product, server, key, client, anchor, number in wanted
    ]


def _service(product: Product, tenant: Tenant, client: Client, anchor: date, number: int) -> Service:
    service, _ = Service.objects.get_or_create(
        tenant=tenant,
        defaults={
            "client": client,
            "product": product,
            "name": tenant.key,
            "status": Service.Status.ACTIVE,
            "cycle": Cycle.MONTHLY,
            "bills_monthly": product.bills_monthly,
            "anchor": anchor,
            "next_term": number,
            "next_due_on": term(anchor, Cycle.MONTHLY, number).start,
        },
    )
    return service


def write_more_rows() -> None:
    """Let the tenants work, so that their counters rise between two collections."""
    params = connection.get_connection_params()
    for database in DATABASES:
        with psycopg.connect(host=params["host"], user=params["user"], dbname=database.name) as tenant:
            tenant.execute(
                "INSERT INTO table_1 (note) SELECT md5(n::text) FROM generate_series(1, %s) n", [database.rows]
            )


def backdated(today: date) -> tuple[date, int]:
    """Return an anchor one or two months ago, and the number of its monthly term that starts today."""
    number = 1
    while True:
        year, month = divmod(today.year * 12 + today.month - 1 - number, 12)
        if today.day <= monthrange(year, month + 1)[1]:
            return date(year, month + 1, today.day), number
        number += 1


def _product(name: str, provider: str, prices: dict[str, str], grace_days: int = 0) -> Product:
    product, _ = Product.objects.get_or_create(
        name=name, defaults={"provider": provider, "slug": slugify(name), "grace_days": grace_days}
    )
    for currency, amount in prices.items():
        ProductPrice.objects.get_or_create(
            product=product, cycle=Cycle.MONTHLY, currency=currency, defaults={"amount": Decimal(amount)}
        )
    return product


def _setting(product: Product, system_name: str) -> MetricSetting:
    metric = next(one for one in declared_metrics(product.provider) if one.system_name == system_name)
    setting, _ = MetricSetting.objects.get_or_create(product=product, metric=metric)
    return setting


def _fill_databases(host: str, user: str) -> None:
    with psycopg.connect(host=host, user=user, dbname="postgres", autocommit=True) as server:
        existing = {name for (name,) in server.execute("SELECT datname FROM pg_database")}
        for database in DATABASES:
            if database.name not in existing:
                server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database.name)))
                _fill_database(host, user, database)


def _fill_database(host: str, user: str, database: Database) -> None:
    with psycopg.connect(host=host, user=user, dbname=database.name) as tenant:
        for number in range(1, database.tables + 1):
            table = sql.Identifier(f"table_{number}")
            tenant.execute(sql.SQL("CREATE TABLE {} (id bigserial PRIMARY KEY, note text)").format(table))
            tenant.execute(
                sql.SQL("INSERT INTO {} (note) SELECT md5(n::text) FROM generate_series(1, %s) n").format(table),
                [database.rows],
            )


def _fill_files(root: Path) -> None:
    for tenant, (_, files) in FILES.items():
        directory = root / tenant
        directory.mkdir(parents=True, exist_ok=True)
        for name, size in files:
            path = directory / name
            if not path.exists():
                path.write_bytes(os.urandom(size))
