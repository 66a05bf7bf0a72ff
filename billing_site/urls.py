"""Every address of the site. Staff pages stand before Django's admin, which has the rest of /admin/."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path
from django_q.models import Failure, OrmQ, Schedule, Success

from billing_site.api import api

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.site_header = admin.site.site_title = "Tallyport"
admin.site.index_title = "All records"
# Whoever may edit a schedule may run any function of any installed package.
admin.site.unregister([Schedule, Success, Failure, OrmQ])

urlpatterns = [
    path("", include("invoicing.urls")),
    path("", include("catalog.public_urls")),
    path("api/v1/", api.urls),
    path("admin/", include("invoicing.staff_urls")),
    path("admin/", include("catalog.urls")),
    path("admin/", include("metering.urls")),
    path("admin/records/", admin.site.index, name="staff_records"),
    path("admin/", admin.site.urls),
    path("account/", include("allauth.urls")),
]
