"""The catalog's records in Django's admin. Prices of usage are not here: a version is never changed."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import slugify

from catalog import missing_prices
from catalog.forms import NumberField
from catalog.missing_prices import Missing
from catalog.models import OVER, Client, ClientUser, Product, ProductPrice, Service, User
from catalog.terms import Cycle, term
from metering.providers import base


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
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]
    form = UserForm
    add_form = NewUserForm
    list_display = ("email", "name", "is_staff", "is_active", "last_login")
    list_filter = ("is_staff", "is_superuser", "is_active", "groups")
    search_fields = ("email", "name")
    ordering = ("email",)
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("email", "name", "password")}),
        (
            "Permissions",
            {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")},
        ),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("email", "name", "usable_password", "password1", "password2")}),
    )


class ClientUserInline(admin.TabularInline[ClientUser, Client]):
    model = ClientUser
    raw_id_fields = ("user",)
    extra = 0


class ClientForm(forms.ModelForm[Client]):
    """Lets a client be billed in another currency only once all that it has is priced in it."""

    class Meta:
        model = Client
        fields = ("name", "email", "address", "currency")

    def clean_currency(self) -> str:
        currency = str(self.cleaned_data["currency"])
        if self.instance.pk and currency != self.initial.get("currency"):
            refuse_without_price(missing_prices.of_currency(self.instance, currency, timezone.localdate()))
        return currency


def refuse_without_price(missing: Iterable[Missing]) -> None:
    """Raise ValidationError when something has no price, with a link to where each is added."""
    words = [format_html('{} <a href="{}">Go there</a>', each.sentence, each.address) for each in missing]
    if words:
        raise forms.ValidationError([forms.ValidationError(each) for each in words])


@admin.register(Client)
class ClientAdmin(admin.ModelAdmin[Client]):
    form = ClientForm
    list_display = ("name", "email", "currency", "created_at")
    list_filter = ("currency",)
    search_fields = ("name", "email", "users__email")
    inlines: ClassVar = [ClientUserInline]


class ProductForm(forms.ModelForm[Product]):
    """Offers the providers that are installed; one that no longer is stays what it was."""

    class Meta:
        model = Product
        fields = ("name", "slug", "description", "provider", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = {name: known.title for name, known in base.installed().items()}
        if self.instance.provider:
            choices.setdefault(self.instance.provider, f"{self.instance.provider} (not installed)")
        self.fields["provider"] = forms.ChoiceField(
            choices=[("", "nothing meters it"), *choices.items()],
            required=False,
            help_text="What meters its usage.",
        )
        self.fields["slug"].required = False

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not data.get("slug") and "slug" not in self.errors:
            data["slug"] = slugify(data.get("name", ""))
            if not data["slug"]:
                self.add_error("slug", "Enter one: the name has no letters to make it from.")
        return data


class ProductPriceForm(forms.ModelForm[ProductPrice]):
    """Reads amounts as strictly as the pricing editor does."""

    amount = NumberField(places=4, digits=12, missing="Enter an amount")

    class Meta:
        model = ProductPrice
        fields = ("cycle", "currency", "amount")


class ProductPriceInline(admin.TabularInline[ProductPrice, Product]):
    model = ProductPrice
    form = ProductPriceForm
    extra = 1


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin[Product]):
    form = ProductForm
    prepopulated_fields: ClassVar = {"slug": ("name",)}
    list_display = ("name", "provider", "is_active")
    list_filter = ("provider", "is_active")
    search_fields = ("name", "description")
    inlines: ClassVar = [ProductPriceInline]

    def view_on_site(self, product: Product) -> str:
        """Metric billing."""
        return reverse("staff_product_metrics", args=[product.pk])


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
            raise forms.ValidationError("Terminate a service on its own page, so that its last invoice is made.")
        if before == Service.Status.TERMINATED and status != before:
            raise forms.ValidationError("A terminated service has had its last invoice. Add a new one instead.")
        return status

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        anchor = data.get("anchor", self.instance.anchor)
        cycle = data.get("cycle") or self.instance.cycle
        if data.get("status") in (Service.Status.PENDING, Service.Status.ACTIVE, Service.Status.SUSPENDED) and (
            anchor and cycle
        ):
            try:
                self.instance.next_due_on = term(anchor, Cycle(cycle), self.instance.next_term).start
            except ValueError as error:
                self.add_error("anchor", str(error))
        if not self.errors and data["status"] not in OVER and self.is_ordered():
            product, currency, today = data["product"], data["client"].currency, timezone.localdate()
            refuse_without_price(missing_prices.of_order(product, currency, cycle, today, self.instance.pk))
        return data

    def is_ordered(self) -> bool:
        """Whether it becomes a service, or another one than it was."""
        is_new = self.instance._state.adding or self.initial.get("status") in OVER
        return is_new or not {"client", "product", "cycle"}.isdisjoint(self.changed_data)


@admin.register(Service)
class ServiceAdmin(admin.ModelAdmin[Service]):
    form = ServiceForm
    list_display = ("name", "client", "product", "status", "cycle", "next_due_on", "tenant")
    list_filter = ("status", "product", "cycle")
    list_select_related = ("client", "product", "tenant")
    search_fields = ("name", "client__name", "tenant__key", "public_id")
    raw_id_fields = ("client", "tenant")

    def view_on_site(self, service: Service) -> str:
        """Metric statistics."""
        return reverse("staff_service", args=[service.public_id])

    def get_readonly_fields(self, request: HttpRequest, obj: Service | None = None) -> tuple[str, ...]:
        """Once a term is billed, terms are counted from where they were."""
        counted = ("public_id", "next_term", "next_due_on", "terminated_on")
        return (*counted, "anchor", "cycle") if obj is not None and obj.next_term else counted
