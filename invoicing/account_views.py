"""What opens the API for a client, and what invoices say of it: its API keys and its data, for its owners.

What belongs to another client does not exist: 404. Staff revoke keys, too.
"""

from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from catalog import api_keys
from catalog.access import client_of, may
from catalog.models import ApiKey, Client, User
from catalog.permissions import Deed
from invoicing import account
from invoicing.people_forms import ApiKeyForm, ClientDataForm
from metering.access import staff


@require_safe
@may(Deed.KEYS)
def portal_keys(request: HttpRequest, pk: int | None = None) -> HttpResponse:
    """What opens the API for us?"""
    return _portal_keys(request, client_of(request, Deed.KEYS, pk))


@require_POST
@may(Deed.KEYS)
def portal_make_key(request: HttpRequest, pk: int) -> HttpResponse:
    """Make a key and show it, this once."""
    client = client_of(request, Deed.KEYS, pk)
    form = ApiKeyForm(request.POST, client=client)
    if not form.is_valid():
        return _portal_keys(request, client, key_form=form)
    key, token = api_keys.make(
        client=client,
        name=form.cleaned_data["name"],
        by=_user(request),
        at=timezone.now(),
        expires_at=form.expires_at,
    )
    return _portal_keys(request, client, made=key, token=token)


@require_POST
@may(Deed.KEYS)
def portal_revoke_key(request: HttpRequest, pk: int, key: int) -> HttpResponse:
    _revoke_key(request, client_of(request, Deed.KEYS, pk), key)
    return redirect("portal_client_keys_of", pk)


@require_POST
@staff("catalog.change_apikey")
def staff_revoke_key(request: HttpRequest, pk: int, key: int) -> HttpResponse:
    _revoke_key(request, get_object_or_404(Client, pk=pk), key)
    return redirect("staff_client_users", pk)


def _portal_keys(request: HttpRequest, client: Client, **more: Any) -> HttpResponse:
    context = {
        "area": "portal",
        "may_revoke_keys": True,
        "key_form": ApiKeyForm(client=client),
        "address": settings.SITE_ADDRESS + reverse("api:list_invoices"),
    }
    common = account.page(request, client, Deed.KEYS, "portal_client_keys_of")
    return render(request, "account/keys.html", context | common | account.keys(client) | more)


def _revoke_key(request: HttpRequest, client: Client, pk: int) -> None:
    key = get_object_or_404(ApiKey, pk=pk, client=client)
    if api_keys.revoke(key=key, by=_user(request), at=timezone.now()):
        messages.info(request, _("The key %(name)s opens nothing any more.") % {"name": key})


@require_http_methods(["GET", "HEAD", "POST"])
@may(Deed.DATA)
def portal_data(request: HttpRequest, pk: int | None = None) -> HttpResponse:
    """What do our invoices say of us?"""
    client = client_of(request, Deed.DATA, pk)
    form = ClientDataForm(request.POST or None, instance=client)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.info(request, _("Saved. Invoices from now on say so; those that were issued stay as they are."))
        return redirect("portal_client_data_of", client.pk)
    # What was refused is not what the page is about
    shown = Client.objects.get(pk=client.pk) if form.errors else client
    return render(
        request,
        "account/client.html",
        {"form": form, **account.page(request, shown, Deed.DATA, "portal_client_data_of")},
    )


def _user(request: HttpRequest) -> User:
    return cast(User, request.user)
