"""A small provider that lives for some months: what hypothesis does with it, and what must hold all the time."""

import os
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction

from django.db import connection, transaction
from django.db.models import QuerySet
from django.test import override_settings
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from catalog import metric_billing
from catalog.models import Client, Service, TaxRate
from catalog.terms import Cycle
from invoicing import usage_invoicing
from invoicing.billing import create_invoices
from invoicing.changing import change, reactivate
from invoicing.models import BilledPeriod, Claim, Deferral, Difference, Invoice, InvoicingSpan, Line, Parked
from invoicing.termination import terminate
from invoicing.verification import verify
from metering import partitions
from metering.correcting import correct
from metering.models import Metric, Restated, Server, Tenant
from metering.providers.base import ProviderError
from tests.builders import (
    EMAILS,
    GB,
    MAILBOXES,
    TRAFFIC,
    a_client,
    a_product,
    a_server,
    a_setting,
    a_tenant,
    panel,
    priced,
    says,
    tenant_says,
)
from tests.invoicing import oracle
from tests.invoicing.oracle import DAY, LEVEL, MONTH, NEXT, ONE_DAY, WAITS, Bill, Contract, Provider, Version

RUNS = int(os.environ.get("CONSERVATION_RUNS", "304"))
STEPS = int(os.environ.get("CONSERVATION_STEPS", "50"))
SEED = int(os.environ.get("CONSERVATION_SEED", "20261121"))
#: The runs are divided into this many tests.
PARTS = 8

BEGIN = date(2026, 1, 1)
KINDS = {"emails": DAY, "mailboxes": LEVEL, "traffic": MONTH}
DECLARED = {"emails": EMAILS, "mailboxes": MAILBOXES, "traffic": TRAFFIC}
UNITS = {"emails": Decimal(1), "mailboxes": Decimal(1), "traffic": GB}
PRODUCTS = {"Business": "24.35", "Basic": "9.99"}
TENANTS = ("alice", "bob", "carol")
CLIENTS = ("Lindqvist & Moe", "Kaffehaus")
CYCLES = {1: Cycle.MONTHLY, 3: Cycle.QUARTERLY}

AMOUNTS = st.integers(0, 40)
PRICES = st.integers(0, 999)


def instant(day: date, hour: int) -> datetime:
    return datetime.combine(day, time(hour), UTC)


class World:
    """What is there before each example: committed to nothing, and rolled back to by each."""

    def __init__(self) -> None:
        InvoicingSpan.objects.get_or_create(start=date(2000, 1, 1))
        days = [oracle.months_after(BEGIN.replace(year=BEGIN.year - 1), month) for month in range(96)]
        partitions.ensure(days)
        self.server = a_server()
        Server.objects.update(is_active=False)
        self.tenants = {key: a_tenant(self.server, key) for key in TENANTS}
        Tenant.objects.update(first_seen_at=instant(BEGIN, 0))
        self.clients = {name: a_client(name) for name in CLIENTS}
        self.products = {name: a_product(name, price=price) for name, price in PRODUCTS.items()}
        self.settings = {}
        for product in self.products.values():
            for name, declared in DECLARED.items():
                setting = self.settings[product.name, name] = a_setting(product, declared)
                priced(setting, ("0", "0.5"), ("10", "0.25"), notation="above", included="2")
        self.metrics = {metric.system_name: metric for metric in Metric.objects.all()}

    def model(self) -> Provider:
        provider = Provider(
            kinds=KINDS,
            recurring={(name, cycle): Fraction(price) for name, price in PRODUCTS.items() for cycle in CYCLES},
        )
        provider.switches["", ""][date(2000, 1, 1)] = True
        first = ((Fraction(0), Fraction(1, 2)), (Fraction(10), Fraction(1, 4)))
        for product in PRODUCTS:
            for metric in KINDS:
                provider.switches[product, metric][date(2020, 1, 1)] = True
                provider.versions[product, metric].append(Version(1, date(2020, 1, 1), first, Fraction(2)))
        return provider


class SmallProvider(RuleBasedStateMachine):
    """Every rule does something to the site and the same to the model. What runs bill must be the same."""

    world: World
    examples = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).examples += 1
        self.example = transaction.atomic()
        self.example.__enter__()
        # Durable transactions must not be inside of others, save in tests.
        connection.atomic_blocks[-1]._from_testcase = True
        self.model = self.world.model()
        self.today = BEGIN
        self.started = self.moments = 0
        self.ids: dict[str, int] = {}
        self._start("alice", "Business", CLIENTS[0], 1, 1, BEGIN)
        self._start("bob", "Basic", CLIENTS[0], 1, 1, BEGIN)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.settle()
        finally:
            transaction.set_rollback(True)
            self.example.__exit__(None, None, None)

    # What happens

    @rule(
        days=st.integers(1, 31),
        every=st.sampled_from([1, 1, 2, 5]),
        amount=AMOUNTS,
        silent=st.sampled_from([None, None, *TENANTS]),
        billed=st.booleans(),
    )
    def days_pass_and_servers_are_asked(self, days, every, amount, silent, billed) -> None:
        rows = []
        for number in range(days):
            self.today += ONE_DAY
            if number % every == 0 or number == days - 1:
                rows += self._answers(self.today, amount + number, silent)
        self._measured(rows)
        if billed:
            self._bill()

    @rule(days=st.integers(1, 75))
    def the_clock_jumps(self, days) -> None:
        self.today += timedelta(days=days)

    @rule(amount=AMOUNTS, silent=st.sampled_from([None, None, *TENANTS]))
    def servers_are_asked(self, amount, silent) -> None:
        self._measured(self._answers(self.today, amount, silent))

    @rule(
        tenant=st.sampled_from(TENANTS),
        metric=st.sampled_from(list(KINDS)),
        back=st.integers(1, 70),
        amount=AMOUNTS,
        is_said_by_staff=st.booleans(),
    )
    def usage_is_restated(self, tenant, metric, back, amount, is_said_by_staff) -> None:
        """Of a day or month that is over, by its server or by staff."""
        key = tenant, metric, self._period(metric, self.today - back * ONE_DAY)
        value = Fraction(amount, 4 if metric == "traffic" else 1)
        is_over = oracle.end_of(KINDS[metric], key[2]) <= self.today
        if not is_over or self.model.usage.get(key) == value:
            return
        if is_said_by_staff:
            base = Decimal(value.numerator) / value.denominator * UNITS[metric]
            correct(
                tenant=self.world.tenants[tenant],
                metric=self.world.metrics[metric],
                start=key[2],
                value=base,
                reason="It was otherwise.",
                by=None,
                at=self._now(),
            )
            self.model.corrected.add(key)
            self._note([(*key, value)])
        elif key in self.model.corrected:
            return
        else:
            self._write([(*key, value)])
            Restated.objects.get_or_create(
                tenant_id=self.world.tenants[tenant].pk,
                metric_id=self.world.metrics[metric].pk,
                start=key[2],
                defaults={"noted_at": self._now()},
            )
        self.model.restated.add(key)

    @rule(
        tenant=st.sampled_from(TENANTS),
        product=st.sampled_from(list(PRODUCTS)),
        client=st.sampled_from(CLIENTS),
        cycle=st.sampled_from([(1, 1), (3, 3), (3, 1)]),
        ahead=st.integers(0, 9),
    )
    def a_service_starts(self, tenant, product, client, cycle, ahead) -> None:
        anchor = self.today + ahead * ONE_DAY
        if tenant in self.model.tenants_taken():
            return
        self._start(tenant, product, client, *cycle, anchor)

    @rule(client=st.sampled_from(CLIENTS), percent=st.sampled_from([None, "0", "8.1", "19"]))
    def a_client_is_taxed_otherwise(self, client, percent) -> None:
        rate = percent and TaxRate.objects.get_or_create(name="VAT", percent=Decimal(percent))[0]
        Client.objects.filter(pk=self.world.clients[client].pk).update(tax_rate=rate)

    @precondition(lambda self: self.model.living())
    @rule(which=st.integers(0, 2), answers=st.booleans(), amount=AMOUNTS)
    def a_service_is_terminated(self, which, answers, amount) -> None:
        service = self._living(which)
        if service.anchor > self.today:
            return
        said = self._said_of(service, amount) if answers else []
        expected = self.model.terminate(service, self.today)
        before = self._line_ids()
        with panel(self._says(said) if said else self._silence):
            terminate(service=self._service(service), on=self.today, at=instant(self.today, 8))
        self._compare(expected, self._lines_since(before))

    @precondition(lambda self: self.model.living())
    @rule(
        which=st.integers(0, 2),
        answers=st.booleans(),
        amount=AMOUNTS,
        product=st.sampled_from(list(PRODUCTS)),
        tenant=st.sampled_from([None, None, *TENANTS]),
    )
    def a_service_changes(self, which, answers, amount, product, tenant) -> None:
        service = self._living(which)
        tenant = tenant or service.tenant
        is_free = tenant == service.tenant or tenant not in self.model.tenants_taken()
        if not is_free or (product, tenant) == (service.product, service.tenant):
            return
        if service.anchor > self.today or service.since == self.today:
            return
        said = self._said_of(service, amount) if answers else []
        expected = self.model.change(service, self.today, product=product, tenant=tenant)
        before = self._line_ids()
        with panel(self._says(said) if said else self._silence):
            change(
                service=self._service(service),
                at=instant(self.today, 8),
                product=self.world.products[product],
                tenant=self.world.tenants[tenant],
            )
        self._compare(expected, self._lines_since(before))

    @rule(which=st.integers(0, 5))
    def a_service_comes_back(self, which) -> None:
        over = [each for each in self.model.services.values() if each.ended is not None]
        over = [each for each in over if each.anchor < self.today and each.tenant not in self.model.tenants_taken()]
        if over:
            service = over[which % len(over)]
            reactivate(service=self._service(service), at=instant(self.today, 9))
            self.model.reactivate(service, self.today)

    @precondition(lambda self: self.model.living())
    @rule(which=st.integers(0, 2))
    def a_service_is_suspended_or_resumed(self, which) -> None:
        service = self._living(which)
        service.suspended = not service.suspended
        status = Service.Status.SUSPENDED if service.suspended else Service.Status.ACTIVE
        Service.objects.filter(pk=self.ids[service.name]).update(status=status)

    @rule(
        product=st.sampled_from(list(PRODUCTS)),
        metric=st.sampled_from(list(KINDS)),
        ahead=st.integers(-20, 40),
        prices=st.tuples(PRICES, PRICES),
        second=st.integers(1, 30),
        included=st.integers(0, 8),
    )
    def prices_change(self, product, metric, ahead, prices, second, included) -> None:
        begins = self.today + ahead * ONE_DAY
        starts = (0, included + second)
        brackets = tuple((Fraction(start), Fraction(price, 1000)) for start, price in zip(starts, prices, strict=True))
        versions = self.model.versions[product, metric]
        versions.append(Version(len(versions) + 1, begins, brackets, Fraction(included)))
        texts = [(str(start), str(Decimal(price) / 1000)) for start, price in zip(starts, prices, strict=True)]
        values = {"notation": "above", "included": str(included), "effective_from": str(begins)}
        priced(self.world.settings[product, metric], *texts, **values)

    @rule(product=st.sampled_from(list(PRODUCTS)), metric=st.sampled_from(list(KINDS)))
    def a_metric_is_switched(self, product, metric) -> None:
        on = not self._is_switched_on(product, metric)
        metric_billing.switch(setting=self.world.settings[product, metric], on=on, day=self.today)
        self.model.switches[product, metric][self.today] = on

    @rule()
    def usage_invoicing_is_switched(self) -> None:
        on = not self._is_switched_on("", "")
        usage_invoicing.switch(on=on, day=self.today)
        self.model.switches["", ""][self.today] = on

    @rule(only=st.sampled_from([None, None, 0, 1, 2]), preview=st.booleans(), twice=st.booleans())
    def invoices_are_made(self, only, preview, twice) -> None:
        if only is not None and not self.model.living():
            return
        self._bill(preview=preview, only=None if only is None else self._living(only).name)
        if twice:
            self._bill_again(only)

    # How it is done

    def _start(self, tenant: str, product: str, client: str, cycle: int, clock: int, anchor: date) -> None:
        self.started += 1
        name = f"service {self.started}"
        service = Service.objects.create(
            product=self.world.products[product],
            client=self.world.clients[client],
            tenant=self.world.tenants[tenant],
            name=name,
            cycle=CYCLES[cycle],
            bills_monthly=clock < cycle,
            anchor=anchor,
            next_due_on=anchor,
            status=Service.Status.ACTIVE,
        )
        self.ids[name] = service.pk
        self.model.services[name] = Contract(name, tenant, product, client, anchor, cycle, clock)

    def _living(self, which: int) -> Contract:
        living = self.model.living()
        return living[which % len(living)]

    def _service(self, service: Contract) -> Service:
        return Service.objects.select_related("client", "product", "tenant__server").get(pk=self.ids[service.name])

    def _is_switched_on(self, product: str, metric: str) -> bool:
        words = self.model.switches[product, metric]
        return words[max(words)]

    @staticmethod
    def _period(metric: str, day: date) -> date:
        return day.replace(day=1) if KINDS[metric] == MONTH else day

    def _came_to_nothing(self, tenant: str, metric: str, start: date) -> bool:
        """Whether a last invoice with this would have come to nothing, and so was not made."""
        return any(
            (charge.tenant, charge.metric) == (tenant, metric) and charge.start <= start <= charge.end
            for charge in self.model.charges
            if not charge.is_invoiced
        )

    def _now(self) -> datetime:
        """A moment of today that was not before."""
        self.moments += 1
        return instant(self.today, 12) + timedelta(seconds=self.moments)

    def _answers(self, day: date, amount: int, silent: str | None, only: str | None = None) -> list:
        """What the servers say on a day; totals of a month go on from what they were."""
        rows = []
        for number, tenant in enumerate(TENANTS):
            if tenant == silent or only not in (None, tenant):
                continue
            month = day.replace(day=1)
            so_far = self.model.usage.get((tenant, "traffic", month), Fraction(0))
            rows += [
                (tenant, "emails", day, Fraction((amount * 3 + number * 5) % 23)),
                (tenant, "mailboxes", day, Fraction((amount + number * 7) % 31)),
                (tenant, "traffic", month, so_far + Fraction(amount + number, 4)),
            ]
            self._note(rows[-3:])
        return rows

    def _said_of(self, service: Contract, amount: int) -> list:
        """What the server says of one tenant, asked for it alone."""
        rows = self._answers(self.today, amount, None, only=service.tenant)
        self.model.read[service.tenant] = self.today
        return rows

    def _note(self, rows: list) -> None:
        for tenant, metric, start, value in rows:
            self.model.usage[tenant, metric, start] = value

    def _measured(self, rows: list) -> None:
        """The servers were asked in the morning of today, and on the days before."""
        self._write(rows)
        said = {tenant for tenant, *_ in rows}
        at = instant(self.today, 6)
        for tenant in said:
            self.model.read[tenant] = self.today
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE metering_latest l SET seen_until = coalesce(s.collected_at, l.read_at) FROM metering_server s"
                " WHERE seen_until IS NULL AND tenant_id <> ALL(%s)",
                [[self.world.tenants[tenant].pk for tenant in said]],
            )
            newest = {(tenant, metric): (start, value) for tenant, metric, start, value in rows}
            cursor.execute(
                "INSERT INTO metering_latest (tenant_id, metric_id, start, value, read_at, collection_id)"
                " SELECT *, %s, 0 FROM unnest(%s::int[], %s::int[], %s::date[], %s::numeric[])"
                " ON CONFLICT (tenant_id, metric_id) DO UPDATE SET start = excluded.start, value = excluded.value,"
                " read_at = excluded.read_at, seen_until = NULL",
                [at, *self._columns([(*key, *rest) for key, rest in newest.items()])],
            )
            cursor.execute("UPDATE metering_server SET collected_at = %s", [at])

    def _columns(self, rows: list) -> list[list]:
        columns = [
            (
                self.world.tenants[tenant].pk,
                self.world.metrics[metric].pk,
                start,
                Decimal(value.numerator) / Decimal(value.denominator) * UNITS[metric],
            )
            for tenant, metric, start, value in rows
        ]
        return [list(column) for column in zip(*columns, strict=True)] or [[], [], [], []]

    def _write(self, rows: list) -> None:
        """Let usage be this, as collections write it."""
        self._note(rows)
        rows = list({row[:3]: row for row in rows}.values())
        ends = [oracle.end_of(KINDS[metric], start) for _, metric, start, _ in rows]
        with connection.cursor() as cursor:
            cursor.execute(
                'INSERT INTO metering_usage (tenant_id, metric_id, start, value, "end")'
                " SELECT * FROM unnest(%s::int[], %s::int[], %s::date[], %s::numeric[], %s::date[])"
                " ON CONFLICT (tenant_id, metric_id, start) DO UPDATE SET value = excluded.value",
                [*self._columns(rows), ends],
            )

    @staticmethod
    def _silence(connection, period=None):
        raise ProviderError("No answer.")
        yield

    def _says(self, rows: list):
        values = {metric: value * int(UNITS[metric]) for _, metric, _, value in rows}
        values = {metric: Decimal(value.numerator) / value.denominator for metric, value in values.items()}
        return says(tenant_says(rows[0][0], **values))

    # What must hold

    def _bill(self, *, preview: bool = False, only: str | None = None) -> None:
        service = Service.objects.get(pk=self.ids[only]) if only else None
        promised = None
        with panel(self._silence):
            if preview:
                before = self._state()
                promised = create_invoices(on=self.today, at=instant(self.today, 7), service=service, dry_run=True)
                assert self._state() == before, "a dry run changed something"
            result = create_invoices(on=self.today, at=instant(self.today, 7), service=service)
        issued = Invoice.objects.filter(run=result.run)
        if promised is not None:
            shown = [(each.client.pk, each.kind, each.net) for each in promised.documents]
            made = [(each.client_id, each.kind, each.net) for each in issued]
            assert sorted(shown) == sorted(made), "the preview said otherwise"
            shown = sorted(
                (line.service.pk, line.kind, line.title, line.detail, line.start, line.end, line.exact, line.amount)
                for document in promised.documents
                for draft in document.drafts
                for line in draft.lines
            )
            columns = ("service", "kind", "title", "detail", "start", "end", "exact", "amount")
            lines = Line.objects.filter(invoice__run=result.run).values_list(*columns)
            assert shown == sorted(lines), "the preview said otherwise"
        assert not result.parked
        self._check_taxes(issued)
        expected = self.model.bill(self.today, only)
        self._compare(expected, Line.objects.filter(invoice__run=result.run))

    def _check_taxes(self, issued: QuerySet[Invoice]) -> None:
        """Invoices are taxed as their clients are now, credit notes as what they credit."""
        for one in issued.select_related("client__tax_rate", "credits"):
            rate = one.client.tax_rate
            percent = one.credits.tax_percent if one.credits else rate and rate.percent
            assert one.tax_percent == percent
            if percent is None or one.credits is None:
                exact = Fraction(one.net) * Fraction(percent or 0)
                assert one.tax == Decimal(int(exact + Fraction(1, 2))) / 100, "the tax is not its share, half up"

    def _bill_again(self, only: int | None) -> None:
        before = self._state()
        service = None if only is None else self._service(self._living(only))
        with panel(self._silence):
            again = create_invoices(on=self.today, at=instant(self.today, 9), service=service)
        assert (again.run.services, again.run.invoices, again.parked, again.waiting) == (0, 0, {}, [])
        assert self._state() == before, "a second run changed something"

    def _compare(self, expected: list[Bill], lines) -> None:
        """What was billed must be what the model bills."""
        names = {pk: name for name, pk in self.ids.items()}
        metrics = {metric.pk: name for name, metric in self.world.metrics.items()}
        found = []
        for line in (
            lines.filter(kind__in=["recurring", "usage"])
            .select_related("setting", "version")
            .prefetch_related("periods")
        ):
            metric = metrics[line.setting.metric_id] if line.setting else ""
            periods = frozenset(
                (period.start, Fraction(period.value) / Fraction(UNITS[metric]))
                for period in line.periods.all()
                if not period.revision
            )
            version = line.version.number if line.version else 0
            found.append(Bill(names[line.service_id], metric, version, periods, Fraction(line.amount)))
        found, expected = sorted(found, key=repr), sorted(expected, key=repr)
        assert found == expected, ([x for x in found if x not in expected], [x for x in expected if x not in found])
        self._conserved()

    def _conserved(self) -> None:
        """All usage is on one invoice at its value, or there is a reason why it is not; and what waits is listed."""
        tenants = {tenant.pk: key for key, tenant in self.world.tenants.items()}
        metrics = {metric.pk: name for name, metric in self.world.metrics.items()}
        names = {pk: name for name, pk in self.ids.items()}
        billed = {}
        rows = BilledPeriod.objects.order_by("revision")
        for tenant_id, metric_id, start, part, value, day in rows.values_list(
            "tenant_id", "metric_id", "start", "part", "value", "measured_on"
        ):
            key = tenants[tenant_id], metrics[metric_id], start, part
            billed[key] = Fraction(value) / Fraction(UNITS[key[1]]), day
        expected = {
            (*key, number): (part.value, part.day)
            for key, parts in self.model.billed.items()
            for number, part in enumerate(parts)
        }
        assert billed == expected, [
            (key, billed.get(key), expected.get(key))
            for key in billed.keys() | expected.keys()
            if billed.get(key) != expected.get(key)
        ]
        self._charged(names, metrics)
        waiting = {
            (names[service], metrics[metric], start)
            for service, metric, start in Deferral.objects.values_list("service", "setting__metric", "start")
        }
        assert waiting == {
            (service.name, metric, start)
            for service in self.model.services.values()
            for metric, start in service.waiting
        }
        for tenant, metric, start in self.model.usage:
            if KINDS[metric] == LEVEL or self.model.billed.get((tenant, metric, start)):
                continue
            assert self.model.why_not(tenant, metric, start), f"{metric} of {tenant} from {start} was lost"

    def _charged(self, names: dict, metrics: dict) -> None:
        """What a line charged and what was charged and given back for it later is what its usage costs."""
        charged: dict = {}
        columns = ("pk", "corrects", "kind", "service", "setting__metric", "start", "amount")
        for pk, corrects, kind, service, metric, start, amount in Line.objects.exclude(setting=None).values_list(
            *columns
        ):
            root = corrects or pk
            known = charged.setdefault(root, [names[service], metrics[metric], start, Fraction(0)])
            known[2] = start if pk == root else known[2]
            known[3] += -Fraction(amount) if kind == "credit" else Fraction(amount)
        expected = sorted(
            [each.service.name, each.metric, each.start, each.amount] for each in self.model.charges if each.is_invoiced
        )
        found = sorted(charged.values())
        assert found == expected, [(a, b) for a, b in zip(found, expected, strict=False) if a != b]
        listed = {
            (names[service], metrics[metric])
            for service, metric in Difference.objects.values_list("service", "setting__metric")
        }
        for charge in self.model.doubted:
            if self.model.differs(charge):
                assert (charge.service.name, charge.metric) in listed, f"{charge} differs and does not wait"

    def settle(self) -> None:
        """In the end everything is switched on and measured, and two terms later nothing waits or is left."""
        for (product, metric), words in self.model.switches.items():
            if not words[max(words)]:
                if metric:
                    metric_billing.switch(setting=self.world.settings[product, metric], on=True, day=self.today)
                else:
                    usage_invoicing.switch(on=True, day=self.today)
                words[self.today] = True
        self.today += ONE_DAY
        for _ in range(2):
            self.today = max([self.today, *(service.starts(service.next) for service in self.model.living())])
            self._measured(self._answers(self.today, 1, None))
            self._bill()
        for tenant, metric, start in self.model.usage:
            if KINDS[metric] == LEVEL or self.model.billed.get((tenant, metric, start)):
                continue
            why = self.model.why_not(tenant, metric, start)
            [service] = [each for each in self.model.living() if each.tenant == tenant] or [None]
            if (
                why in (NEXT, WAITS)
                and service
                and oracle.end_of(KINDS[metric], start) <= service.starts(service.next - 1)
            ):
                raise AssertionError(f"{metric} of {tenant} from {start} is still left: {why}")
        found = [str(finding) for finding in verify()]
        assert not found, found
        numbers = Invoice.objects.order_by("series", "number").values_list("series", "number")
        counts: dict[str, int] = {}
        for series, number in numbers:
            counts[series] = counts.get(series, 0) + 1
            assert number == f"{series}-{counts[series]:05}"

    def _state(self) -> tuple:
        return (
            Invoice.objects.count(),
            Line.objects.count(),
            Claim.objects.count(),
            BilledPeriod.objects.count(),
            Parked.objects.count(),
            sorted(Deferral.objects.values_list("service", "setting", "start")),
            sorted(Service.objects.values_list("pk", "next_term", "next_due_on")),
        )

    def _line_ids(self) -> set:
        return set(Line.objects.values_list("pk", flat=True))

    def _lines_since(self, before: set):
        return Line.objects.exclude(pk__in=before)


def conserves(part: int) -> None:
    """Let a part of the runs happen, each part with other chances."""
    machine = type("SmallProvider", (SmallProvider,), {"world": World(), "examples": 0})
    runs = -(-RUNS // PARTS)
    options = settings(
        max_examples=runs,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    # However long the clock stood still: that a service then waits for approval is tried elsewhere.
    with override_settings(CATCH_UP_TERMS=10**6):
        run_state_machine_as_test(seed(SEED + part)(machine), settings=options)
    assert machine.examples >= runs
