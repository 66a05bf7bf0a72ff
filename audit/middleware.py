"""Requests say who makes them."""

from collections.abc import Callable
from dataclasses import asdict

from django.http import HttpRequest, HttpResponse

from audit import log
from audit.actors import AtWork, reading, working

View = Callable[[HttpRequest], HttpResponse]

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def remember_who_is_at_work(get_response: View) -> View:
    """Tell the database who makes a request that may change something, for as long as it lasts; and note who was
    refused a page of the staff area."""

    def respond(request: HttpRequest) -> HttpResponse:
        user = request.user if request.user.is_authenticated else None
        source = "api" if request.path.startswith("/api/") else "page"
        path = request.path.replace("\0", "%00")[:300]  # no column holds a null character
        known = AtWork(user.pk if user else None, str(user or "")[:300], source, path)
        with reading(known) if request.method in SAFE else working(**asdict(known)):
            response = get_response(request)
            if response.status_code == 403 and request.path.startswith("/admin/"):
                log.note_refusal(request)
        return response

    return respond
