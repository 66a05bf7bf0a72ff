"""What every page knows."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from billing_site import health


def site(request: HttpRequest) -> dict[str, Any]:
    return {
        "site_name": settings.SITE_NAME,
        "support_email": settings.SUPPORT_EMAIL,
        "time_zone": timezone.get_current_timezone_name(),
        # Asked for only by the page that shows them
        "next_run_at": SimpleLazyObject(health.next_run),
        "site_problems": SimpleLazyObject(lambda: health.problems(at=timezone.now())),
    }
