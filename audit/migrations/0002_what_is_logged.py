from django.db import migrations

from audit.operations import audited

USER, GROUP, CLIENT = "catalog_user", "auth_group", "catalog_client"
PRODUCT, SETTING, SERVICE, SERVER = "catalog_product", "catalog_metricsetting", "catalog_service", "metering_server"
VERSION, OVERRIDE, TERMS = "catalog_pricingversion", "catalog_override", "catalog_overageterms"


class Migration(migrations.Migration):
    dependencies = [
        ("audit", "0001_initial"),
        ("account", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("catalog", "0005_people_and_languages"),
        ("invoicing", "0014_what_is_left_to_pay"),
        ("metering", "0005_pushed_usage"),
        ("mfa", "0003_authenticator_type_uniq"),
    ]

    operations = [
        audited(USER, secret=["password"], left_out=["last_login"]),
        audited("catalog_user_groups", part_of={"user_id": USER, "group_id": GROUP}),
        audited("catalog_user_user_permissions", part_of={"user_id": USER}),
        audited(GROUP),
        audited("auth_group_permissions", part_of={"group_id": GROUP}),
        audited("account_emailaddress", part_of={"user_id": USER}),
        audited("mfa_authenticator", secret=["data"], left_out=["last_used_at"], part_of={"user_id": USER}),
        audited(CLIENT),
        audited("catalog_clientuser", part_of={"client_id": CLIENT, "user_id": USER}),
        audited(
            "catalog_invitation",
            secret=["digest"],
            part_of={"client_id": CLIENT, "group_id": GROUP, "accepted_by_id": USER},
        ),
        audited("catalog_apikey", secret=["digest"], left_out=["last_used_at"], part_of={"client_id": CLIENT}),
        audited(
            "metering_pushkey",
            secret=["digest"],
            left_out=["last_used_at", "window_started_at", "window_requests"],
            only=[
                *("server_id", "name", "begins_with", "digest", "metrics"),
                *("created_at", "created_by_id", "revoked_at", "revoked_by_id"),
            ],
            part_of={"server_id": SERVER},
        ),
        audited(PRODUCT),
        audited("catalog_productprice", part_of={"product_id": PRODUCT}),
        audited(SETTING, part_of={"product_id": PRODUCT}),
        audited("catalog_enabledspan", part_of={"setting_id": SETTING}),
        audited(VERSION, part_of={"setting_id": SETTING}),
        audited("catalog_chargebounds", part_of={"version_id": VERSION}),
        audited("catalog_bracketprice", part_of={"version_id": VERSION}),
        audited(OVERRIDE, part_of={"service_id": SERVICE, "setting_id": SETTING}),
        audited("catalog_overrideprice", part_of={"override_id": OVERRIDE}),
        audited(TERMS, part_of={"product_id": PRODUCT}),
        audited("catalog_overageprice", part_of={"terms_id": TERMS}),
        audited(
            SERVICE,
            # Billing moves these of every service in every term.
            left_out=["next_term", "next_due_on"],
            only=[
                *("public_id", "client_id", "product_id", "tenant_id", "name", "status", "cycle", "anchor"),
                *("bills_monthly", "metered_from", "terminated_on", "created_at"),
            ],
            # Not of its product, whose entries those of thousands of services would hide.
            part_of={"client_id": CLIENT, "tenant_id": "metering_tenant"},
        ),
        audited("invoicing_invoicingspan"),
        audited("invoicing_decision", part_of={"service_id": SERVICE}),
        audited("invoicing_backbilling", part_of={"service_id": SERVICE, "setting_id": SETTING}),
        # Of runs, documents and collections only what a person did.
        audited(
            "invoicing_run",
            what=["INSERT"],
            when="NEW.started_by_id IS NOT NULL",
            left_out=["working_on", "seconds", "amounts", "error"],
        ),
        audited(
            "invoicing_invoice",
            what=["INSERT"],
            when="NEW.run_id IS NULL AND NEW.kind IN ('credit_note', 'replacement')",
            left_out=["seller", "buyer", "digest", "entry"],
            part_of={"client_id": CLIENT, "credits_id": "invoicing_invoice"},
        ),
        audited("invoicing_payment", part_of={"invoice_id": "invoicing_invoice"}),
        audited("invoicing_alert", part_of={"client_id": CLIENT, "service_id": SERVICE, "product_id": PRODUCT}),
        audited(SERVER, secret=["credentials"], left_out=["collected_at"]),
        audited(
            "metering_correction", part_of={"tenant_id": "metering_tenant", "metric_id": "metering_metric"}
        ),
        audited(
            "metering_collection",
            what=["UPDATE"],
            only=["decided_by_id"],
            when="NEW.decided_by_id IS DISTINCT FROM OLD.decided_by_id",
            left_out=["problems", "metrics"],
            part_of={"server_id": SERVER},
        ),
    ]
