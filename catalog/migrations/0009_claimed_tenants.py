from django.db import migrations

# A tenant is claimed while a service that is not over has it. It is found out anew for both tenants of a change, since
# one service may give up what another one has got already.
FUNCTION = """
CREATE FUNCTION catalog_claim_tenants() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE metering_tenant t SET is_claimed = NOT t.is_claimed
    WHERE t.id IN (OLD.tenant_id, NEW.tenant_id) AND t.is_claimed <> EXISTS (
        SELECT FROM catalog_service s WHERE s.tenant_id = t.id AND s.status NOT IN ('terminated', 'cancelled'));
    RETURN NULL;
END $$
"""
CHANGED = "OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.status <> NEW.status"
AS_IT_IS = """
UPDATE metering_tenant SET is_claimed = true FROM catalog_service s
WHERE s.tenant_id = metering_tenant.id AND s.status NOT IN ('terminated', 'cancelled')
"""


def trigger(deed: str, when: str) -> migrations.RunSQL:
    name = f"claim_tenants_{deed.split()[0].lower()}"
    return migrations.RunSQL(
        f"CREATE TRIGGER {name} AFTER {deed} ON catalog_service FOR EACH ROW WHEN ({when})"
        " EXECUTE FUNCTION catalog_claim_tenants()",
        f"DROP TRIGGER {name} ON catalog_service",
    )


class Migration(migrations.Migration):
    dependencies = [("catalog", "0008_count_requests_of_keys"), ("metering", "0007_tenants_that_nobody_claims")]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION catalog_claim_tenants()"),
        trigger("INSERT", "NEW.tenant_id IS NOT NULL"),
        # Not what billing moves of every service.
        trigger("UPDATE OF tenant_id, status", CHANGED),
        trigger("DELETE", "OLD.tenant_id IS NOT NULL"),
        migrations.RunSQL(AS_IT_IS, migrations.RunSQL.noop),
    ]
