from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("catalog", "0012_name_the_models")]

    operations = [
        migrations.RunSQL(
            'CREATE INDEX services_by_state ON catalog_service (status, (lower(name)) COLLATE "C", id)',
            "DROP INDEX services_by_state",
        ),
    ]
