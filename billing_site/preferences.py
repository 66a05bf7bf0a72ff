"""In which language and time zone a person reads a page."""

from collections.abc import Callable
from datetime import tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.contrib.auth.middleware import get_user
from django.http import HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers

View = Callable[[HttpRequest], HttpResponse]


def follow_the_person(get_response: View) -> View:
    """Use the user's language and time zone; else what the cookie or the browser asks for, and the site's."""

    def respond(request: HttpRequest) -> HttpResponse:
        # From here on the user itself: to ask one that is lazy takes longer, and a page asks fifty times.
        user = request.user = get_user(request)
        chosen, zone = (user.language, user.time_zone) if user.is_authenticated else ("", "")
        language = chosen if chosen in dict(settings.LANGUAGES) else translation.get_language_from_request(request)
        with translation.override(language), timezone.override(_zone(zone)):
            response = get_response(request)
            response.headers.setdefault("Content-Language", language)
        if language != chosen:
            patch_vary_headers(response, ["Accept-Language"])
        return response

    return respond


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else timezone.get_default_timezone()
    except (ZoneInfoNotFoundError, ValueError):
        return timezone.get_default_timezone()
