"""What a small provider must bill, worked out the long way round: days in a loop, fractions, plain dicts.

Written from docs/guide.md and docs/decisions/0004-what-is-billed.md, not from the code, and it uses none of it.
Quantities are in the unit of the prices. The clock has days only: at six in the morning servers are asked,
at seven invoices are made, and whatever a person does comes after that.
"""

from calendar import monthrange
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from math import floor

ONE_DAY = timedelta(days=1)
LEVEL, DAY, MONTH = "level", "day", "month"
#: What may be said of usage that is on no invoice.
NEXT, WAITS, WAS_OFF, IS_OFF = "on the next invoice", "waits", "off while it was used", "off at the end"
UNPRICED, BEFORE, AFTER, NOBODYS = "without a price", "before the service", "after the end", "nobody's"


def months_after(anchor: date, months: int) -> date:
    years, month = divmod(anchor.month - 1 + months, 12)
    year, month = anchor.year + years, month + 1
    return date(year, month, min(anchor.day, monthrange(year, month)[1]))


def end_of(kind: str, start: date) -> date:
    return months_after(start, 1) if kind == MONTH else start + ONE_DAY


def rounded(amount: Fraction) -> Fraction:
    """Half up, to cents."""
    return Fraction(floor(amount * 100 + Fraction(1, 2)), 100)


@dataclass(frozen=True)
class Version:
    """Graduated prices by rising starts, "above" which each applies; what is included is not charged."""

    number: int
    begins: date
    brackets: tuple[tuple[Fraction, Fraction], ...]
    included: Fraction

    def costs(self, quantity: Fraction) -> Fraction:
        starts = [max(start, self.included) for start, _ in self.brackets]
        ends = [*starts[1:], max(quantity, *starts)]
        slices = [max(Fraction(0), min(end, quantity) - start) for start, end in zip(starts, ends, strict=True)]
        return sum((part * price for part, (_, price) in zip(slices, self.brackets, strict=True)), Fraction(0))


@dataclass
class Contract:
    """A service: `clock` is the months between two bills, `cycle` those between two recurring prices."""

    name: str
    tenant: str
    product: str
    client: str
    anchor: date
    cycle: int
    clock: int
    next: int = 0
    suspended: bool = False
    #: Since when it has its product and tenant, if not from the first.
    since: date | None = None
    ended: date | None = None
    #: Of which periods something was known when it ended, and why what was not billed then was not.
    known: dict[tuple[str, date], str] = field(default_factory=dict)
    #: What waits for a later invoice: its end, by metric and start.
    waiting: dict[tuple[str, date], date] = field(default_factory=dict)

    def starts(self, number: int) -> date:
        return months_after(self.anchor, number * self.clock)

    @property
    def due(self) -> date:
        return self.starts(self.next)


@dataclass(frozen=True)
class Bill:
    """A line: `periods` are what it bills, value by first day."""

    service: str
    metric: str
    version: int
    periods: frozenset[tuple[date, Fraction]]
    amount: Fraction


@dataclass(eq=False)
class Charge:
    """What was charged together, and all that was charged or given back for it since."""

    service: Contract
    tenant: str
    product: str
    metric: str
    version: Version
    start: date
    end: date
    amount: Fraction
    #: Whether it is on an invoice: what comes to nothing at the end of a service makes none.
    is_invoiced: bool = True


@dataclass
class Part:
    """What was billed of a period, with the day that it was measured on."""

    value: Fraction
    day: date
    charge: Charge
    is_open: bool = False


@dataclass
class Provider:
    """All that there is: products with metrics and prices, tenants with usage, services, and what was billed."""

    kinds: dict[str, str]
    recurring: dict[tuple[str, int], Fraction]
    versions: dict[tuple[str, str], list[Version]] = field(default_factory=lambda: defaultdict(list))
    #: On or off from a day, by product and metric; ("", "") is the global switch.
    switches: dict[tuple[str, str], dict[date, bool]] = field(default_factory=lambda: defaultdict(dict))
    never_suspended: set[str] = field(default_factory=set)
    usage: dict[tuple[str, str, date], Fraction] = field(default_factory=dict)
    #: The last day on which a server said something about a tenant.
    read: dict[str, date] = field(default_factory=dict)
    services: dict[str, Contract] = field(default_factory=dict)
    #: What staff said that usage was, which no server changes any more.
    corrected: set[tuple[str, str, date]] = field(default_factory=set)
    #: What was billed of each period: of one that was open then, the rest is its next part.
    billed: dict[tuple[str, str, date], list[Part]] = field(default_factory=lambda: defaultdict(list))
    charges: list[Charge] = field(default_factory=list)
    #: The first days of the terms that were billed.
    paid: set[tuple[str, date]] = field(default_factory=set)
    #: Usage that changed after its period, not looked at yet, and the charges that it may concern.
    restated: set[tuple[str, str, date]] = field(default_factory=set)
    doubted: list[Charge] = field(default_factory=list)

    # What was so

    def is_on(self, product: str, metric: str, day: date) -> bool:
        """The newest word before the end of a day decides about it, of the metric and of the global switch."""
        for words in (self.switches["", ""], self.switches[product, metric]):
            since = max((start for start in words if start <= day), default=None)
            if since is None or not words[since]:
                return False
        return True

    def was_on(self, product: str, metric: str, start: date, end: date) -> bool:
        day = start
        while day < end:
            if not self.is_on(product, metric, day):
                return False
            day += ONE_DAY
        return True

    def version(self, product: str, metric: str, day: date) -> Version | None:
        begun = [each for each in self.versions[product, metric] if each.begins <= day]
        return max(begun, key=lambda each: (each.begins, each.number), default=None)

    def rows(self, tenant: str, metric: str) -> list[tuple[date, Fraction]]:
        return sorted((start, value) for (t, m, start), value in self.usage.items() if (t, m) == (tenant, metric))

    def living(self) -> list[Contract]:
        return [service for service in self.services.values() if service.ended is None]

    def tenants_taken(self) -> set[str]:
        return {service.tenant for service in self.living()}

    def can_be_billed(self, service: Contract) -> bool:
        return service.ended is None and not (service.suspended and service.product in self.never_suspended)

    # What is to be done

    def bill(self, on: date, only: str | None = None) -> list[Bill]:
        """Bill every term that has begun, one by one, oldest first."""
        bills = []
        self.look_at_restated()
        while due := [each for each in self.services.values() if self.can_be_billed(each) and each.due <= on]:
            invoices: dict[tuple[str, date], list[Contract]] = defaultdict(list)
            for service in due:
                if only in (None, service.name):
                    invoices[service.client, service.due].append(service)
            if not invoices:
                break
            for together in invoices.values():
                bills.extend(self._invoice(together))
        for service in self.services.values():
            if only is None and service.ended is not None:
                self._settle(service)
        return bills

    def _invoice(self, services: list[Contract]) -> list[Bill]:
        """One invoice for what is due of a client on a day; usage alone that comes to nothing makes none."""
        first, more, bills = len(self.charges), [], []
        for service in services:
            if (service.name, service.due) in self.paid:
                service.next += 1  # it ended on the day of its renewal and came back
                continue
            self.paid.add((service.name, service.due))
            more += self._settle(service)
            bills.extend(self._renew(service))
        if more or any(bill.amount or not bill.metric for bill in bills):
            return bills
        for charge in self.charges[first:]:
            charge.is_invoiced = False
        return []

    def look_at_restated(self) -> None:
        """Of usage that changed later: which charges have it, or would have it in their days?"""
        for tenant, metric, start in self.restated:
            for charge in self.charges:
                last = charge.end if self.kinds[metric] == LEVEL else charge.end - ONE_DAY
                is_its = (charge.tenant, charge.metric) == (tenant, metric) and charge.start <= start <= last
                if is_its and charge not in self.doubted:
                    self.doubted.append(charge)
        self.restated.clear()

    def _settle(self, service: Contract) -> list[Fraction]:
        """Charge again what was doubted of a service, as if it had been known at first.

        Returns what is more on its next invoice, nothing more too; what is given back is not on it.
        """
        more = []
        for charge in [each for each in self.doubted if each.service is service]:
            self.doubted.remove(charge)
            now = self.as_known_now(charge)
            if not self.differs(charge):
                continue
            amount = rounded(charge.version.costs(sum((value for value, _ in now.values()), Fraction(0))))
            if service.ended is not None and amount == charge.amount:
                continue  # no invoice is left that could say so, and none is made for nothing
            if amount >= charge.amount:
                more.append(amount - charge.amount)
            charge.amount = amount
            for key, (value, day) in now.items():
                service.waiting.pop(key[1:], None)
                part = self._part_of(charge, key)
                if part is None:
                    self.billed[key].append(Part(value, day, charge))
                else:
                    part.value, part.day = value, day
        return more

    def _part_of(self, charge: Charge, key: tuple[str, str, date]) -> Part | None:
        return next((part for part in self.billed.get(key, []) if part.charge is charge), None)

    def differs(self, charge: Charge) -> bool:
        """Whether a charge would have been another had all been known."""
        for key, (value, _) in self.as_known_now(charge).items():
            part = self._part_of(charge, key)
            if part is None or part.value != value:
                return True
        return False

    def as_known_now(self, charge: Charge) -> dict[tuple[str, str, date], tuple[Fraction, date]]:
        """What a charge would have billed had all been known: by period, its value and the day of that."""
        keys = [key for key in self.billed if key[:2] == (charge.tenant, charge.metric)]
        own = {key: part for key in keys if (part := self._part_of(charge, key))}
        if self.kinds[charge.metric] == LEVEL:
            [(key, part)] = own.items()
            return {key: self._level_as_known_now(charge, part)}
        now = {key: (self._part_as_known_now(key, part), part.day) for key, part in own.items()}
        for start, value in self.rows(charge.tenant, charge.metric):
            end = end_of(self.kinds[charge.metric], start)
            if self.billed.get((charge.tenant, charge.metric, start)) or not charge.start <= start < end <= charge.end:
                continue
            if self.version(charge.product, charge.metric, start) is not charge.version:
                continue
            if self.was_on(charge.product, charge.metric, start, end):
                now[charge.tenant, charge.metric, start] = value, start
        return now

    def _part_as_known_now(self, key: tuple[str, str, date], part: Part) -> Fraction:
        """A period has what its parts have. The last takes a difference, and what it cannot give back, those before.

        What was used after the end of the last one is somebody else's or nobody's, unless staff say otherwise
        and nobody else has the tenant.
        """
        parts = self.billed[key]
        if parts[-1].is_open and (key not in self.corrected or key[0] in self.tenants_taken()):
            return part.value
        more = self.usage[key] - sum((each.value for each in parts), Fraction(0))
        for each in reversed(parts):
            value = max(each.value + more, Fraction(0))
            if each is part:
                return value
            more -= value - each.value
        raise AssertionError("a part of the period")

    def _level_as_known_now(self, charge: Charge, part: Part) -> tuple[Fraction, date]:
        """The last level of the term. What was read on the day of renewal stays, unless staff corrected it."""
        rows = {
            day: value for day, value in self.rows(charge.tenant, charge.metric) if charge.start <= day <= charge.end
        }
        if (charge.tenant, charge.metric, charge.end) not in self.corrected:
            if part.day == charge.end:
                return part.value, part.day
            rows.pop(charge.end, None)
        return (rows[max(rows)], max(rows)) if rows else (part.value, part.day)

    def _renew(self, service: Contract) -> list[Bill]:
        due, bills = service.due, []
        if service.next * service.clock % service.cycle == 0:
            price = self.recurring[service.product, service.cycle]
            bills.append(Bill(service.name, "", 0, frozenset(), rounded(price)))
        for metric in self._metrics_of(service):
            if not self.is_on(service.product, metric, due - ONE_DAY):
                continue
            if self.kinds[metric] == LEVEL:
                closing = self._closing(service, service.next - 1, due) if service.next else None
                bills.extend(self._levels(service, metric, closing))
            else:
                bills.extend(self._totals(service, metric, due))
        service.next += 1
        return bills

    @staticmethod
    def _closing(service: Contract, number: int, end: date) -> tuple[date, date] | None:
        """The part of a term in which a service had its product and tenant, up to a day."""
        start = max(service.starts(number), service.since or date.min)
        return (start, end) if start < end else None

    def _metrics_of(self, service: Contract) -> list[str]:
        return [metric for metric in self.kinds if self.versions[service.product, metric]]

    def _line(self, service: Contract, metric: str, version: Version, items: dict[date, Fraction], end: date, **part):
        """Bill periods together. `end` is that of the last one, `part` says more about what was billed."""
        amount = rounded(version.costs(sum(items.values(), Fraction(0))))
        charge = Charge(service, service.tenant, service.product, metric, version, min(items), end, amount)
        self.charges.append(charge)
        for start, value in items.items():
            service.waiting.pop((metric, start), None)
            self.billed[service.tenant, metric, start].append(Part(value, part.get("day", start), charge))
        return Bill(service.name, metric, version.number, frozenset(items.items()), amount)

    def _counts_from(self, service: Contract, metric: str) -> date:
        """The month in which a service starts counts whole; of days, those since it started."""
        begins = service.since or service.anchor
        return begins.replace(day=1) if self.kinds[metric] == MONTH else begins

    def _rest(self, tenant: str, metric: str, start: date, value: Fraction) -> Fraction | None:
        """What is not billed of a period: all of it, what came after it was billed while open, or nothing."""
        parts = self.billed.get((tenant, metric, start))
        if not parts:
            return value
        rest = value - sum((part.value for part in parts), Fraction(0))
        return rest if parts[-1].is_open and rest > 0 else None

    def _totals(self, service: Contract, metric: str, due: date):
        kind, chosen = self.kinds[metric], defaultdict(dict)
        for start, value in self.rows(service.tenant, metric):
            end, began = end_of(kind, start), max(start, service.since or start)
            version, rest = (
                self.version(service.product, metric, began),
                self._rest(service.tenant, metric, start, value),
            )
            if end > due or start < self._counts_from(service, metric) or version is None:
                continue
            if rest is None or not self.was_on(service.product, metric, began, end):
                continue
            was_read = self.read.get(service.tenant, date.min) >= end
            if not was_read and (metric, start) not in service.waiting:
                service.waiting[metric, start] = end
                continue
            chosen[version][start] = rest
        for version, items in chosen.items():
            yield self._line(service, metric, version, items, end_of(kind, max(items)))

    def _levels(self, service: Contract, metric: str, closing: tuple[date, date] | None):
        waited = [(start, end) for (m, start), end in sorted(service.waiting.items()) if m == metric]
        for start, end in [*waited, *([closing] if closing else [])]:
            version = self.version(service.product, metric, start)
            if version is None or not self.was_on(service.product, metric, start, end):
                continue
            measured = [row for row in self.rows(service.tenant, metric) if start <= row[0] <= end]
            has_waited = (metric, start) in service.waiting
            if measured and (has_waited or measured[-1][0] >= end - 2 * ONE_DAY):
                day, value = measured[-1]
                yield self._line(service, metric, version, {start: value}, end, day=day)
            else:
                service.waiting[metric, start] = end

    def terminate(self, service: Contract, on: date) -> list[Bill]:
        """Bill the terms before the last day, and then all that was used up to it and with it."""
        bills = self.bill(on - ONE_DAY, only=service.name) if service.due < on else []
        bills += self._close(service, on)
        service.ended = on
        for tenant, metric, start in self.usage:
            if tenant == service.tenant and start <= on:
                service.known[metric, start] = self._why_not_by_its_end(service, metric, start)
        return bills

    def change(self, service: Contract, on: date, *, product: str, tenant: str) -> list[Bill]:
        """Bill what was used up to now as before, and go on with another product or tenant."""
        bills = self.bill(on - ONE_DAY, only=service.name) if service.due < on else []
        bills += self._close(service, on)
        service.product, service.tenant, service.since = product, tenant, on
        return bills

    def reactivate(self, service: Contract, on: date) -> None:
        service.anchor, service.next, service.ended, service.since = on, 0, None, None
        service.known.clear()

    def _close(self, service: Contract, on: date) -> list[Bill]:
        more, first, last = self._settle(service), len(self.charges), []
        for metric in self._metrics_of(service):
            if not self.is_on(service.product, metric, on):
                continue
            if self.kinds[metric] == LEVEL:
                last.extend(self._last_levels(service, metric, self._closing(service, max(service.next - 1, 0), on)))
            else:
                last.extend(self._last_totals(service, metric, on))
        service.waiting.clear()
        if any(more) or any(bill.amount for bill in last):
            return last
        for charge in self.charges[first:]:
            charge.is_invoiced = False
        return []

    def _why_not_by_its_end(self, service: Contract, metric: str, start: date) -> str:
        if self.version(service.product, metric, start) is None:
            return UNPRICED
        if not self.is_on(service.product, metric, service.ended):
            return IS_OFF
        end = min(end_of(self.kinds[metric], start), service.ended + ONE_DAY)
        return "" if self.was_on(service.product, metric, start, end) else WAS_OFF

    def _last_levels(self, service: Contract, metric: str, closing: tuple[date, date] | None):
        waited = [(start, end) for (m, start), end in sorted(service.waiting.items()) if m == metric]
        for start, end in [*waited, *([closing] if closing else [])]:
            version = self.version(service.product, metric, start)
            measured = [row for row in self.rows(service.tenant, metric) if start <= row[0] <= end]
            if version is None or not measured or not self.was_on(service.product, metric, start, end):
                continue
            day, value = measured[-1]
            yield self._line(service, metric, version, {start: value}, end, day=day)

    def _last_totals(self, service: Contract, metric: str, on: date):
        kind, chosen = self.kinds[metric], defaultdict(dict)
        for start, value in self.rows(service.tenant, metric):
            end, began = min(end_of(kind, start), on + ONE_DAY), max(start, service.since or start)
            version, rest = (
                self.version(service.product, metric, began),
                self._rest(service.tenant, metric, start, value),
            )
            if start > on or start < self._counts_from(service, metric) or version is None:
                continue
            if rest is None or not self.was_on(service.product, metric, began, end):
                continue
            chosen[version][start] = rest
        for version, items in chosen.items():
            yield self._line(service, metric, version, items, end_of(kind, max(items)))
            for start in items:
                # What is used of an open period from now on is nobody's, or its next part.
                part = self.billed[service.tenant, metric, start][-1]
                part.is_open = end_of(kind, start) > on

    # What became of it

    def why_not(self, tenant: str, metric: str, start: date) -> str:
        """Why usage of a day or month is on no invoice; empty when nothing says so: then it was lost."""
        having = [each for each in self.services.values() if each.tenant == tenant and metric in self._metrics_of(each)]
        having = [each for each in having if each.ended is None or start <= each.ended]
        if not having:
            return NOBODYS
        having = [each for each in having if start >= self._counts_from(each, metric)]
        if not having:
            return BEFORE
        one = having[-1]
        if (metric, start) in one.waiting:
            return WAITS
        if one.ended is not None:
            return one.known.get((metric, start), AFTER)
        if self.version(one.product, metric, start) is None:
            return UNPRICED
        return NEXT if self.was_on(one.product, metric, start, end_of(self.kinds[metric], start)) else WAS_OFF
