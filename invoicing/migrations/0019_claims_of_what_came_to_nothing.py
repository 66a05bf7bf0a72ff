from django.db import migrations

#: What came to nothing before this was known: by the first claim after it that made no invoice, of the product, the
#: client and the currency that the service has.
FILL = """
UPDATE invoicing_claim c SET product_id = s.product_id, client_id = s.client_id, currency = k.currency
FROM catalog_service s JOIN catalog_client k ON k.id = s.client_id
WHERE s.id = c.service_id AND c.invoice_id IS NULL;

ALTER TABLE invoicing_billedperiod DISABLE TRIGGER invoicing_billedperiod_is_frozen;
UPDATE invoicing_billedperiod b SET claim_id = (
    SELECT c.id FROM invoicing_claim c
    WHERE c.service_id = b.service_id AND c.invoice_id IS NULL
        AND (c.term_start >= b."end" OR (b.is_open AND c.term_start >= b.start))
    ORDER BY c.term_start LIMIT 1
) WHERE b.line_id IS NULL;
ALTER TABLE invoicing_billedperiod ENABLE TRIGGER invoicing_billedperiod_is_frozen;

INSERT INTO metering_restated (tenant_id, metric_id, start, noted_at)
SELECT DISTINCT b.tenant_id, b.metric_id, b.start, d.since
FROM invoicing_difference d
JOIN catalog_metricsetting m ON m.id = d.setting_id
JOIN invoicing_billedperiod b ON b.service_id = d.service_id AND b.metric_id = m.metric_id AND b.line_id IS NULL
WHERE d.line_id IS NULL
ON CONFLICT DO NOTHING;
DELETE FROM invoicing_difference WHERE line_id IS NULL;
"""


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0018_what_came_to_nothing"), ("metering", "0008_name_the_models")]

    operations = [migrations.RunSQL(FILL, migrations.RunSQL.noop)]
