"""What happened to a client, or to a product, and to what is a part of it."""

from audit import timeline
from audit.models import reference, references
from audit.timeline import Timeline
from catalog.models import Client, ClientUser, MetricSetting, Product


def of_client(client: Client, *, own_page: str = "") -> Timeline:
    """Its own data, its people and what they may, invitations, API keys, alerts, services and credit notes."""
    return timeline.of(reference(client), *parts_of_client(client.pk), own_page=own_page)


def of_product(product: Product, *, own_page: str = "") -> Timeline:
    """Its own data, its prices, its metrics with their prices and agreements, overage terms and alerts."""
    return timeline.of(reference(product), *parts_of_product(product.pk), own_page=own_page)


def parts_of_client(pk: int) -> list[str]:
    """Name the people of a client."""
    people = ClientUser.objects.filter(client_id=pk).values_list("user_id", flat=True)
    return references("catalog_user", people)


def parts_of_product(pk: int) -> list[str]:
    """Name the metric settings of a product."""
    return references("catalog_metricsetting", MetricSetting.objects.filter(product_id=pk).values_list("pk", flat=True))
