from django.db import migrations


class Migration(migrations.Migration):
    """Documents got their digests here. 0011 writes them anew, and those that have none yet too."""

    dependencies = [("invoicing", "0005_corrections_and_decisions")]

    operations = []
