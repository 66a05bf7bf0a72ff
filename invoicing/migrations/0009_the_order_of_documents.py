from django.db import migrations, models
from django.db.models import Func, Value


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0008_unchecked_references")]

    operations = [
        migrations.RunSQL("CREATE SEQUENCE invoicing_entry", "DROP SEQUENCE IF EXISTS invoicing_entry"),
        migrations.AddField(
            model_name="invoice",
            name="entry",
            field=models.BigIntegerField(
                db_default=Func(Value("invoicing_entry"), function="nextval"),
                editable=False,
                help_text="The order in which documents of all series were written, whatever the clock said.",
            ),
        ),
        migrations.RunSQL(
            "ALTER SEQUENCE invoicing_entry OWNED BY invoicing_invoice.entry", migrations.RunSQL.noop
        ),
    ]
