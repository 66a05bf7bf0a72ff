"""What of an answer cannot be right by itself: a person looks at it before it counts, or is told."""

from collections.abc import Iterable, Iterator, Mapping

from metering.ingestion import Change
from metering.models import Collection, Metric
from metering.providers.base import MetricType

#: An answer in which more than this part of the known tenants is missing is held for approval …
MOST_MISSING, FEW_TENANTS = 0.5, 4
#: … and so is one that brings this many times the known tenants, …
MULTIPLIED, SOME_TENANTS = 3, 20
#: … one in which more than this part of a metric's values, of so many at least, fell to zero, …
MOST_GONE = 0.9
#: … or one in which the levels of a metric, of so many tenants at least, rose to so many times what they were.
JUMPED = 10


def of_tenants(record: Collection) -> str:
    """Say why a person should look at the tenants of an answer before it is stored; empty if nobody needs to."""
    known = record.tenants - record.new_tenants + record.missing_tenants
    if known >= FEW_TENANTS and record.missing_tenants > known * MOST_MISSING:
        return f"{record.missing_tenants} of {known} tenants would vanish. Did a credential lose its rights?"
    if known >= SOME_TENANTS and record.new_tenants > known * MULTIPLIED:
        return f"{record.new_tenants} new tenants would join the {known} that are known."
    return ""


def of_values(changes: Iterable[Change], metrics: Mapping[str, Metric]) -> str:
    """Say why a person should look at the values of an answer before they count; empty if nobody needs to."""
    by_pk = {row.pk: row for row in metrics.values()}
    doubts = []
    for change in changes:
        metric = by_pk[change.metric_id]
        if change.used >= FEW_TENANTS and change.gone > change.used * MOST_GONE:
            doubts.append(f"{metric} would fall to zero for {change.gone} of {change.used} tenants that use it.")
        elif (
            metric.type == MetricType.SNAPSHOT
            and change.values >= FEW_TENANTS
            and 0 < change.before * JUMPED < change.now
        ):
            times = round(change.now / change.before)
            doubts.append(f"{metric} would be {times:,} times what it was, over {change.values} tenants.")
    return " ".join(doubts)


def of_closed(gone: Iterable[tuple[int, int, int]], metrics: Mapping[str, Metric]) -> str:
    """Say what of a closed period that was asked for again cannot be right; empty if all may be.

    `gone` has a metric, how many tenants used it then, and of how many that would be zero.
    """
    by_pk = {row.pk: row for row in metrics.values()}
    return " ".join(
        f"{by_pk[pk]} of a period that is over would be zero for {now} of {used} tenants that used it. What is known of"
        " it stays. If the answer is right, correct its usage."
        for pk, used, now in gone
        if used >= FEW_TENANTS and now > used * MOST_GONE
    )


def fallen(changes: Iterable[Change], metrics: Mapping[str, Metric]) -> Iterator[str]:
    """Say which totals are less than they were, which only a fault or a restored backup makes them."""
    by_pk = {row.pk: row for row in metrics.values()}
    for change in changes:
        if change.fell:
            metric, others = by_pk[change.metric_id], ", …" if change.fell > len(change.fallen) else ""
            yield (
                f"{metric} fell within its {metric.type} for {change.fell} tenant{'s' if change.fell > 1 else ''}"
                f" ({', '.join(change.fallen)}{others}). What it is now counts; the readings have both."
            )
