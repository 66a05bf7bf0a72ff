"""The API of the site, `/api/v1/…`, described at `/api/v1/openapi.json`."""

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from catalog.api import router as pricing
from invoicing.api import router as services
from invoicing.client_api import router as client
from invoicing.client_auth import TooMany
from invoicing.payment_api import router as payments
from metering.api import NoKey
from metering.api import router as usage

# A page of documentation would load its scripts from elsewhere.
api = NinjaAPI(title="Tallyport", version="1", urls_namespace="api", docs_url=None)
api.add_router("", pricing)
api.add_router("", services)
api.add_router("", usage)
api.add_router("", client)
api.add_router("", payments)


@api.exception_handler(ValidationError)
def _not_valid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Say the first thing that is wrong as every refusal is said: the field and the reason."""
    first = error.errors[0]
    field = ".".join(str(part) for part in first["loc"][2:]) or str(first["loc"][-1])
    return api.create_response(request, {"error": f"{field}: {first['msg']}"}, status=422)


@api.exception_handler(HttpError)
def _refused(request: HttpRequest, error: HttpError) -> HttpResponse:
    """Keep to the one shape of a refusal."""
    said = "Sign in first." if isinstance(error, AuthenticationError) else str(error)
    response = api.create_response(request, {"error": said}, status=error.status_code)
    if isinstance(error, NoKey):
        response["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooMany):
        response["Retry-After"] = str(error.seconds)
    return response
