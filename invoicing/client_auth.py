"""Who asks the client API: an API key in the header, for so many requests in a minute."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from ninja.errors import HttpError
from ninja.security import HttpBearer

from catalog import api_keys
from catalog.models import ApiKey
from metering.api import NoKey


class NoClientKey(NoKey):
    """The request shows no usable API key."""

    def __init__(self) -> None:
        HttpError.__init__(self, 401, "Send an API key that is not revoked: Authorization: Bearer tpc_…")


class TooMany(HttpError):
    """The key made too many requests in this minute."""

    def __init__(self, seconds: int) -> None:
        super().__init__(429, f"More than {settings.API_REQUESTS_PER_MINUTE} requests in a minute. Wait.")
        self.seconds = seconds


class ApiKeyAuth(HttpBearer):
    """An API key in the header, and nothing else: no cookie opens this, so it works for programs only."""

    openapi_description = "An API key of a client, which its owners make in the portal."

    def __call__(self, request: HttpRequest) -> Any:
        key = super().__call__(request)
        if key is None:
            raise NoClientKey
        return key

    def authenticate(self, request: HttpRequest, token: str) -> ApiKey | None:
        use = api_keys.use(token, at=timezone.now())
        if use is None:
            return None
        if use.requests > settings.API_REQUESTS_PER_MINUTE:
            raise TooMany(use.seconds_left)
        return use.key
