"""Staff pages about products and their prices, new services, and other terms for one client."""

from django.urls import path

from catalog import order_views, overage_views, override_views, pricing_views, product_views, views

urlpatterns = [
    path("products/", views.products, name="staff_products"),
    path("products/<int:pk>/", product_views.product, name="staff_product"),
    path("products/<int:pk>/metrics/", views.product_metrics, name="staff_product_metrics"),
    path("products/<int:pk>/overage/", overage_views.terms, name="staff_overage"),
    path("products/<int:pk>/metrics/<int:metric>/pricing/", pricing_views.pricing, name="staff_pricing"),
    path(
        "products/<int:pk>/metrics/<int:metric>/pricing/<int:number>/withdraw/",
        pricing_views.withdraw,
        name="staff_pricing_withdraw",
    ),
    path("services/add/", order_views.add, name="staff_service_add"),
    path("services/<uuid:public_id>/begin/", order_views.begin, name="staff_service_begin"),
    path("services/<uuid:public_id>/metrics/<int:metric>/agreement/", override_views.agreement, name="staff_override"),
    path("services/<uuid:public_id>/agreements/<int:pk>/end/", override_views.end, name="staff_override_end"),
    path(
        "services/<uuid:public_id>/agreements/<int:pk>/withdraw/",
        override_views.withdraw,
        name="staff_override_withdraw",
    ),
]
