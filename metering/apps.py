"""Metering as an app: hands the operator's list of networks to the code that speaks to servers."""

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from metering.providers import networks


class MeteringConfig(AppConfig):
    name = "metering"
    verbose_name = _("Metering")

    def ready(self) -> None:
        try:
            networks.block(settings.BLOCKED_NETWORKS)
        except ValueError as error:
            raise ImproperlyConfigured(
                f"BLOCKED_NETWORKS: {error}. Write networks such as 10.0.0.0/8, separated by commas."
            ) from None
