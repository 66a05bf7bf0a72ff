"""The pages that stand in for one: for what could not be read, what failed, and addresses that only take forms.

They need no database, nobody's session and no request, since any of that may be what failed.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template import loader

View = Callable[[HttpRequest], HttpResponse]


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse(_page("400.html"), status=400)


def server_error(request: HttpRequest) -> HttpResponse:
    return HttpResponse(_page("500.html"), status=500)


def explain_forms_only(get_response: View) -> View:
    """Middleware: give a page to who opens an address that only takes what a button sends.

    People come there when they had to sign in after pressing one.
    """

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if response.status_code == 405 and request.method == "GET" and not response.streaming and not response.content:
            response.content = _page("405.html").encode()
            response.headers["Content-Type"] = "text/html; charset=utf-8"
        return response

    return respond


def _page(name: str) -> str:
    return loader.get_template(name).render({"site_name": settings.SITE_NAME})
