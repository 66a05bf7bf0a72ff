"""Every address of the site. Staff pages stand before Django's admin, which has the rest of /admin/."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path
from django.utils.translation import gettext_lazy
from django.views.generic import RedirectView
from django_q.models import Failure, OrmQ, Schedule, Success

from billing_site import account_views, browsers, error_views, health, team_views
from billing_site import admin as site_admin
from billing_site.api import api

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
admin.site.site_header = admin.site.site_title = "Tallyport"
admin.site.index_title = gettext_lazy("All records")
# Whoever may edit a schedule may run any function of any installed package.
admin.site.unregister([Schedule, Success, Failure, OrmQ])
site_admin.register()

handler400 = error_views.bad_request
handler429 = account_views.too_many
handler500 = error_views.server_error

urlpatterns = [
    path("", include("invoicing.urls")),
    path("", include("catalog.public_urls")),
    path("api/v1/", api.urls),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("admin/clock/confirm/", health.confirm_clock, name="confirm_clock"),
    path("admin/reports/", include("reports.urls")),
    path("admin/team/", team_views.page, name="staff_team"),
    path("admin/team/invite/", team_views.invite, name="staff_team_invite"),
    path("admin/team/<int:pk>/role/", team_views.set_role, name="staff_team_role"),
    path("admin/team/<int:pk>/deactivate/", team_views.deactivate, name="staff_team_deactivate"),
    path("admin/team/<int:pk>/activate/", team_views.activate, name="staff_team_activate"),
    path("admin/team/invitations/<int:invitation>/revoke/", team_views.revoke, name="staff_team_revoke"),
    path("admin/team/invitations/<int:invitation>/again/", team_views.again, name="staff_team_again"),
    path("admin/", include("invoicing.staff_urls")),
    path("admin/", include("catalog.urls")),
    path("admin/", include("metering.urls")),
    path("admin/records/", admin.site.index, name="staff_records"),
    # One page changes a password, which ends the other sessions
    path("admin/password_change/", RedirectView.as_view(pattern_name="account_change_password")),
    path("admin/", admin.site.urls),
    path("account/", include("billing_site.account_urls")),
    path("favicon.ico", browsers.favicon, name="favicon"),
    path("robots.txt", browsers.robots, name="robots"),
]
