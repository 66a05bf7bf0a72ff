"""The tables of which every change is logged.

What a person decides and what touches money or access belongs here. A new one needs its name here and `audited`
of `audit.operations` in a migration; a test refuses a model that is in neither list.
"""

LOGGED = (
    # who may come in, and what they may
    "catalog_user",
    "catalog_user_groups",
    "catalog_user_user_permissions",
    "auth_group",
    "auth_group_permissions",
    "account_emailaddress",
    "mfa_authenticator",
    "catalog_client",
    "catalog_taxrate",
    "catalog_clientuser",
    "catalog_invitation",
    "catalog_apikey",
    "metering_pushkey",
    # what things cost
    "catalog_product",
    "catalog_productprice",
    "catalog_metricsetting",
    "catalog_enabledspan",
    "catalog_pricingversion",
    "catalog_chargebounds",
    "catalog_bracketprice",
    "catalog_override",
    "catalog_overrideprice",
    "catalog_overageterms",
    "catalog_overageprice",
    # what is billed
    "catalog_service",
    "invoicing_invoicingspan",
    "invoicing_decision",
    "invoicing_backbilling",
    "invoicing_run",
    "invoicing_invoice",
    "invoicing_payment",
    "invoicing_alert",
    # where usage comes from
    "metering_server",
    "metering_correction",
    "metering_collection",
)
#: Rows that are so short that all of one is said in a line.
BRIEF = frozenset(
    {
        "catalog_productprice",
        "catalog_chargebounds",
        "catalog_bracketprice",
        "catalog_overrideprice",
        "catalog_overageprice",
        "invoicing_payment",
        "metering_correction",
    }
)
