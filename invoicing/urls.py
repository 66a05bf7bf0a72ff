"""The client portal. Public ids are UUIDs."""

from django.urls import path

from invoicing import (
    account_views,
    alert_views,
    explain_views,
    invitation_views,
    pdf_views,
    people_views,
    portal,
    question_views,
    usage_views,
    viewing_views,
)

urlpatterns = [
    path("", portal.home, name="home"),
    path("services/", portal.services, name="portal_services"),
    path("services/<uuid:public_id>/", portal.service, name="portal_service"),
    path("services/<uuid:public_id>/prices/", portal.prices, name="portal_service_prices"),
    path("services/<uuid:public_id>/usage.csv", usage_views.portal_usage_csv, name="portal_usage_csv"),
    path("services/<uuid:public_id>/metrics/<int:metric>/", usage_views.portal_metric, name="portal_metric"),
    path(
        "services/<uuid:public_id>/metrics/<int:metric>/usage.csv",
        usage_views.portal_metric_csv,
        name="portal_metric_csv",
    ),
    path("invoices/", portal.invoices, name="portal_invoices"),
    path("invoices/<uuid:pk>/", portal.invoice, name="portal_invoice"),
    path("invoices/<uuid:pk>/invoice.pdf", pdf_views.portal_invoice_pdf, name="portal_invoice_pdf"),
    path("invoices/<uuid:pk>/lines.csv", explain_views.portal_lines_csv, name="portal_lines_csv"),
    path("invoices/<uuid:pk>/lines/<uuid:line>/", explain_views.portal_line, name="portal_line"),
    path(
        "invoices/<uuid:pk>/lines/<uuid:line>/periods.csv", explain_views.portal_periods_csv, name="portal_periods_csv"
    ),
    path(
        "invoices/<uuid:pk>/lines/<uuid:line>/readings.csv",
        explain_views.portal_readings_csv,
        name="portal_readings_csv",
    ),
    path(
        "invoices/<uuid:pk>/lines/<uuid:line>/periods/<int:number>/",
        explain_views.portal_period,
        name="portal_period",
    ),
    path("invoices/<uuid:pk>/lines/<uuid:line>/question/", question_views.ask, name="portal_ask"),
    path("questions/<uuid:question>/close/", question_views.close, name="portal_question_close"),
    path("alerts/", alert_views.portal_alerts, name="portal_alerts"),
    path("alerts/budget/<int:client>/", alert_views.new_budget, name="portal_budget_new"),
    path("alerts/<int:pk>/", alert_views.edit_alert, name="portal_alert"),
    path("alerts/<int:pk>/delete/", alert_views.delete_alert, name="portal_alert_delete"),
    path("services/<uuid:public_id>/alerts/new/", alert_views.new_alert, name="portal_alert_new"),
    path("viewing/stop/", viewing_views.stop, name="stop_viewing"),
    path("invitation/", invitation_views.accept, name="accept_invitation"),
    path("invitation/<str:token>/", invitation_views.invitation, name="invitation"),
    path("account/users/", people_views.portal_users, name="portal_client_users"),
    path("account/users/<int:pk>/", people_views.portal_users, name="portal_client_users_of"),
    path("account/users/<int:pk>/invite/", people_views.portal_invite, name="portal_client_invite"),
    path("account/users/<int:pk>/<int:member>/role/", people_views.portal_role, name="portal_client_role"),
    path("account/users/<int:pk>/<int:member>/remove/", people_views.portal_remove, name="portal_client_remove"),
    path(
        "account/users/<int:pk>/invitations/<int:invitation>/revoke/",
        people_views.portal_revoke,
        name="portal_client_revoke",
    ),
    path(
        "account/users/<int:pk>/invitations/<int:invitation>/again/",
        people_views.portal_again,
        name="portal_client_again",
    ),
    path("account/keys/", account_views.portal_keys, name="portal_client_keys"),
    path("account/keys/<int:pk>/", account_views.portal_keys, name="portal_client_keys_of"),
    path("account/keys/<int:pk>/make/", account_views.portal_make_key, name="portal_client_make_key"),
    path("account/keys/<int:pk>/<int:key>/revoke/", account_views.portal_revoke_key, name="portal_client_revoke_key"),
    path("account/client/", account_views.portal_data, name="portal_client_data"),
    path("account/client/<int:pk>/", account_views.portal_data, name="portal_client_data_of"),
]
