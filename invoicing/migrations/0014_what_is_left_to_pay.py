from django.db import migrations

# Rows of what is left, kept in step with what they are made from in the same statement. A new invoice is simply
# left to pay; a credit note or a payment moves the row of its invoice, which is locked by that, so that two at once
# wait for each other. A row that came to nothing is taken out.
KEEP = """
CREATE FUNCTION invoicing_receive_invoices() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO invoicing_receivable (invoice_id, client_id, due_on, "left")
        SELECT id, client_id, due_on, total FROM written WHERE kind <> 'credit_note' AND total > 0;
    PERFORM invoicing_settle(array_agg(credits_id), array_agg(-total)) FROM written
        WHERE kind = 'credit_note' HAVING count(*) > 0;
    RETURN NULL;
END $$;

CREATE FUNCTION invoicing_receive_payments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM invoicing_settle(array_agg(invoice_id), array_agg(-amount)) FROM written HAVING count(*) > 0;
    RETURN NULL;
END $$;

CREATE FUNCTION invoicing_settle(ids uuid[], changes numeric[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO invoicing_receivable AS r (invoice_id, client_id, due_on, "left")
        SELECT i.id, i.client_id, i.due_on, sum(c.change)
        FROM unnest(ids, changes) AS c (id, change) JOIN invoicing_invoice i ON i.id = c.id
        GROUP BY i.id, i.client_id, i.due_on ORDER BY i.id
        ON CONFLICT (invoice_id) DO UPDATE SET "left" = r."left" + EXCLUDED."left";
    DELETE FROM invoicing_receivable WHERE invoice_id = ANY (ids) AND "left" = 0;
END $$;

CREATE TRIGGER invoicing_invoice_is_receivable AFTER INSERT ON invoicing_invoice
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION invoicing_receive_invoices();
CREATE TRIGGER invoicing_payment_is_received AFTER INSERT ON invoicing_payment
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION invoicing_receive_payments();

INSERT INTO invoicing_receivable (invoice_id, client_id, due_on, "left")
    SELECT * FROM (
        SELECT i.id, i.client_id, i.due_on,
            i.total - coalesce((SELECT sum(n.total) FROM invoicing_invoice n WHERE n.credits_id = i.id), 0) AS rest
        FROM invoicing_invoice i WHERE i.kind <> 'credit_note'
    ) AS open WHERE rest <> 0;
"""

FORGET = """
DROP TRIGGER invoicing_invoice_is_receivable ON invoicing_invoice;
DROP TRIGGER invoicing_payment_is_received ON invoicing_payment;
DROP FUNCTION invoicing_receive_invoices();
DROP FUNCTION invoicing_receive_payments();
DROP FUNCTION invoicing_settle(uuid[], numeric[]);
"""


def refuse_change(table: str) -> str:
    return f"""
CREATE TRIGGER {table}_is_frozen BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW
    EXECUTE FUNCTION invoicing_refuse_change();
CREATE TRIGGER {table}_is_kept BEFORE TRUNCATE ON {table} FOR EACH STATEMENT
    EXECUTE FUNCTION invoicing_refuse_change();
"""


def allow_change(table: str) -> str:
    return f"DROP TRIGGER {table}_is_frozen ON {table}; DROP TRIGGER {table}_is_kept ON {table};"


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0013_payments_alerts_questions")]

    operations = [
        migrations.RunSQL(KEEP, FORGET),
        *[
            migrations.RunSQL(refuse_change(table), allow_change(table))
            for table in ["invoicing_payment", "invoicing_post"]
        ],
    ]
