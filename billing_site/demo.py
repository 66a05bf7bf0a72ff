"""A small site with real metered data: databases on the site's own PostgreSQL, and directories.

Every usage number is measured. What is made up are the names, the prices and the dates: the services
are backdated by a month, so that they renew today and an invoice falls due.
"""

import os
import secrets
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import psycopg
from django.conf import settings
from django.db import connection
from django.utils.text import slugify
from psycopg import sql

from catalog.metric_billing import add_version, switch
from catalog.models import Client, ClientUser, MetricSetting, Product, ProductPrice, Service, User
from catalog.pricing import Bracket, Notation, Pricing, Scheme
from catalog.sheet import Sheet
from catalog.terms import Cycle, term
from metering.collection import declared_metrics
from metering.models import Server, Tenant

STAFF, CLIENT = "staff@demo.test", "client@demo.test"


@dataclass(frozen=True)
class Database:
    """A tenant database: who has it, and how many tables of how many rows it holds."""

    name: str
    client: str
    tables: int
    rows: int


CLIENTS = {
    "Lindqvist & Moe": ("USD", "Sjøgata 6\n9008 Tromsø\nNorway"),
    "Studio Brandt": ("EUR", "Torstraße 20\n10119 Berlin\nGermany"),
    "Harbour Analytics": ("USD", "12 Wharf Street\nPortland, ME 04101\nUSA"),
}
DATABASES = [
    Database("lindqvist_shop", "Lindqvist & Moe", tables=12, rows=4_000),
    Database("brandt_crm", "Studio Brandt", tables=25, rows=1_500),
    Database("harbour_events", "Harbour Analytics", tables=5, rows=60_000),
    Database("nobody_knows", "", tables=3, rows=500),
]
#: Files of each tenant, as (name, size in bytes).
FILES = {
    "lindqvist_media": ("Lindqvist & Moe", [(f"photo-{number:03}.raw", 150_000) for number in range(120)]),
    "brandt_archive": ("Studio Brandt", [(f"plan-{number:02}.dwg", 40_000) for number in range(30)]),
}


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
        name: Client.objects.get_or_create(name=name, defaults={"currency": currency, "address": address})[0]
        for name, (currency, address) in CLIENTS.items()
    }
    ClientUser.objects.get_or_create(client=next(iter(clients.values())), user=people.client)
    return clients


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
    return postgresql, filesystem


def make_products(today: date, staff: User) -> tuple[Product, Product]:
    """Make two products with enabled and priced metrics, in force since before the services began."""
    since = backdated(today)[0].replace(day=1)
    managed = _product("Managed PostgreSQL", "postgresql", {"USD": "12", "EUR": "11"})
    storage = _product("File storage", "filesystem", {"USD": "6", "EUR": "5.50"})
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
    return managed, storage


def make_services(
    today: date, clients: dict[str, Client], products: tuple[Product, Product], servers: tuple[Server, Server]
) -> list[Service]:
    """Join clients and tenants, each service backdated by a month and billed for its first term already."""
    wanted = [(products[0], servers[0], database.name, database.client) for database in DATABASES if database.client]
    wanted += [(products[1], servers[1], name, client) for name, (client, _) in FILES.items()]
    anchor, number = backdated(today)
    services = []
    for product, server, key, client in wanted:
        tenant, _ = Tenant.objects.get_or_create(server=server, key=key)
        service, _ = Service.objects.get_or_create(
            tenant=tenant,
            defaults={
                "client": clients[client],
                "product": product,
                "name": key,
                "status": Service.Status.ACTIVE,
                "cycle": Cycle.MONTHLY,
                "anchor": anchor,
                "next_term": number,
                "next_due_on": term(anchor, Cycle.MONTHLY, number).start,
            },
        )
        services.append(service)
    return services


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


def _product(name: str, provider: str, prices: dict[str, str]) -> Product:
    product, _ = Product.objects.get_or_create(name=name, defaults={"provider": provider, "slug": slugify(name)})
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
