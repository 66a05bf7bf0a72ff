"""How a form asks for the tenant of a service: its server, and its name there."""

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.db.models import Exists, OuterRef, QuerySet
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from catalog.models import OVER, Service
from metering.models import Server, Tenant

#: As many names of free tenants are offered while one types.
OFFERED = 200


class TenantForm(forms.Form):
    """Either both or none is filled in, and a service that has a tenant is not left without one. A valid form has
    the tenant as `chosen`."""

    use_required_attribute = False

    server = forms.ModelChoiceField(
        Server.objects.none(),
        label=gettext_lazy("Server"),
        required=False,
        empty_label=gettext_lazy("none"),
        widget=forms.Select({"class": "form-select"}),
        error_messages={"invalid_choice": gettext_lazy("Choose a server that is offered.")},
    )
    tenant = forms.CharField(
        label=gettext_lazy("Tenant"),
        help_text=gettext_lazy("Its name on the server. A tenant that another service has is refused."),
        required=False,
        max_length=255,
        widget=forms.TextInput(
            {"class": "form-control", "autocomplete": "off", "list": "tenants", "spellcheck": "false"}
        ),
    )

    def __init__(
        self, data: QueryDict | None, *, service: Service, providers: Iterable[str], initial: Mapping[str, Any]
    ) -> None:
        own = service.tenant
        super().__init__(data, initial={"server": own and own.server_id, "tenant": own and own.key, **initial})
        self.service = service
        servers = Server.objects.filter(provider__in=providers).defer("credentials", "settings")
        self.fields["server"].queryset = servers  # type: ignore[attr-defined]

    @property
    def free(self) -> QuerySet[Tenant]:
        """Free tenants of the servers, to choose from."""
        taken = Service.objects.filter(tenant=OuterRef("pk")).exclude(status__in=OVER)
        servers = self.fields["server"].queryset  # type: ignore[attr-defined]
        found = Tenant.objects.filter(~Exists(taken), server__in=servers.values("pk"), missing_since=None)
        return found.select_related("server").order_by("key", "server__name")[:OFFERED]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        server, key = data.get("server"), data.get("tenant")
        data["chosen"] = None if "tenant" in self.fields else self.service.tenant
        if "server" in self.errors or "tenant" not in self.fields:
            return data
        if key and server is None:
            self.add_error("server", _("Choose the server that it is on."))
        elif server is not None and not key:
            self.add_error("tenant", _("Enter its name on the server."))
        elif server is not None:
            data["chosen"] = Tenant.objects.filter(server=server, key=key).select_related("server").first()
            if data["chosen"] is None:
                self.add_error(
                    "tenant",
                    _("%(server)s has no tenant of this name. Collect it first, if it is new.") % {"server": server},
                )
        elif self.service.tenant is not None:
            self.add_error("tenant", _("A service keeps its tenant, or gets another one."))
        return data
