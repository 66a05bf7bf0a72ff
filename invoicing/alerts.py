"""The deeds of alerts and budgets: to look which bounds are crossed, and to tell of it once.

A crossing begins when a value is at its bound or above, and ends when it is below again; of what begins anew with
each term, it ends with the term. A forecast moves to and fro, so it is told of once a term. Where a value is not
known, nothing begins and nothing ends. Charges are those for usage, as far as they are billed; a budget is about all
services of a client, in its currency.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from catalog.models import OVER, ClientUser, Service, User
from catalog.permissions import Deed, roles_that_may
from catalog.pricing import HUNDRED
from invoicing import quiet, statistics
from invoicing.models import Alert, Crossing, Message
from invoicing.statistics import Statistics
from metering.decimals import EXACT, exact_sum, round_half_up
from metering.prepared import Prepared, any_of

#: Services whose statistics are read at once, and some more where a client has many.
BATCH = 500
#: Decimals of a value that is kept.
PLACES = 6
#: The largest value that is kept: a share of next to nothing may be any.
LARGEST = Decimal(10) ** 18 - Decimal(10) ** -PLACES
#: So many crossings stand on a client's first page.
SHOWN = 5

Measure = Alert.Measure


@dataclass(frozen=True, slots=True)
class Found:
    """What an alert is about now: the value, and the term that it belongs to. It `ends_with_term` if it adds up."""

    alert: Alert
    service: Service | None
    value: Decimal
    term_start: date
    ends_with_term: bool


@dataclass
class Watched:
    """How many crossings began and ended, and how many mails were queued."""

    services: int = 0
    began: int = 0
    ended: int = 0
    mails: int = 0

    def __str__(self) -> str:
        return f"{self.services} services looked at, {self.began} alerts told of, {self.ended} over"


def watch(*, at: datetime, should_stop: Callable[[], bool] = lambda: False) -> Watched:
    """Look at everything that an alert is about, a batch of clients in each transaction."""
    done = Watched()
    for services in _batches(list(_watched_services().values_list("pk", "client_id"))):
        if should_stop():
            break
        _watch(services, at, done)
    _end_the_rest(at, done)
    return done


_OPEN = Prepared(
    lambda clients: (
        Crossing.objects.of_clients(any_of(clients))
        .filter(ended_at=None, alert__is_active=True)
        .select_related("alert__setting__metric", "service", "alert__client")[:SHOWN]
    )
)


def open_for(clients: Collection[int]) -> list[Crossing]:
    """The crossings that last, of alerts that these clients set, the newest first, SHOWN at most."""
    return _OPEN.all(list(clients))


@transaction.atomic
def change(alert: Alert, said: Mapping[str, Any], *, at: datetime) -> bool:
    """Watch something else from now on, and begin to tell anew. Returns whether there still is such an alert."""
    one = Alert.objects.select_for_update(of=("self",)).filter(pk=alert.pk).first()
    if one is None:
        return False
    if any(getattr(one, name) != value for name, value in said.items() if name != "by_mail"):
        _retire(one, at)
    Alert.objects.filter(pk=one.pk).update(**said)
    return True


def _retire(alert: Alert, at: datetime) -> None:
    """Leave what an alert told, in the words of then, with a copy of it that watches nothing."""
    told = Crossing.objects.filter(alert=alert)
    if told.exists():
        before = copy(alert)
        before.pk, before.is_active = None, False
        before.save(force_insert=True)
        told.filter(ended_at=None).update(ended_at=at)
        told.update(alert=before)


def _watched_services() -> QuerySet[Service]:
    """The services that an alert is about, those of a client together."""
    alerts = Alert.objects.filter(is_active=True)
    of_client = alerts.filter(client=OuterRef("client"), service=None).filter(
        Q(setting=None) | Q(setting__product=OuterRef("product"))
    )
    about = (
        Exists(of_client)
        | Exists(alerts.filter(service=OuterRef("pk"), client=OuterRef("client")))
        | Exists(alerts.filter(product=OuterRef("product")))
    )
    return Service.objects.filter(about).exclude(status__in=OVER).order_by("client_id", "pk")


def _batches(keys: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Cut services into batches, none through a client: what a budget is about is read together."""
    batch: list[int] = []
    for _client, group in groupby(keys, key=lambda key: key[1]):
        batch += [pk for pk, _ in group]
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _watch(ids: list[int], at: datetime, done: Watched) -> None:
    rows = Service.objects.filter(pk__in=ids).select_related("client", "product", "tenant__server")
    services = list(rows.defer("tenant__server__credentials"))
    alerts = _alerts_about(services)
    metrics = statistics.enabled_of_each(services, at=at, with_days=_has_uncharged(alerts))
    found = [one for alert in alerts for one in _values(alert, services, metrics)]
    done.services += len(services)
    with transaction.atomic():
        # Whoever watches the same waits here, and then finds what was told.
        list(Alert.objects.filter(pk__in=[alert.pk for alert in alerts]).order_by("pk").select_for_update(of=("self",)))
        _tell(found, at, done)


def _alerts_about(services: Sequence[Service]) -> list[Alert]:
    clients, products = {one.client_id for one in services}, {one.product_id for one in services}
    about = Q(client__in=clients, service=None) | Q(service__in=services) | Q(product__in=products)
    related = ("setting__metric", "client", "created_by")
    return list(Alert.objects.filter(about, is_active=True).select_related(*related).order_by("pk"))


def _has_uncharged(alerts: Iterable[Alert]) -> bool:
    """Whether one is about the quantity of a metric that has no price: no line of an invoice says how much that is."""
    chosen = {alert.setting_id for alert in alerts if alert.measure == Measure.QUANTITY}
    return Alert.objects.filter(setting__in=chosen - {None}, setting__versions=None).exists() if chosen else False


def _values(alert: Alert, services: Sequence[Service], metrics: dict[int, list[Statistics]]) -> Iterator[Found]:
    """What an alert is about now, wherever that is known."""
    own = [one for one in services if _is_about(alert, one)]
    if alert.client_id is not None and alert.service_id is None and alert.setting_id is None:
        yield from _budget(alert, own, metrics)
        return
    for service in own:
        known = metrics[service.pk]
        term = service.current_term
        if alert.setting_id is None:
            value = _charges(alert, known) if service.currency == alert.currency else None
            ends = True
        else:
            one = next((each for each in known if each.setting and each.setting.pk == alert.setting_id), None)
            value = _of_metric(alert, one) if one is not None else None
            ends = one is not None and (one.metric.adds_up or alert.measure == Measure.AMOUNT)
        if value is not None:
            yield Found(alert, service, round_half_up(value, PLACES), term.start, ends)


def _is_about(alert: Alert, service: Service) -> bool:
    if alert.product_id is not None:
        return service.product_id == alert.product_id
    if service.client_id != alert.client_id:
        return False
    if alert.service_id is not None:
        return service.pk == alert.service_id
    return alert.setting is None or service.product_id == alert.setting.product_id


def _budget(alert: Alert, own: Sequence[Service], metrics: dict[int, list[Statistics]]) -> Iterator[Found]:
    """All charges of a client. Their terms differ, so it lasts until they are below the bound."""
    same = [service for service in own if service.currency == alert.currency and service.is_billable]
    amounts = [_charges(alert, metrics[service.pk]) for service in same]
    known = [amount for amount in amounts if amount is not None]
    if known:
        start = max(service.current_term.start for service in same)
        yield Found(alert, None, round_half_up(exact_sum(known), PLACES), start, ends_with_term=False)


def _charges(alert: Alert, known: Sequence[Statistics]) -> Decimal | None:
    if not any(one.latest for one in known):
        return None
    if not alert.is_of_forecast:
        return statistics.total(known)
    ahead = statistics.expected(known)
    return ahead.expected if ahead else None


def _of_metric(alert: Alert, one: Statistics) -> Decimal | None:
    if one.latest is None:
        return None
    ahead = one.outlook if alert.is_of_forecast else None
    if alert.is_of_forecast and ahead is None:
        return None
    if alert.measure == Measure.AMOUNT:
        if one.currency != alert.currency:
            return None
        return ahead.amounts.expected if ahead and ahead.amounts else None if ahead else one.amount
    quantity = ahead.quantities.expected if ahead else one.quantity
    if quantity is None:
        return None
    if alert.measure == Measure.QUANTITY:
        return alert.unit.from_base(one.unit.to_base(quantity)) if alert.unit else quantity
    return EXACT.divide(EXACT.multiply(quantity, HUNDRED), one.included) if one.included else None


def _tell(found: Sequence[Found], at: datetime, done: Watched) -> None:
    """Begin and end crossings after what was found, and queue the mails about those that began."""
    ids = {one.alert.pk for one in found}
    lasting = {(row.alert_id, row.service_id): row for row in Crossing.objects.filter(alert__in=ids, ended_at=None)}
    foretold = set(
        Crossing.objects.filter(alert__in=ids, alert__is_of_forecast=True).values_list(
            "alert_id", "service_id", "term_start"
        )
    )
    ended, began = [], []
    for one in found:
        key = (one.alert.pk, one.service.pk if one.service else None)
        crossing, is_above = lasting.get(key), one.value >= one.alert.bound
        if crossing is not None and (not is_above or (one.ends_with_term and crossing.term_start != one.term_start)):
            ended.append(crossing.pk)
            crossing = None
        if is_above and crossing is None and (*key, one.term_start) not in foretold:
            began.append(_crossing(one, at))
    Crossing.objects.filter(pk__in=ended).update(ended_at=at)
    made = Crossing.objects.bulk_create(began)
    mails = _mails([crossing for crossing in made if crossing.alert.by_mail], at)
    Message.objects.bulk_create(mails, ignore_conflicts=True)
    done.began += len(made)
    done.ended += len(ended)
    done.mails += len(mails)


def _crossing(one: Found, at: datetime) -> Crossing:
    return Crossing(
        alert=one.alert,
        service=one.service,
        began_at=at,
        term_start=one.term_start,
        value=min(one.value, LARGEST),
        bound=one.alert.bound,
    )


def _mails(crossings: Sequence[Crossing], at: datetime) -> list[Message]:
    """To those of the client who may set alerts; of a product, to whoever of staff set it."""
    clients = {crossing.alert.client_id for crossing in crossings} - {None}
    members: dict[int, list[User]] = defaultdict(list)
    rows = ClientUser.objects.filter(client__in=clients, role__in=roles_that_may(Deed.ALERTS), user__is_active=True)
    for row in rows.select_related("user").order_by("pk"):
        members[row.client_id].append(row.user)
    mails = []
    for crossing in crossings:
        client = crossing.alert.client_id
        for user in members[client] if client is not None else _of_staff(crossing.alert):
            mails.append(_mail(crossing, user.email, user, at))
        if client is None and not _of_staff(crossing.alert) and settings.SUPPORT_EMAIL:
            mails.append(_mail(crossing, settings.SUPPORT_EMAIL, None, at))
    return mails


def _of_staff(alert: Alert) -> list[User]:
    by = alert.created_by
    return [by] if by is not None and by.is_active and by.is_staff else []


def _mail(crossing: Crossing, address: str, user: User | None, at: datetime) -> Message:
    return Message(
        kind=Message.Kind.ALERT,
        client_id=crossing.alert.client_id,
        crossing=crossing,
        user=user,
        to=address,
        created_at=at,
        hold_until=quiet.until(user, at) if user else None,
    )


def _end_the_rest(at: datetime, done: Watched) -> None:
    """What is not watched any more is not crossed: the alert is off, or its service is over, another client's or of
    another product, or it is billed in other money."""
    is_anothers = _differ("service__client", "alert__client")
    is_else = _differ("service__product", "alert__setting__product") | _differ("service__product", "alert__product")
    of_money = Q(alert__measure=Measure.AMOUNT)
    in_other = _differ("alert__client__currency", "alert__currency")
    in_other |= _differ("service__client__currency", "alert__currency")
    gone = Crossing.objects.filter(ended_at=None).filter(
        Q(alert__is_active=False) | Q(service__status__in=OVER) | is_anothers | is_else | of_money & in_other
    )
    done.ended += gone.update(ended_at=at)


def _differ(one: str, other: str) -> Q:
    """That both are known and not the same."""
    return Q(**{f"{one}__lt": F(other)}) | Q(**{f"{one}__gt": F(other)})
