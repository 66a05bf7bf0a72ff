"""The API of the site, `/api/v1/…`, described at `/api/v1/openapi.json`."""

from ninja import NinjaAPI

from catalog.api import router

# A page of documentation would load its scripts from elsewhere.
api = NinjaAPI(title="Tallyport", version="1", urls_namespace="api", docs_url=None)
api.add_router("", router)
