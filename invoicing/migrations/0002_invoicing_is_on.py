from datetime import date

from django.db import migrations


def switch_on(apps, schema_editor):
    """A new installation bills usage, from the beginning."""
    apps.get_model("invoicing", "InvoicingSpan").objects.create(start=date(2000, 1, 1))


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0001_initial")]

    operations = [migrations.RunPython(switch_on, migrations.RunPython.noop)]
