"""The client portal. Public ids are UUIDs."""

from django.urls import path

from invoicing import portal

urlpatterns = [
    path("", portal.home, name="home"),
    path("services/", portal.services, name="portal_services"),
    path("services/<uuid:public_id>/", portal.service, name="portal_service"),
    path("invoices/", portal.invoices, name="portal_invoices"),
    path("invoices/<uuid:pk>/", portal.invoice, name="portal_invoice"),
]
