"""Staff pages about products and their prices."""

from django.urls import path

from catalog import pricing_views, views

urlpatterns = [
    path("products/", views.products, name="staff_products"),
    path("products/<int:pk>/metrics/", views.product_metrics, name="staff_product_metrics"),
    path("products/<int:pk>/metrics/<int:metric>/pricing/", pricing_views.pricing, name="staff_pricing"),
    path(
        "products/<int:pk>/metrics/<int:metric>/pricing/<int:number>/withdraw/",
        pricing_views.withdraw,
        name="staff_pricing_withdraw",
    ),
]
