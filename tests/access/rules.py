"""Who may do what at each address: one line for every name in the URL configuration."""

from dataclasses import dataclass

CLIENT_A = frozenset({"owner", "billing of client", "reader"})
ABLE = frozenset({"owner", "billing of client"})
OWNER = frozenset({"owner"})
STRANGER = frozenset({"other owner"})
VIEWER, SUPPORT, BILLING, PRICING, ADMINISTRATOR = (
    frozenset({f"staff {role}"}) for role in ("viewer", "support", "billing", "pricing", "administrator")
)
STAFF = VIEWER | SUPPORT | BILLING | PRICING | ADMINISTRATOR
NO_ROLE = frozenset({"staff of nothing"})
SIGNED_IN = CLIENT_A | STRANGER | STAFF | NO_ROLE
EVERYBODY = SIGNED_IN | {"nobody"}
MONEY, SELLING, HELPING = BILLING | ADMINISTRATOR, PRICING | ADMINISTRATOR, SUPPORT | ADMINISTRATOR


@dataclass(frozen=True)
class Rule:
    """Who may look (GET) and who may do it (POST); None where the address does not know the method.

    Of what has an owner, strangers are told that it does not exist: `is_own`.
    """

    see: frozenset[str] | None = None
    do: frozenset[str] | None = None
    is_own: bool = False
    #: Not there for anybody who does not come by the link of a mail.
    is_hidden: bool = False


def own(see=None, do=None) -> Rule:
    return Rule(see, do, is_own=True)


PORTAL = {
    "home": Rule(SIGNED_IN),
    "portal_services": Rule(SIGNED_IN),
    "portal_service": own(CLIENT_A),
    "portal_service_prices": own(CLIENT_A),
    "portal_usage_csv": own(CLIENT_A),
    "portal_metric": own(CLIENT_A),
    "portal_metric_csv": own(CLIENT_A),
    "portal_invoices": Rule(SIGNED_IN),
    "portal_invoice": own(CLIENT_A),
    "portal_invoice_pdf": own(CLIENT_A),
    "portal_lines_csv": own(CLIENT_A),
    "portal_line": own(CLIENT_A),
    "portal_periods_csv": own(CLIENT_A),
    "portal_readings_csv": own(CLIENT_A),
    "portal_period": own(CLIENT_A),
    "portal_ask": own(do=ABLE),
    "portal_question_close": own(do=ABLE),
    "portal_alerts": Rule(SIGNED_IN),
    "portal_budget_new": own(ABLE, ABLE),
    "portal_alert": own(ABLE, ABLE),
    "portal_alert_delete": own(do=ABLE),
    "portal_alert_new": own(ABLE, ABLE),
    "stop_viewing": Rule(do=SIGNED_IN),
    "accept_invitation": Rule(EVERYBODY, EVERYBODY, is_hidden=True),
    "invitation": Rule(EVERYBODY),
    "portal_client_users": own(OWNER | STRANGER),
    "portal_client_users_of": own(OWNER),
    "portal_client_invite": own(do=OWNER),
    "portal_client_role": own(do=OWNER),
    "portal_client_remove": own(do=OWNER),
    "portal_client_revoke": own(do=OWNER),
    "portal_client_again": own(do=OWNER),
    "portal_client_keys": own(OWNER | STRANGER),
    "portal_client_keys_of": own(OWNER),
    "portal_client_make_key": own(do=OWNER),
    "portal_client_revoke_key": own(do=OWNER),
    "portal_client_data": own(OWNER | STRANGER, OWNER | STRANGER),
    "portal_client_data_of": own(OWNER, OWNER),
}

PUBLIC = {name: Rule(EVERYBODY) for name in ("price_lists", "price_list", "healthz", "readyz", "favicon", "robots")}

STAFF_PAGES = {
    "staff_home": Rule(STAFF),
    "staff_search": Rule(STAFF),
    "confirm_clock": Rule(do=MONEY),
    # Reports
    "staff_reports": Rule(STAFF),
    "staff_report_revenue": Rule(STAFF),
    "staff_report_revenue_csv": Rule(STAFF),
    "staff_report_growth": Rule(STAFF),
    "staff_report_growth_csv": Rule(STAFF),
    "staff_report_prices": Rule(STAFF),
    "staff_report_prices_csv": Rule(STAFF),
    "staff_report_outgrown": Rule(STAFF),
    "staff_report_outgrown_csv": Rule(STAFF),
    # People
    "staff_team": Rule(ADMINISTRATOR),
    "staff_team_invite": Rule(do=ADMINISTRATOR),
    "staff_team_role": Rule(do=ADMINISTRATOR),
    "staff_team_deactivate": Rule(do=ADMINISTRATOR),
    "staff_team_activate": Rule(do=ADMINISTRATOR),
    "staff_team_revoke": Rule(do=ADMINISTRATOR),
    "staff_team_again": Rule(do=ADMINISTRATOR),
    "staff_audit": Rule(STAFF),
    "staff_audit_csv": Rule(STAFF),
    "staff_audit_entry": Rule(STAFF),
    # Clients
    "staff_clients": Rule(STAFF),
    "staff_client": Rule(STAFF),
    "staff_client_new": Rule(SUPPORT | MONEY, SUPPORT | MONEY),
    "staff_client_edit": Rule(SUPPORT | MONEY, SUPPORT | MONEY),
    "staff_client_users": Rule(STAFF),
    "staff_client_invite": Rule(do=HELPING),
    "staff_client_role": Rule(do=HELPING),
    "staff_client_remove": Rule(do=HELPING),
    "staff_client_revoke": Rule(do=HELPING),
    "staff_client_again": Rule(do=HELPING),
    "staff_client_revoke_key": Rule(do=HELPING),
    "staff_view_as": Rule(do=HELPING),
    # Runs
    "staff_runs": Rule(STAFF, MONEY),
    "staff_run": Rule(STAFF),
    "staff_preview": Rule(STAFF, MONEY),
    "staff_preview_of": Rule(STAFF),
    "staff_preview_decide": Rule(do=MONEY),
    "staff_differences": Rule(STAFF),
    "staff_usage_invoicing": Rule(do=ADMINISTRATOR),
    # Documents
    "staff_invoices": Rule(STAFF),
    "staff_invoice": Rule(STAFF),
    "staff_invoice_pdf": Rule(STAFF),
    "staff_lines_csv": Rule(STAFF),
    "staff_line": Rule(STAFF),
    "staff_periods_csv": Rule(STAFF),
    "staff_readings_csv": Rule(STAFF),
    "staff_period": Rule(STAFF),
    "staff_credit_notes": Rule(STAFF),
    "staff_credit": Rule(MONEY, MONEY),
    "staff_void": Rule(MONEY, MONEY),
    "staff_payment": Rule(MONEY, MONEY),
    "staff_payment_take_back": Rule(do=MONEY),
    "staff_questions": Rule(STAFF),
    "staff_answer": Rule(do=SUPPORT | MONEY),
    "staff_question_close": Rule(do=SUPPORT | MONEY),
    "staff_messages": Rule(STAFF),
    "staff_message": Rule(STAFF),
    "staff_message_html": Rule(STAFF),
    "staff_message_kinds": Rule(STAFF),
    "staff_message_kind_html": Rule(STAFF),
    "staff_message_again": Rule(do=SUPPORT | MONEY),
    "staff_messages_again": Rule(do=SUPPORT | MONEY),
    # Services
    "staff_services": Rule(STAFF),
    "staff_service": Rule(STAFF),
    "staff_metric": Rule(STAFF),
    "staff_metric_csv": Rule(STAFF),
    "staff_service_refresh": Rule(do=SUPPORT | MONEY),
    "staff_service_add": Rule(MONEY, MONEY),
    "staff_service_begin": Rule(MONEY, MONEY),
    "staff_service_terminate": Rule(MONEY, MONEY),
    "staff_service_change": Rule(MONEY, MONEY),
    "staff_service_reactivate": Rule(MONEY, MONEY),
    "staff_left_out": Rule(STAFF, MONEY),
    "staff_service_decide": Rule(do=MONEY),
    "staff_service_bill": Rule(do=MONEY),
    "staff_service_finish": Rule(do=MONEY),
    "staff_service_settle": Rule(do=MONEY),
    "staff_missing_prices": Rule(STAFF),
    "staff_unbilled": Rule(STAFF),
    "staff_unbilled_attach": Rule(MONEY, MONEY),
    # Products and prices
    "staff_products": Rule(STAFF),
    "staff_product": Rule(STAFF),
    "staff_product_metrics": Rule(STAFF, SELLING),
    "staff_product_alerts": Rule(STAFF, MONEY | PRICING),
    "staff_product_alert_delete": Rule(do=MONEY | PRICING),
    "staff_overage": Rule(STAFF, SELLING),
    "staff_pricing": Rule(STAFF, SELLING),
    "staff_pricing_withdraw": Rule(do=SELLING),
    "staff_pricing_simulate": Rule(SELLING, SELLING),
    "staff_override": Rule(SELLING, SELLING),
    "staff_override_end": Rule(do=SELLING),
    "staff_override_withdraw": Rule(do=SELLING),
    # Metering
    "staff_servers": Rule(STAFF),
    "staff_server": Rule(STAFF),
    "staff_server_new": Rule(ADMINISTRATOR, ADMINISTRATOR),
    "staff_server_edit": Rule(ADMINISTRATOR, ADMINISTRATOR),
    "staff_server_test": Rule(do=SUPPORT | MONEY),
    "staff_server_collect": Rule(do=SUPPORT | MONEY),
    "staff_push_key_new": Rule(do=ADMINISTRATOR),
    "staff_push_key_revoke": Rule(do=ADMINISTRATOR),
    "staff_import_new": Rule(do=MONEY),
    "staff_import": Rule(MONEY, MONEY),
    "staff_collections": Rule(STAFF),
    "staff_collection": Rule(STAFF),
    "staff_collection_decide": Rule(do=MONEY),
    "staff_usage": Rule(STAFF),
    "staff_usage_period": Rule(STAFF, MONEY),
}
