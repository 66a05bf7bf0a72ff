"""Staff pages about services, invoices and runs."""

from django.urls import path

from invoicing import simulation_views, staff

urlpatterns = [
    path("", staff.home, name="staff_home"),
    path("runs/", staff.runs, name="staff_runs"),
    path("invoices/", staff.invoices, name="staff_invoices"),
    path("invoices/<uuid:pk>/", staff.invoice, name="staff_invoice"),
    path("services/", staff.services, name="staff_services"),
    path("services/<uuid:public_id>/", staff.service, name="staff_service"),
    path("services/<uuid:public_id>/refresh/", staff.refresh, name="staff_service_refresh"),
    path("services/<uuid:public_id>/terminate/", staff.terminate, name="staff_service_terminate"),
    path("missing-prices/", staff.missing, name="staff_missing_prices"),
    path("unbilled/", staff.unbilled, name="staff_unbilled"),
    path(
        "products/<int:pk>/metrics/<int:metric>/pricing/simulate/",
        simulation_views.simulate,
        name="staff_pricing_simulate",
    ),
    path("usage-invoicing/", staff.switch_usage_invoicing, name="staff_usage_invoicing"),
]
