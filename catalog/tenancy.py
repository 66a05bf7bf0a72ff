"""Who may be the tenant of a service."""

from django.utils.translation import gettext as _

from catalog.models import OVER, Product, Service
from metering.models import Tenant


def refusal(service: Service, product: Product, tenant: Tenant) -> str:
    """Say why a service, as a product, cannot have a tenant; nothing if it can."""
    if product.provider and tenant.server.provider != product.provider:
        return _("%(product)s is metered by %(provider)s, and %(server)s is not one of those.") % {
            "product": product,
            "provider": product.provider,
            "server": tenant.server,
        }
    other = Service.objects.filter(tenant=tenant).exclude(pk=service.pk).exclude(status__in=OVER).first()
    if other is None:
        return ""
    return _("%(tenant)s on %(server)s is the tenant of %(other)s. Terminate that service first.") % {
        "tenant": tenant,
        "server": tenant.server,
        "other": other,
    }
