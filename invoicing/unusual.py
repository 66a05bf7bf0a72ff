"""What is out of the ordinary about some services. Mostly nothing is, so one query asks for all of it, and for when
usage invoicing was on, which is asked with it each time."""

from collections.abc import Collection
from functools import cache
from typing import Any, NamedTuple

from django.db.models import Model
from psycopg import sql

from catalog.models import Override
from invoicing.models import (
    BackBilling,
    BilledPeriod,
    Decision,
    Deferral,
    Difference,
    InvoicingSpan,
    OverageCharge,
    Parked,
)
from metering.prepared import Question, execute

#: Tables that have a row about few services only, and how such a row is found.
_BY_SERVICE: tuple[type[Model], ...] = (BackBilling, Decision, Deferral, Difference, Override, Parked)


class Circumstances(NamedTuple):
    """Which tables have anything about some services, and when usage invoicing was on.

    BilledPeriod stands for periods that were billed while they were open, OverageCharge for charges that wait.
    """

    has: frozenset[type[Model]]
    spans: list[InvoicingSpan]


def about(services: Collection[Any]) -> Circumstances:
    """Return what is out of the ordinary about some services, given as rows with their tenants, in one query."""
    ((*found, starts, ends),) = execute(*asked_about(services))
    models: tuple[type[Model], ...] = (*_BY_SERVICE, BilledPeriod, OverageCharge)
    has = frozenset(model for model, is_there in zip(models, found, strict=True) if is_there)
    return Circumstances(has, [InvoicingSpan(start=start, end=end) for start, end in zip(starts, ends, strict=True)])


def asked_about(services: Collection[Any]) -> Question:
    """Return what is asked to know it."""
    asked = {
        "services": [service.id for service in services],
        "tenants": [service.tenant_id for service in services if service.tenant_id],
    }
    return Question(_query(), asked, len(services))


@cache
def _query() -> str:
    about_services = "EXISTS (SELECT FROM {} WHERE service_id = ANY(%(services)s))"
    about_tenants = "EXISTS (SELECT FROM {} WHERE tenant_id = ANY(%(tenants)s) AND is_open)"
    parts = [sql.SQL(about_services).format(sql.Identifier(each._meta.db_table)) for each in _BY_SERVICE]
    parts.append(sql.SQL(about_tenants).format(sql.Identifier(BilledPeriod._meta.db_table)))
    parts.append(
        sql.SQL(about_services[:-1] + " AND line_id IS NULL AND amount > 0)").format(
            sql.Identifier(OverageCharge._meta.db_table)
        )
    )
    spans = sql.Identifier(InvoicingSpan._meta.db_table)
    parts += [
        sql.SQL("ARRAY(SELECT {} FROM {} ORDER BY id)").format(sql.Identifier(at), spans) for at in ("start", "end")
    ]
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join(parts)).as_string()
