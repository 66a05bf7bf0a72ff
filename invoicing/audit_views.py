"""Staff pages of the audit log: what happened to money and access, who did it, one entry, and all as a table."""

from collections.abc import Iterator
from datetime import date
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from audit import reading
from audit.models import Entry, Seal, reference
from audit.names import KINDS, Names
from audit.reading import ACCESS, SITE, Choice, as_number
from audit.telling import Change, tell
from catalog.models import Client, Product, Service, User
from invoicing import timelines
from invoicing.models import Invoice
from invoicing.spreadsheet import as_csv, as_text
from metering import lookup
from metering.access import staff
from metering.models import Server, Tenant

#: How many things of each kind are found by what they are called.
FOUND = 50


@require_GET
@staff("audit.view_entry")
def entries(request: HttpRequest) -> HttpResponse:
    """What happened, and who did it?"""
    choice, problem = _chosen(request)
    before = as_number(request.GET.get("before"))
    rows, older = choice.page(before)
    about = request.GET.get("about", "")[:100].replace("\0", "")
    kept = request.GET.copy()
    kept.pop("before", None)
    return render(
        request,
        "staff/audit.html",
        {
            "section": "audit",
            "told": tell(rows),
            "older": older,
            "is_first": before is None,
            "kept": kept.urlencode(),
            "is_chosen": any(value for name, value in kept.items()),
            "problem": problem,
            "query": lookup.cleaned(request.GET.get("q")),
            "about": about,
            "about_name": Names([about]).of(about) if about else "",
            "who": choice.who,
            "people": _people(choice.who),
            "kind": choice.kind,
            "kinds": reading.tables(KINDS.items()),
            "day": choice.day.isoformat() if choice.day else "",
        },
    )


@require_GET
@staff("audit.view_entry")
def entry(request: HttpRequest, pk: int) -> HttpResponse:
    """What exactly was changed, and what with it?"""
    one = get_object_or_404(Entry, pk=pk)
    near = reading.together(one) if one.is_of_row else [one]
    told = {each.entry.pk: each for each in tell([one, *(each for each in near if each.pk != one.pk)])}
    own = told.pop(one.pk)
    context = {
        "section": "audit",
        "one": own,
        "together": sorted(told.values(), key=lambda each: each.entry.pk),
        "seal": Seal.objects.filter(through__gte=one.pk).order_by("through").first(),
    }
    return render(request, "staff/audit_entry.html", context)


@require_GET
@staff("audit.view_entry")
def entries_csv(request: HttpRequest) -> StreamingHttpResponse:
    """All entries that are chosen, as a table."""
    choice, _problem = _chosen(request)
    response = StreamingHttpResponse(as_csv(_rows(choice)), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="audit-log.csv"'
    return response


def _rows(choice: Choice) -> Iterator[tuple[Any, ...]]:
    yield (
        *(_("Entry"), _("Time (UTC)"), _("Who"), _("User"), _("By way of"), _("Address")),
        *(_("What"), _("Kind"), _("Row"), _("Sentence"), _("Changes"), _("Digest")),
    )
    for part in choice.parts():
        for told in tell(part, with_pages=False):
            one = told.entry
            yield (
                *(one.pk, f"{one.at:%Y-%m-%dT%H:%M:%S.%fZ}", as_text(told.who), one.actor_id or "", told.source),
                *(as_text(one.path), one.what, told.kind, one.key, as_text(told.sentence)),
                *(as_text("; ".join(map(_in_a_cell, told.changes))), one.digest),
            )


def _in_a_cell(change: Change) -> str:
    if change.is_secret:
        return _("%(field)s changed, and is not kept") % {"field": change.field}
    before, after = (
        "" if value is None else f"{value} {change.currency}".rstrip() for value in (change.before, change.after)
    )
    return f"{change.field}: {before} → {after}"


def _chosen(request: HttpRequest) -> tuple[Choice, str]:
    """Read what the address asks for, and say what of it cannot be read."""
    asked = request.GET
    who, kind, day, problem = asked.get("who", ""), asked.get("kind", ""), None, ""
    if asked.get("day"):
        day = _day(asked["day"])
        problem = "" if day else _("Enter a day such as 2026-11-19.")
    things: tuple[str, ...] | None = None
    if asked.get("about"):
        about = asked["about"][:100].replace("\0", "")
        things = (about, *timelines.parts_of(about))
    elif query := lookup.cleaned(asked.get("q")):
        things = tuple(_things(query))
    return Choice(
        who=who if who == SITE or as_number(who) else "",
        kind=kind if kind == ACCESS or kind in KINDS else "",
        day=day,
        things=things,
    ), problem


def _day(text: str) -> date | None:
    """Read a day of this millennium: at the ends of the calendar there is no midnight in every time zone."""
    try:
        day = parse_date(text)
    except ValueError:
        return None
    return day if day and 2000 <= day.year < 3000 else None


def _things(text: str) -> Iterator[str]:
    """Name what is called so."""
    for rows, names in (
        (Client.objects.all(), ("name",)),
        (Service.objects.all(), ("name",)),
        (Tenant.objects.all(), ("key",)),
        (Invoice.objects.defer("seller", "buyer"), ("number",)),
    ):
        yield from map(reference, lookup.best(rows, names, text, FOUND))
    # There are few of these, so that no index is needed.
    yield from map(reference, Product.objects.filter(name__icontains=text)[:FOUND])
    yield from map(reference, Server.objects.defer("credentials", "settings").filter(name__icontains=text)[:FOUND])
    yield from map(reference, User.objects.filter(email__icontains=text)[:FOUND])
    yield from map(reference, User.objects.filter(name__icontains=text)[:FOUND])


def _people(who: str) -> list[AbstractBaseUser]:
    """Whom to choose from: staff, and whoever is chosen already."""
    people = User.objects.filter(is_staff=True)
    if number := as_number(who):
        people = people | User.objects.filter(pk=number)
    return list(people.order_by("name", "email")[:200])
