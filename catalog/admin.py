"""The catalog's records in Django's admin. Prices of usage are not here: a version is never changed."""

from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from catalog import missing_prices
from catalog.client_forms import ClientForm, refuse_without_price
from catalog.forms import NumberField
from catalog.models import OVER, Client, ClientUser, Product, ProductPrice, Service, TaxRate, User
from catalog.naming import services_called
from catalog.orders import has_begun
from catalog.terms import Cycle, term
from catalog.wording import percent
from metering import dates
from metering.decimals import plain
from metering.providers import base
from metering.records import Capped, RawRecords, Records


class NewUserForm(AdminUserCreationForm):  # type: ignore[type-arg]
    class Meta:
        model = User
        fields = ("email",)

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()


class UserForm(UserChangeForm):  # type: ignore[type-arg]
    class Meta:
        model = User
        fields = "__all__"

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()


@admin.register(User)
class UserAdmin(Records, DjangoUserAdmin):  # type: ignore[type-arg]
    form = UserForm
    add_form = NewUserForm
    list_display = ("email", "name", "is_staff", "is_active", "last_login")
    list_filter = ("is_staff", "groups")
    found_by = ("email", "name")
    ordering: ClassVar = ["email"]
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("email", "name", "password")}),
        (
            gettext_lazy("Permissions"),
            {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")},
        ),
        (gettext_lazy("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("email", "name", "usable_password", "password1", "password2")}),
    )
    #: What a user may: chosen on the pages of the team, where nobody raises their own rights, and here by superusers.
    rights = ("is_staff", "is_superuser", "groups", "user_permissions")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        own = () if _is_superuser(request) else self.rights
        return (*self.readonly_fields, *own)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Nobody else of staff is changed by whoever is no superuser: a password is as good as their rights."""
        is_above = obj is not None and (obj.is_staff or obj.is_superuser) and not _is_superuser(request)
        return super().has_change_permission(request, obj) and not is_above

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        is_above = obj is not None and (obj.is_staff or obj.is_superuser) and not _is_superuser(request)
        return super().has_delete_permission(request, obj) and not is_above


def _is_superuser(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))


class Labelled(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    """Rows whose fields say what they are: in a table, Django gives them no labels."""

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        for name, field in form.fields.items():
            field.widget.attrs.setdefault("aria-label", str(field.label or name))


class ClientUserInline(admin.TabularInline[ClientUser, Client]):
    model = ClientUser
    formset = Labelled
    raw_id_fields = ("user",)
    extra = 0


@admin.register(Client)
class ClientAdmin(RawRecords):
    form = ClientForm
    list_display = ("name", "email", "currency", "created_at")
    found_by = ("name", "email")
    inlines: ClassVar = [ClientUserInline]

    def view_on_site(self, client: Client) -> str:
        """All that it has."""
        return reverse("staff_client", args=[client.pk])


class TaxRateForm(forms.ModelForm[TaxRate]):
    """Reads the percent as strictly as prices are read."""

    percent = NumberField(
        places=3, digits=3, missing=gettext_lazy("Enter a percent, such as 19"), label=gettext_lazy("Percent")
    )

    class Meta:
        model = TaxRate
        fields = ("name", "percent", "note")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "percent" in self.fields:  # whoever may only look gets no fields
            self.fields["percent"].help_text = TaxRate._meta.get_field("percent").help_text
            self.fields["percent"].widget.attrs["class"] = "vIntegerField"
            if self.instance.pk:
                self.initial["percent"] = plain(self.instance.percent)


@admin.register(TaxRate)
class TaxRateAdmin(Capped):
    form = TaxRateForm
    fieldsets = (
        (
            None,
            {
                "fields": ("name", "percent", "note"),
                "description": gettext_lazy(
                    "A change holds for what is issued from now on, to all clients that have this rate. Documents that "
                    "were issued stay as they are, and a credit note is taxed as its invoice was."
                ),
            },
        ),
    )
    list_display = ("name", "written", "note")

    @admin.display(description=gettext_lazy("percent"))
    def written(self, rate: TaxRate) -> str:
        return percent(rate.percent)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Of clients that have a rate it says how many, not which: there may be thousands."""
        had = Client.objects.filter(tax_rate__in=[each.pk for each in objs]).order_by()
        counts = dict(had.values_list("tax_rate").annotate(Count("pk")))
        if not counts:
            return super().get_deleted_objects(objs, request)
        return [], {}, set(), [_clients_with(each, counts[each.pk]) for each in objs if each.pk in counts]


def _clients_with(rate: TaxRate, count: int) -> str:
    """What keeps a rate from being deleted, to stand in a list."""
    words = ngettext(
        "%(count)s client with %(rate)s: give it another rate first",
        "%(count)s clients with %(rate)s: give them another rate first",
        count,
    )
    return words % {"rate": rate, "count": count}


class ProductForm(forms.ModelForm[Product]):
    """Offers the providers that are installed; one that no longer is stays what it was."""

    class Meta:
        model = Product
        fields = (
            "name",
            "slug",
            "description",
            "provider",
            "is_active",
            "bills_monthly",
            "bills_suspended",
            "invoice_days_ahead",
            "grace_days",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "slug" not in self.fields:
            return  # Whoever may only look gets no fields
        choices = {name: _(known.title) for name, known in base.installed().items()}
        if self.instance.provider:
            choices.setdefault(
                self.instance.provider, _("%(provider)s (not installed)") % {"provider": self.instance.provider}
            )
        self.fields["provider"] = forms.ChoiceField(
            choices=[("", _("nothing meters it")), *choices.items()],
            required=False,
            help_text=_("What meters its usage."),
        )
        self.fields["slug"].required = False

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("slug") and "slug" not in self.errors:
            data["slug"] = slugify(data.get("name", ""))
            if not data["slug"]:
                self.add_error("slug", _("Enter one: the name has no letters to make it from."))
        return data


class ProductPriceForm(forms.ModelForm[ProductPrice]):
    """Reads amounts as strictly as the pricing editor does."""

    amount = NumberField(places=4, digits=12, missing=gettext_lazy("Enter an amount"))

    class Meta:
        model = ProductPrice
        fields = ("cycle", "currency", "amount")
        error_messages = {"currency": {"max_length": gettext_lazy("Three letters, such as USD.")}}  # noqa: RUF012

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            # Where its row is a block of its own, there is no head above it.
            field.widget.attrs["aria-label"] = field.label or name.capitalize()
            if name == "currency":
                field.widget.attrs["placeholder"] = settings.DEFAULT_CURRENCY


class ProductPriceInline(admin.TabularInline[ProductPrice, Product]):
    model = ProductPrice
    formset = Labelled
    form = ProductPriceForm
    extra = 1


@admin.register(Product)
class ProductAdmin(Capped):
    form = ProductForm
    fieldsets = (
        (None, {"fields": ("name", "slug", "description", "provider", "is_active")}),
        (
            gettext_lazy("When its services are billed"),
            {
                "fields": ("bills_monthly", "bills_suspended", "invoice_days_ahead", "grace_days"),
                "description": gettext_lazy(
                    "Billing usage every month holds for services that are ordered from now on; the rest holds for all "
                    "of them."
                ),
            },
        ),
    )
    prepopulated_fields: ClassVar = {"slug": ("name",)}
    list_display = ("name", "provider", "is_active")
    list_filter = ("provider", "is_active")
    search_fields = ("name", "description")
    inlines: ClassVar = [ProductPriceInline]

    def view_on_site(self, product: Product) -> str:
        """What it costs, and who has it."""
        return reverse("staff_product", args=[product.pk])

    def response_post_save_add(self, request: HttpRequest, obj: Product) -> HttpResponseRedirect:
        """Its page says what comes next: its metrics and their prices."""
        return redirect(self.view_on_site(obj))

    def response_post_save_change(self, request: HttpRequest, obj: Product) -> HttpResponseRedirect:
        return redirect(self.view_on_site(obj))

    def has_delete_permission(self, request: HttpRequest, obj: Product | None = None) -> bool:
        """What somebody has or had stays: it can be taken from sale."""
        return super().has_delete_permission(request, obj) and not (obj and obj.services.exists())


class ServiceForm(forms.ModelForm[Service]):
    """Keeps the day on which a service is due in step with its anchor, cycle and next term.

    Refuses what could not be billed: a service whose product has no price in its client's currency. One that is
    as it was, is for billing to park.
    """

    class Meta:
        model = Service
        fields = ("client", "product", "tenant", "name", "status", "cycle", "anchor")

    def clean_status(self) -> str:
        status, before = str(self.cleaned_data["status"]), self.initial.get("status")
        if status == Service.Status.TERMINATED and before != status:
            raise forms.ValidationError(_("Terminate a service on its own page, so that its last invoice is made."))
        runs = (Service.Status.ACTIVE, Service.Status.SUSPENDED)
        if before in runs and status not in runs and has_begun(self.instance, dates.site_day()):
            raise forms.ValidationError(_("It runs. Terminate it on its own page, so that what it used is billed."))
        if before == Service.Status.TERMINATED and status != before:
            words = _("A terminated service has had its last invoice. Reactivate it on its own page.")
            raise forms.ValidationError(words)
        return status

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        anchor = data.get("anchor", self.instance.anchor)
        cycle = data.get("cycle") or self.instance.cycle
        if data.get("product") and "product" in self.changed_data:
            self.instance.bills_monthly = data["product"].bills_monthly
        if data.get("status") in (Service.Status.PENDING, Service.Status.ACTIVE, Service.Status.SUSPENDED) and (
            anchor and cycle
        ):
            clock = Cycle.MONTHLY if self.instance.bills_monthly else Cycle(cycle)
            try:
                self.instance.next_due_on = term(anchor, clock, self.instance.next_term).start
            except ValueError as error:
                self.add_error("anchor", str(error))
        if not self.errors and data["status"] not in OVER and self.is_ordered():
            product = data.get("product") or self.instance.product
            currency, today = data["client"].currency, dates.site_day()
            refuse_without_price(missing_prices.of_order(product, currency, cycle, today, self.instance.pk))
        return data

    def is_ordered(self) -> bool:
        """Whether it becomes a service, or another one than it was."""
        is_new = self.instance._state.adding or self.initial.get("status") in OVER
        return is_new or not {"client", "product", "cycle"}.isdisjoint(self.changed_data)


@admin.register(Service)
class ServiceAdmin(Records):
    form = ServiceForm
    list_display = ("name", "client", "product", "status", "cycle", "next_due_on", "tenant")
    list_filter = ("product",)
    list_select_related = ("client", "product", "tenant")
    found_by = ("name",)
    raw_id_fields = ("client", "tenant")

    def search(self, rows: QuerySet[Service], text: str) -> QuerySet[Service]:
        return services_called(rows, text)

    def view_on_site(self, service: Service) -> str:
        """Metric statistics."""
        return reverse("staff_service", args=[service.public_id])

    def get_fields(self, request: HttpRequest, obj: Service | None = None) -> tuple[str, ...]:
        hint = ("another",) if obj is not None and has_begun(_kept(obj), dates.site_day()) else ()
        counted = ("bills_monthly", "next_term", "next_due_on", "terminated_on", "public_id") if obj is not None else ()
        return ("client", "product", "tenant", *hint, "name", "status", "cycle", "anchor", *counted)

    def get_readonly_fields(self, request: HttpRequest, obj: Service | None = None) -> tuple[str, ...]:
        """Once a term is billed, terms are counted from where they were. What was used of a product and as a
        tenant is billed before either changes, on a page of its own."""
        counted: tuple[str, ...] = ("public_id", "bills_monthly", "next_term", "next_due_on", "terminated_on")
        if obj is None:
            return counted
        kept = _kept(obj)
        if kept.next_term or kept.status in OVER:
            counted = (*counted, "anchor", "cycle")
        return (*counted, "product", "tenant", "another") if has_begun(kept, dates.site_day()) else counted

    @admin.display(description=gettext_lazy("Another product or tenant"))
    def another(self, service: Service) -> str:
        if service.status in OVER:
            return _("It is over, and what it was stays as it was.")
        address = reverse("staff_service_change", args=[service.public_id])
        words, link = _("Its usage to date is billed first, at the old prices:"), _("change product or tenant")
        return format_html('{} <a href="{}">{}</a>', words, address, link)


def _kept(service: Service) -> Service:
    """The service as it is stored: a form that was refused has changed the other one."""
    return Service.objects.get(pk=service.pk)
