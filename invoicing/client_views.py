"""Staff pages about clients: the list, one with all that it has, and its form."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from catalog.client_forms import ClientForm
from catalog.models import OVER, Client, ClientUser, Service
from catalog.money import is_currency
from catalog.timelines import of_client
from invoicing import review, searching, statistics
from invoicing.models import Message, Parked, Question, Receivable
from invoicing.statistics import Statistics
from metering import dates, lookup
from metering.access import staff
from metering.decimals import exact_sum
from metering.paging import CappedPaginator, capped

PAGE = 50
#: So many services are shown on the page of a client, and so many of everything else.
SERVICES, LAST = 50, 10


@require_GET
@staff("catalog.view_client")
def clients(request: HttpRequest) -> HttpResponse:
    """Who are the customers, and which of them need a look?"""
    query, currency = lookup.cleaned(request.GET.get("q")), request.GET.get("currency", "")
    state = request.GET.get("state", "")
    rows = searching.listed_clients(query)
    if is_currency(currency):
        rows = rows.filter(currency=currency)
    rows = _in_state(rows, state)
    page = CappedPaginator(rows, PAGE).get_page(request.GET.get("page"))
    shown = list(page)
    living = _living(shown)
    context = {
        "section": "clients",
        "page": page,
        "rows": [(client, living.get(client.pk, 0)) for client in shown],
        "query": query,
        "currency": currency,
        "state": state,
        "currencies": _currencies(),
        "is_filtered": bool(query or currency or state),
        "most": SERVICES,
    }
    return render(request, "staff/clients.html", context)


def _in_state(rows: QuerySet[Client], state: str) -> QuerySet[Client]:
    """Filter clients by what a person should look at: an `overdue` invoice, or a `parked` service."""
    if state == "overdue":
        late = Receivable.objects.filter(due_on__lt=dates.site_day(), left__gt=0)
        return rows.filter(pk__in=late.order_by().values("client"))
    if state == "parked":
        return rows.filter(pk__in=Parked.objects.values("service__client"))
    return rows


def _living(clients: Sequence[Client]) -> Mapping[int, int]:
    """Return how many services that are not over clients have, by id."""
    rows = Service.objects.filter(client__in=clients).exclude(status__in=OVER).order_by()
    return dict(rows.values_list("client").annotate(Count("pk")))


def _currencies() -> list[str]:
    """Return the currencies that clients are billed in: one jump of the index for each."""
    found: list[str] = []
    rows = Client.objects.order_by("currency").values_list("currency", flat=True)
    while (after := (rows.filter(currency__gt=found[-1]) if found else rows).first()) is not None:
        found.append(after)
    return found


@require_GET
@staff("catalog.view_client")
def client(request: HttpRequest, pk: int) -> HttpResponse:
    """Who is this, what do they have, and what do they owe?"""
    one = get_object_or_404(Client.objects.select_related("tax_rate"), pk=pk)
    may = request.user.has_perm
    context: dict[str, Any] = {"section": "clients", "client": one, "today": dates.site_day()}
    if may("catalog.view_service"):
        context |= _services(one)
    if may("invoicing.view_invoice"):
        context["invoices"] = one.invoices.with_state(dates.site_day())[:LAST]
        context["owed"] = _owed(one)
    if may("invoicing.view_message"):
        context["mails"] = Message.objects.filter(client=one).select_related("invoice").order_by("-created_at")[:LAST]
    if may("invoicing.view_question"):
        waiting = Question.objects.filter(client=one, closed_at=None).select_related("invoice", "line")
        context["questions"] = waiting.order_by("posted_at")[:LAST]
    context["members"] = ClientUser.objects.filter(client=one).select_related("user").order_by("user__email")[:SERVICES]
    if may("catalog.view_service") and may("invoicing.view_invoice"):  # it tells of both
        context["timeline"] = of_client(one, own_page=request.path)
    return render(request, "staff/client.html", context)


def _services(one: Client) -> dict[str, Any]:
    """The services of a client, the running ones first, with what they used so far and whether billing one waits."""
    rows = review.with_waiting(one.services.select_related("product", "tenant__server"))
    rows = rows.defer("tenant__server__credentials")
    shown = list(rows.order_by("status", "name")[:SERVICES])
    for service in shown:
        service.client = one
    metered = [service for service in shown if service.tenant_id and service.is_billable]
    enabled = statistics.enabled_of_each(metered, at=timezone.now())
    charges = {pk: _so_far(metrics) for pk, metrics in enabled.items()}
    known = [charge for charge in charges.values() if charge is not None]
    return {
        "services": [(service, charges.get(service.pk)) for service in shown],
        "so_far": exact_sum(known) if known else None,
        "living": capped(one.services.exclude(status__in=OVER), SERVICES),
        "most": SERVICES,
        "has_more": capped(one.services.all(), SERVICES) > SERVICES,
    }


def _so_far(metrics: Sequence[Statistics]) -> Decimal | None:
    """What the metrics of a service cost so far, together; None while none of them has a price and a value."""
    return statistics.total(metrics) if any(one.amount is not None for one in metrics) else None


def _owed(one: Client) -> list[dict[str, Any]]:
    """What the client has not paid yet, by currency, and what of that is overdue."""
    rows = Receivable.objects.filter(client=one).order_by().values("invoice__currency")
    late = dict(
        rows.filter(due_on__lt=dates.site_day(), left__gt=0)
        .annotate(sum=Sum("left"))
        .values_list("invoice__currency", "sum")
    )
    return [
        {"currency": currency, "left": left, "overdue": late.get(currency)}
        for currency, left in rows.annotate(sum=Sum("left")).values_list("invoice__currency", "sum")
    ]


@require_http_methods(["GET", "HEAD", "POST"])
@staff("catalog.add_client")
def new_client(request: HttpRequest) -> HttpResponse:
    return _edit(request, None)


@require_http_methods(["GET", "HEAD", "POST"])
@staff("catalog.change_client")
def edit_client(request: HttpRequest, pk: int) -> HttpResponse:
    return _edit(request, get_object_or_404(Client, pk=pk))


def _edit(request: HttpRequest, one: Client | None) -> HttpResponse:
    name = one.name if one else ""
    form = ClientForm(request.POST or None, instance=one)
    if request.method == "POST" and form.is_valid():
        saved = form.save()
        messages.info(request, _("%(client)s is saved.") % {"client": saved})
        return redirect("staff_client", saved.pk)
    return render(request, "staff/client_form.html", {"section": "clients", "form": form, "client": one, "name": name})
