"""The staff's search."""

from typing import cast

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from catalog.models import User
from invoicing import searching
from metering import lookup
from metering.access import staff


@require_safe
@staff("catalog.view_client", "catalog.view_service", "metering.view_tenant", "invoicing.view_invoice")
def search(request: HttpRequest) -> HttpResponse:
    """Where is what I am looking for?"""
    query = lookup.cleaned(request.GET.get("q"))
    is_short = len(query) < searching.SHORTEST and not query.isdecimal()
    groups = [] if is_short else searching.search(cast(User, request.user), query)
    context = {"section": "search", "looked_for": query, "groups": groups, "is_short": is_short}
    return render(request, "staff/search.html", context)
