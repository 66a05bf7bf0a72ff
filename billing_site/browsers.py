"""What browsers and crawlers ask for by themselves, and what they call themselves."""

from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.views.decorators.http import require_safe

#: The first that is in the text is it: most call themselves by the names of others, too.
_BROWSERS = {"Edg": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
_SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS X": "macOS",
    "Linux": "Linux",
}


def name_of(user_agent: str) -> tuple[str, str]:
    """Return which browser this is and on what, as far as it says: `("Firefox", "Linux")`, else empty."""
    return _first(_BROWSERS, user_agent), _first(_SYSTEMS, user_agent)


def _first(names: dict[str, str], text: str) -> str:
    return next((name for part, name in names.items() if part in text), "")


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(status=301)
    response["Location"] = static("favicon.svg")
    return response


@require_safe
def robots(request: HttpRequest) -> HttpResponse:
    """Nothing here is for a search engine: it is all somebody's."""
    return HttpResponse("User-agent: *\nDisallow: /\n", content_type="text/plain")
