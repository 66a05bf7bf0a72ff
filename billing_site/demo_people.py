"""What people of the demo did besides: colleagues and their roles, payments, questions, alerts, an invitation, a key.

All of it is made up, and safe to repeat.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal

from django.contrib.auth.models import Group

from audit.actors import working
from billing_site import demo_plans
from billing_site.demo import People
from billing_site.roles import BILLING, PRICING, SUPPORT, VIEWER
from catalog import api_keys, orders
from catalog.models import Client, ClientUser, MetricSetting, Product, Role, Service, User
from catalog.orders import Order
from catalog.terms import Cycle
from invoicing import alerts, inviting, payments, questions
from invoicing.models import Alert, Line, Question, Receivable

#: Of staff and of the demo's client: address, name and role. They sign in with the password of the other two.
STAFF = [
    ("viewer@demo.test", "Noor Aziz", VIEWER),
    ("support@demo.test", "Tomas Reyes", SUPPORT),
    ("billing@demo.test", "Grace Lindholm", BILLING),
    ("pricing@demo.test", "Jonas Weber", PRICING),
]
COLLEAGUES = [
    ("accounts@demo.test", "Mikkel Moe", Role.BILLING),
    ("reader@demo.test", "Ada Holm", Role.READER),
]
ABROAD = ("owner@demo.test", "Mara Brandt", Role.OWNER)
#: Who ordered something that waits to be made active.
ORDERS = "Harbour Analytics"


def live(*, today: date, at: datetime, clients: dict[str, Client], people: People) -> None:
    """Do all of it, once."""
    first, second, *_ = clients.values()
    with working(user=people.staff.pk, name=str(people.staff)):
        for email, name, role in STAFF:
            _user(email, name, people.password, is_staff=True).groups.add(Group.objects.get(name=role))
        for email, name, member in COLLEAGUES:
            _join(first, _user(email, name, people.password), member)
        email, name, member = ABROAD
        abroad = _user(email, name, people.password)
        _join(second, abroad, member)
    if Question.objects.exists():
        return
    with working(user=people.staff.pk, name=str(people.staff)):
        _pay(clients, today=today, at=at, by=people.staff)
        _order(clients[ORDERS], today=today)
    _ask(people, abroad, at)
    with working(user=people.client.pk, name=str(people.client)):
        _watch(first, people, at)
        inviting.invite(client=first, email="new@demo.test", role=Role.READER, by=people.client, at=at)
        api_keys.make(client=first, name="Bookkeeping", by=people.client, at=at)


def _order(client: Client, *, today: date) -> None:
    """What is ordered and not active yet."""
    product = Product.objects.get(name="File storage")
    order = Order(client, product, Cycle.MONTHLY, today + timedelta(days=7), "harbour_archive")
    orders.place(order, today=today, status=Service.Status.PENDING)


def _user(email: str, name: str, password: str, *, is_staff: bool = False) -> User:
    user, _ = User.objects.get_or_create(email=email, defaults={"name": name, "is_staff": is_staff})
    if password:
        user.set_password(password)
        user.save(update_fields=["password"])
    return user


def _join(client: Client, user: User, role: Role) -> None:
    ClientUser.objects.get_or_create(client=client, user=user, defaults={"role": role})


def _pay(clients: dict[str, Client], *, today: date, at: datetime, by: User) -> None:
    """Last month's invoices are paid, but for one client, who paid a part of one."""
    late = clients["Harbour Analytics"]
    before = Receivable.objects.filter(invoice__issued_on__lt=today, left__gt=0).select_related("invoice")
    before = before.exclude(invoice__lines__service__tenant__server__name__in=demo_plans.METRICS)
    for row in before.exclude(invoice__client=late):
        day = min(row.invoice.issued_on + timedelta(days=9), today)
        payments.record(invoice=row.invoice, amount=row.left, received_on=day, method="bank transfer", by=by, at=at)
    if part := before.filter(invoice__client=late, left__gt=10).order_by("invoice__entry").first():
        payments.record(
            invoice=part.invoice, amount=Decimal(10), received_on=today, method="card", reference="A-118", by=by, at=at
        )


def _ask(people: People, abroad: User, at: datetime) -> None:
    """One question was answered, another waits."""
    tables = Line.objects.filter(kind=Line.Kind.USAGE, setting__metric__system_name="tables").order_by(
        "-invoice__entry"
    )
    mine, theirs = (tables.filter(service__name=name).first() for name in ("lindqvist_shop", "brandt_crm"))
    if mine is not None:
        text = "We dropped two tables in the middle of the month. Why are they still counted?"
        thread = questions.ask(line=mine, text=text, by=people.client, at=at - timedelta(hours=5))
        text = "Tables are counted as they are on the day of renewal: these two will be gone from the next invoice."
        questions.answer(question=thread, text=text, by=people.staff, at=at - timedelta(hours=3))
    if theirs is not None:
        text = "Could you send us the list of these 25 tables?"
        questions.ask(line=theirs, text=text, by=abroad, at=at - timedelta(hours=2))


def _watch(client: Client, people: People, at: datetime) -> None:
    """A budget, a bound that is crossed and one that is not; and one of staff, for a product."""
    shop = Service.objects.select_related("product").get(name="lindqvist_shop")
    media = Service.objects.get(name="lindqvist_media")
    tables = MetricSetting.objects.get(product=shop.product, metric__system_name="tables")
    amount = {"measure": Alert.Measure.AMOUNT, "currency": client.currency, "created_at": at}
    own = {"client": client, "created_by": people.client}
    quantity = {"measure": Alert.Measure.QUANTITY, "created_at": at}
    Alert.objects.bulk_create(
        [
            Alert(bound=Decimal(100), is_of_forecast=True, **own, **amount),
            Alert(service=shop, setting=tables, bound=Decimal(10), **own, **quantity),
            Alert(service=media, bound=Decimal(40), **own, **amount),
            Alert(product=shop.product, bound=Decimal(500), created_by=people.staff, **amount),
        ]
    )
    alerts.watch(at=at)
