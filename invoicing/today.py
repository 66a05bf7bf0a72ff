"""What needs a person today, for the first page of staff: read in a fixed number of queries, however much there is.

Counts go up to MOST; the page says "100+" of what is above. What somebody may not see is not looked for.
"""

from collections import Counter
from datetime import date, datetime
from functools import cached_property

from catalog import missing_prices
from catalog.missing_prices import Missing
from catalog.models import Service, User
from invoicing import cockpit, outbox, setting_up, unclaimed, usage_invoicing
from invoicing.cockpit import Cockpit, Shown
from invoicing.models import Deferral, Difference, Parked, Preview, Question, Run
from invoicing.setting_up import Step
from invoicing.troubled import MOST, Servers
from metering import dates
from metering.paging import capped

#: So many reasons of parked services, and differences of a dry run, are named.
FEW = 4


class Billing:
    """How many services are due, what was billed last, and what the next run would bill."""

    def __init__(self, today: date, *, may_see: bool) -> None:
        self.today, self.may_see = today, may_see

    @cached_property
    def due(self) -> int:
        return capped(Service.objects.due(self.today), MOST)

    @cached_property
    def is_on(self) -> bool:
        return usage_invoicing.is_on(self.today)

    @cached_property
    def last_run(self) -> Run | None:
        return Run.objects.exclude(ended_at=None).first() if self.may_see else None

    @cached_property
    def dry_run(self) -> Cockpit | None:
        """The last dry run that came to its end, unless a run has billed since."""
        if not self.may_see:
            return None
        last = Preview.objects.exclude(ended_at=None).filter(error="").first()
        found = cockpit.of(last) if last is not None and last.outcome else None
        return found if found is not None and found.run is None else None

    @property
    def differs_most(self) -> list[Shown]:
        return self.dry_run.rows[:FEW] if self.dry_run else []


class Today:
    """All that the page says to a user, read when the page asks for it."""

    def __init__(self, user: User, now: datetime) -> None:
        self.user, self.now = user, now
        self.today = dates.site_day(now)

    @property
    def most(self) -> int:
        return MOST

    @property
    def written(self) -> str:
        """`Thursday, 19 November 2026, 09:40`."""
        return f"{dates.weekday(self.today)}, {dates.time(self.now)}"

    @cached_property
    def steps(self) -> list[Step]:
        """What leads to the first invoice, while there is no service yet."""
        return setting_up.steps(self.user)

    @property
    def steps_left(self) -> int:
        return sum(not step.is_done for step in self.steps)

    @cached_property
    def servers(self) -> Servers:
        return Servers(self.now, may_see=self.user.has_perm("metering.view_server"))

    @cached_property
    def billing(self) -> Billing:
        return Billing(self.today, may_see=self.user.has_perm("invoicing.view_run"))

    @cached_property
    def parked(self) -> list[tuple[str, int]]:
        """Why services are parked, each reason with how many, the most frequent first."""
        if not self.user.has_perm("invoicing.view_run"):
            return []
        reasons = Parked.objects.order_by("pk").values_list("reason", flat=True)[: MOST + 1]
        return Counter(reasons).most_common()

    @property
    def parked_count(self) -> int:
        return sum(count for _, count in self.parked)

    @property
    def parked_reasons(self) -> list[tuple[str, int]]:
        return self.parked[:FEW]

    @cached_property
    def missing(self) -> list[Missing]:
        return missing_prices.of_living_services(self.today) if self.user.has_perm("catalog.view_product") else []

    @cached_property
    def waiting(self) -> int:
        return capped(Deferral.objects.all(), MOST) if self.user.has_perm("invoicing.view_run") else 0

    @cached_property
    def differences(self) -> int:
        return capped(Difference.objects.all(), MOST) if self.user.has_perm("invoicing.view_run") else 0

    @cached_property
    def questions(self) -> list[Question]:
        """Those that wait for an answer of staff, the oldest first."""
        if not self.user.has_perm("invoicing.view_question"):
            return []
        waiting = Question.objects.filter(closed_at=None, waits_for_staff=True).select_related("client", "line")
        return list(waiting.order_by("posted_at")[: MOST + 1])

    @cached_property
    def mails(self) -> int:
        return capped(outbox.given_up(), MOST) if self.user.has_perm("invoicing.view_message") else 0

    @cached_property
    def unclaimed(self) -> int:
        return capped(unclaimed.tenants(), MOST) if self.user.has_perm("metering.view_tenant") else 0

    @cached_property
    def count(self) -> int:
        """How many things the list names."""
        kinds = (self.servers.more, self.parked, self.missing, self.waiting, self.differences, self.questions)
        others = sum(map(bool, (*kinds, self.mails, self.unclaimed)))
        return len(self.servers.troubled) + len(self.servers.stale_metrics) + others
