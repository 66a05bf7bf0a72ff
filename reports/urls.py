"""Staff pages of reports, each with its CSV."""

from django.urls import path

from reports import views

_CSV = {"as_csv": True}

urlpatterns = [
    path("", views.index, name="staff_reports"),
    path("revenue/", views.show_revenue, name="staff_report_revenue"),
    path("revenue.csv", views.show_revenue, _CSV, name="staff_report_revenue_csv"),
    path("growth/", views.show_growth, name="staff_report_growth"),
    path("growth.csv", views.show_growth, _CSV, name="staff_report_growth_csv"),
    path("prices/", views.show_prices, name="staff_report_prices"),
    path("prices.csv", views.show_prices, _CSV, name="staff_report_prices_csv"),
    path("outgrown/", views.show_outgrown, name="staff_report_outgrown"),
    path("outgrown.csv", views.show_outgrown, _CSV, name="staff_report_outgrown_csv"),
]
