"""The deed of declaring: what providers say that they can measure gets its rows, which stay when they drop it."""

from collections.abc import Sequence

from metering.models import HeldValue, Metric, Server, Tenant, Usage
from metering.providers import base

#: What a provider may say differently of a metric that it declared before.
_MAY_CHANGE = ["display_name", "type", "unit_data"]


def declare(provider: str, metrics: Sequence[base.Metric]) -> dict[str, Metric]:
    """Make sure that the declared metrics have their rows, and return those by system name."""
    rows = [
        Metric(
            provider=provider,
            system_name=metric.system_name,
            display_name=metric.display_name,
            type=metric.type,
            unit_data=metric.unit.as_json(),
        )
        for metric in metrics
    ]
    known = known_metrics(provider)
    if any(_differs(row, known.get(row.system_name)) for row in rows):
        Metric.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["provider", "system_name"],
            update_fields=_MAY_CHANGE,
        )
        known = known_metrics(provider)
    return {metric.system_name: known[metric.system_name] for metric in metrics}


def declared_metrics(provider: str) -> list[Metric]:
    """Return every metric of a provider: what it declares now, here or on any of its servers, and what it
    declared before. Asks no server."""
    known = base.installed().get(provider)
    if known is not None:
        declared = {metric.system_name: metric for metric in known.metrics()}
        for settings in Server.objects.filter(provider=provider).values_list("settings", flat=True):
            declared.update({metric.system_name: metric for metric in known.metrics(settings)})
        declare(provider, list(declared.values()))
    return list(Metric.objects.of_provider(provider))


def known_metrics(provider: str) -> dict[str, Metric]:
    """Return the metrics that a provider declares or did so before, by system name."""
    return {row.system_name: row for row in Metric.objects.filter(provider=provider)}


def is_in_use(metric: Metric) -> bool:
    """Whether there is usage of a metric, or anything that is kept about it, such as a price."""
    tenants = Tenant.objects.filter(server__provider=metric.provider)
    return (
        Usage.objects.filter(metric_id=metric.pk, tenant_id__in=tenants.values("pk")).exists()
        or HeldValue.objects.filter(metric_id=metric.pk).exists()
        or any(
            each.related_model._default_manager.filter(**{each.field.name: metric}).exists()
            for each in Metric._meta.related_objects
        )
    )


def _differs(row: Metric, known: Metric | None) -> bool:
    return known is None or any(getattr(row, name) != getattr(known, name) for name in _MAY_CHANGE)
