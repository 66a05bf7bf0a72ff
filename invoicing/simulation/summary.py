"""What a draft would change: the lines of a simulation added up by client, month and currency."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property

from django.utils.translation import gettext as _

from catalog.pricing import ZERO
from catalog.typed import home_first
from catalog.wording import percent
from invoicing.simulation.rating import Line
from metering.decimals import EXACT, round_half_up
from metering.language import in_digits

#: How many clients are listed, those that change most.
SHOWN = 10
#: Percent of change that separate the groups of the distribution, each way.
BOUNDS = (5, 10, 20, 50)
#: Height of a bar of the chart with the room around it, in pixels.
ROW = 26


@dataclass
class Change:
    """Money before and after, in one currency."""

    before: Decimal = ZERO
    after: Decimal = ZERO

    def add(self, before: Decimal, after: Decimal) -> None:
        self.before += before
        self.after += after

    @property
    def difference(self) -> Decimal:
        return self.after - self.before

    @property
    def share(self) -> Decimal | None:
        """The difference in percent of what was before; None of nothing."""
        return EXACT.divide(self.difference * 100, self.before) if self.before else None

    @property
    def share_words(self) -> str:
        """`+4.8 %`, `−50 %`; nothing when there was nothing before."""
        if self.share is None or not self.difference:
            return "" if self.difference else _("no change")
        rounded = round_half_up(abs(self.share), 1)
        words = percent(rounded)
        if not rounded:
            words = _("less than %(percent)s") % {"percent": percent(Decimal("0.1"))}
        return f"+{words}" if self.difference > 0 else f"\N{MINUS SIGN}{words}"


@dataclass
class ClientChange(Change):
    """What a client paid and would pay. What the draft cannot price is in neither, but in `unpriced`."""

    name: str = ""
    services: set[int] = field(default_factory=set)
    unpriced_terms: int = 0
    unpriced: Decimal = ZERO


@dataclass(frozen=True)
class Group:
    """The clients whose change lies between two shares, with what it comes to together.

    `bar` is in percent of the longest, `top` in pixels of the chart.
    """

    words: str
    clients: int
    difference: Decimal
    bar: Decimal
    top: int


@dataclass(frozen=True)
class Outcome:
    """What the draft changes in one currency. `month` of a sum is the first day of it."""

    currency: str
    total: Change
    clients: list[ClientChange]
    months: list[tuple[date, Change]]

    @cached_property
    def unpriced(self) -> list[ClientChange]:
        """The clients that the draft cannot price, at least in one term."""
        return [client for client in self.clients if client.unpriced_terms]

    @cached_property
    def unpriced_amount(self) -> Decimal:
        """What they paid in the terms that it cannot price."""
        return sum((client.unpriced for client in self.unpriced), ZERO)

    @cached_property
    def priced(self) -> list[ClientChange]:
        return [client for client in self.clients if not client.unpriced_terms]

    @cached_property
    def more(self) -> list[ClientChange]:
        return [client for client in self.priced if client.difference > 0]

    @cached_property
    def less(self) -> list[ClientChange]:
        return [client for client in self.priced if client.difference < 0]

    @cached_property
    def same(self) -> int:
        return len(self.priced) - len(self.more) - len(self.less)

    @cached_property
    def gain(self) -> Decimal:
        return sum((client.difference for client in self.more), ZERO)

    @cached_property
    def loss(self) -> Decimal:
        return sum((client.difference for client in self.less), ZERO)

    @cached_property
    def services(self) -> int:
        return sum(len(client.services) for client in self.clients)

    @cached_property
    def most(self) -> list[ClientChange]:
        """The clients that change most, in either direction."""
        changed = [client for client in self.priced if client.difference]
        return sorted(changed, key=lambda client: (-abs(client.difference), client.name))[:SHOWN]

    @cached_property
    def groups(self) -> list[Group]:
        """How the changes are distributed, from those that pay least of what they paid to those that pay most."""
        found: dict[int, list[ClientChange]] = {group: [] for group in _GROUPS}
        for client in self.priced:
            found[_group(client)].append(client)
        if not found[_NEW]:
            del found[_NEW]
        most = max(map(len, found.values())) or 1
        return [
            Group(
                _words(group),
                len(clients),
                sum((client.difference for client in clients), ZERO),
                (Decimal(100 * len(clients)) / most).quantize(Decimal("0.01")),
                ROW * place,
            )
            for place, (group, clients) in enumerate(found.items())
        ]

    @cached_property
    def chart_height(self) -> int:
        return ROW * len(self.groups)


class Summary:
    """Adds lines up, and forgets them: it grows with the clients, not with the usage."""

    def __init__(self) -> None:
        self.clients: dict[str, dict[int, ClientChange]] = defaultdict(dict)
        self.months: dict[str, dict[date, Change]] = defaultdict(lambda: defaultdict(Change))
        self.terms = 0

    def add(self, lines: Iterable[Line]) -> None:
        for line in lines:
            service = line.service
            self.terms += 1
            client = self.clients[service.currency].setdefault(service.client_id, ClientChange(name=service.client))
            client.services.add(service.pk)
            if line.is_unpriced:
                client.unpriced_terms += 1
                client.unpriced += line.paid
            else:
                client.add(line.paid, line.would_pay)
                self.months[service.currency][line.term.month].add(line.paid, line.would_pay)

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcome in each currency that clients are billed in, the site's own first."""
        return [
            Outcome(
                currency,
                _together(self.clients[currency].values()),
                list(self.clients[currency].values()),
                sorted(self.months[currency].items()),
            )
            for currency in home_first(self.clients)
        ]


def _together(changes: Iterable[Change]) -> Change:
    total = Change()
    for change in changes:
        total.add(change.before, change.after)
    return total


#: Groups are numbered: those that pay more are 1 and above, the larger the change, and those that pay less below 0.
_SAME, _LAST = 0, len(BOUNDS) + 1
_NEW = _LAST + 1
_GROUPS = range(-_LAST, _NEW + 1)


def _group(client: ClientChange) -> int:
    if not client.difference:
        return _SAME
    if client.share is None:
        return _NEW
    size = 1 + bisect_left(BOUNDS, abs(client.share))
    return size if client.difference > 0 else -size


def _words(group: int) -> str:
    if group in (_SAME, _NEW):
        return _("Nothing before") if group else _("The same")
    size, is_more = abs(group), group > 0
    low, high = (0, *BOUNDS, 0)[size - 1 : size + 1]
    if size == _LAST:
        told = {"low": percent(Decimal(low))}
        return _("More by over %(low)s") % told if is_more else _("Less by over %(low)s") % told
    told = {"low": in_digits(f"{low}"), "high": percent(Decimal(high))}
    if size == 1:
        return _("More by up to %(high)s") % told if is_more else _("Less by up to %(high)s") % told
    return _("More by %(low)s to %(high)s") % told if is_more else _("Less by %(low)s to %(high)s") % told
