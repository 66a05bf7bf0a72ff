"""No page of a logged-in user is kept by a browser or a proxy, and none may use what it has no need of."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
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
