"""No page of a logged-in user is kept by a browser or a proxy, and none may use what it has no need of."""

from collections.abc import Callable
from functools import cached_property

from csp.constants import HEADER
from csp.middleware import CSPMiddleware
from csp.utils import build_policy
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.cache import patch_cache_control

View = Callable[[HttpRequest], HttpResponse]


def never_store_pages_of_users(get_response: View) -> View:
    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.user.is_authenticated:
            patch_cache_control(response, no_store=True, private=True)
        return response

    return respond


#: What a page may ask a browser for: passkeys, and nothing else.
PERMISSIONS = ", ".join(
    [
        *(f"{name}=()" for name in ("accelerometer", "camera", "geolocation", "gyroscope", "magnetometer")),
        *(f"{name}=()" for name in ("microphone", "midi", "payment", "usb", "browsing-topics")),
        *(f"publickey-credentials-{name}=(self)" for name in ("get", "create")),
    ]
)


def close_what_is_not_used(get_response: View) -> View:
    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response

    return respond


class ContentPolicy(CSPMiddleware):
    """django-csp, which writes the policy anew for each answer: that of the site is written once. A page with a policy
    or a nonce of its own goes its way."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if hasattr(request, "_csp_nonce") or any(name.startswith("_csp") for name in vars(response)):
            return super().process_response(request, response)
        response.headers.setdefault(HEADER, self._of_site)
        return response

    @cached_property
    def _of_site(self) -> str:
        return str(build_policy())
