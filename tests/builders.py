"""Small functions that build what a test needs, with sensible values for the rest."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar
from unittest.mock import patch

from django.utils.text import slugify

from catalog.models import (
    BracketPrice,
    Client,
    ClientUser,
    EnabledSpan,
    MetricSetting,
    Override,
    OverridePrice,
    PricingVersion,
    Product,
    ProductPrice,
    Service,
    User,
)
from catalog.terms import Cycle, term
from metering import collection, declaring, partitions, units
from metering.models import Metric, Server, Tenant
from metering.periods import Period
from metering.providers import base
from metering.providers.base import Connection, MetricType, TenantUsage, Usage

DISK = base.Metric("disk", "Disk space", MetricType.SNAPSHOT, units.GB)
MAILBOXES = base.Metric("mailboxes", "Mailboxes", MetricType.SNAPSHOT, units.MAILBOXES)
EMAILS = base.Metric("emails", "Emails sent", MetricType.DAY, units.Unit("emails", "email", "emails"))
TRAFFIC = base.Metric("traffic", "Bandwidth", MetricType.MONTH, units.GB)
ROWS = base.Metric("rows", "Rows written", MetricType.COUNTER, units.Unit("rows", "row", "rows"))
METRICS = (DISK, MAILBOXES, EMAILS, TRAFFIC, ROWS)
GB = Decimal(10**9)


class Panel:
    """A provider whose servers answer what the test says. `says` is asked anew for every call."""

    title: ClassVar[str] = "Panel"
    tenant_is: ClassVar[str] = "a user name"
    resets: ClassVar[str] = ""
    fields: ClassVar[tuple[base.Field, ...]] = (base.Field("host", "Host"), base.Field("token", "Token", "secret"))
    can_look_back: ClassVar[bool] = True
    says: ClassVar[Callable[[Connection, Period | None], Iterator[TenantUsage]]]
    asked: ClassVar[list[tuple[str, Any]]] = []

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @classmethod
    def metrics(cls, settings: Mapping[str, Any] | None = None) -> tuple[base.Metric, ...]:
        return METRICS

    def check(self) -> str:
        return "Panel 1.0"

    def usage(self, period: Period | None = None) -> Iterator[TenantUsage]:
        type(self).asked.append(("usage", period))
        yield from type(self).says(self.connection, period)

    def tenant_usage(self, tenant: str) -> TenantUsage:
        type(self).asked.append(("tenant_usage", tenant))
        for answer in type(self).says(self.connection, None):
            if answer.tenant == tenant:
                return answer
        raise base.ProviderError(f"Panel has no user {tenant!r}.")


def at(text: str) -> datetime:
    """`2026-11-19 06:00` as an instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def says(*answers: TenantUsage) -> Callable[..., Iterator[TenantUsage]]:
    """Let every server of the panel answer this."""
    return lambda connection, period=None: iter(() if period else answers)


def tenant_says(tenant: str, **values: Any) -> TenantUsage:
    """What a server says of a tenant: numbers, or whole Usage objects, by metric."""
    return TenantUsage(
        tenant,
        {name: value if isinstance(value, Usage) else Usage(Decimal(str(value))) for name, value in values.items()},
    )


def panel(answer: Callable[..., Iterator[TenantUsage]] | None = None) -> Any:
    """Patch the installed providers so that `panel` is one, answering as given. Use as a context."""
    Panel.says = staticmethod(answer or says())
    Panel.asked = []
    known = {**base.installed(), "panel": Panel}
    return patch("metering.providers.base.installed", lambda: known)


def a_server(name: str = "panel-01", **values: Any) -> Server:
    return Server.objects.create(**{"name": name, "provider": "panel", "settings": {"host": "panel.test"}, **values})


def collected(server: Server, when: str, *answers: TenantUsage, **options: Any) -> Any:
    """Collect `server` at an instant, with the panel answering this. Returns the record."""
    with panel(says(*answers)):
        server.refresh_from_db()
        return collection.collect(server=server, as_of=at(when), **options)


def a_metric(declared: base.Metric = DISK, provider: str = "panel") -> Metric:
    return declaring.declare(provider, [declared])[declared.system_name]


def a_tenant(server: Server, key: str = "alice") -> Tenant:
    return Tenant.objects.get_or_create(server=server, key=key)[0]


def a_user(email: str = "sara@client.test", password: str | None = None, **values: Any) -> User:
    return User.objects.create_user(email, password, **values)


def a_staff_user(email: str = "ines@staff.test", password: str | None = None) -> User:
    return User.objects.create_superuser(email, password)


def a_client(name: str = "Lindqvist & Moe", currency: str = "USD", users: tuple[User, ...] = ()) -> Client:
    client = Client.objects.create(name=name, currency=currency)
    for user in users:
        ClientUser.objects.create(client=client, user=user)
    return client


def a_product(name: str = "Business Web", provider: str = "panel", price: str = "24", currency: str = "USD") -> Product:
    product, _ = Product.objects.get_or_create(name=name, defaults={"provider": provider, "slug": slugify(name)})
    for cycle in Cycle:
        ProductPrice.objects.get_or_create(
            product=product, cycle=cycle, currency=currency, defaults={"amount": Decimal(price)}
        )
    return product


def a_setting(product: Product, declared: base.Metric = DISK, enabled_from: str | None = "2020-01-01") -> MetricSetting:
    setting, _ = MetricSetting.objects.get_or_create(product=product, metric=a_metric(declared, product.provider))
    if enabled_from:
        EnabledSpan.objects.create(setting=setting, start=date.fromisoformat(enabled_from))
    return setting


def priced(
    setting: MetricSetting,
    *brackets: tuple[str, str],
    scheme: str = "graduated",
    notation: str = "first_unit",
    included: str = "0",
    currency: str = "USD",
    effective_from: str = "2020-01-01",
    **values: Any,
) -> PricingVersion:
    """Give a setting a version of pricing with these (start, unit price) brackets."""
    version = PricingVersion.objects.create(
        setting=setting,
        number=setting.versions.count() + 1,
        effective_from=date.fromisoformat(effective_from),
        scheme=scheme,
        notation=notation,
        included=Decimal(included),
        **{"unit_code": setting.metric.unit.code, **values},
    )
    BracketPrice.objects.bulk_create(
        BracketPrice(version=version, currency=currency, start=Decimal(start), unit_price=Decimal(price))
        for start, price in brackets
    )
    return version


def agreed(
    service: Service,
    setting: MetricSetting,
    *brackets: tuple[str, str],
    start: str = "2026-01-01",
    end: str | None = None,
    scheme: str = "",
    reason: str = "as we talked",
    included: str | None = None,
    discount: str = "0",
    **values: Any,
) -> Override:
    """Agree other terms with a service; with (start, unit price) brackets it has prices of its own."""
    override = Override.objects.create(
        service=service,
        setting=setting,
        start=date.fromisoformat(start),
        end=date.fromisoformat(end) if end else None,
        scheme=scheme or ("graduated" if brackets else ""),
        reason=reason,
        included=None if included is None else Decimal(included),
        discount=Decimal(discount),
        **{"unit_code": setting.metric.unit.code, "currency": service.currency, "notation": "above", **values},
    )
    OverridePrice.objects.bulk_create(
        OverridePrice(override=override, start=Decimal(start), unit_price=Decimal(price)) for start, price in brackets
    )
    return override


def a_service(
    product: Product | None = None,
    client: Client | None = None,
    tenant: Tenant | None = None,
    anchor: str = "2026-10-01",
    next_term: int = 1,
    cycle: Cycle = Cycle.MONTHLY,
    status: str = "active",
    **values: Any,
) -> Service:
    """A service whose terms up to `next_term` are billed already, so that its usage of the last is due."""
    first = date.fromisoformat(anchor)
    return Service.objects.create(
        product=product or a_product(),
        client=client or a_client(),
        tenant=tenant,
        name=values.pop("name", tenant.key if tenant else "a service"),
        cycle=cycle,
        anchor=first,
        next_term=next_term,
        next_due_on=term(first, Cycle.MONTHLY if values.get("bills_monthly") else cycle, next_term).start,
        status=status,
        **values,
    )


def usage_of(tenant: Tenant, declared: base.Metric) -> dict[str, Decimal]:
    """The usage rows of a tenant's metric: value by first day."""
    from metering.models import Usage as UsageRow

    rows = UsageRow.objects.of(tenant.pk, a_metric(declared).pk)
    return {str(row.start): row.value for row in rows}


__all__ = [name for name in globals() if not name.startswith("_")] + ["partitions"]
