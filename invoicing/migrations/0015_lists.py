from django.db import migrations


def index(name: str, what: str) -> migrations.RunSQL:
    return migrations.RunSQL(f"CREATE INDEX {name} ON {what}", f"DROP INDEX {name}")


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0014_what_is_left_to_pay")]

    operations = [
        index("invoices_by_day", "invoicing_invoice (issued_on DESC, number DESC)"),
        index("credit_notes_by_day", "invoicing_invoice (issued_on DESC, number DESC) WHERE kind = 'credit_note'"),
        index("messages_by_address", 'invoicing_message ((lower("to")) COLLATE "C")'),
        index("messages_by_day_sent", "invoicing_message (sent_at DESC) WHERE sent_at IS NOT NULL"),
    ]
