from django.db import migrations


def index(name: str, what: str) -> migrations.RunSQL:
    return migrations.RunSQL(f"CREATE INDEX {name} ON {what}", f"DROP INDEX {name}")


class Migration(migrations.Migration):
    dependencies = [("catalog", "0005_people_and_languages"), ("metering", "0006_search")]

    operations = [
        index("clients_by_name", 'catalog_client ((lower(name)) COLLATE "C", id)'),
        index("clients_by_part_of_name", "catalog_client USING gin (metering_parts(name))"),
        index("clients_by_email", 'catalog_client ((lower(email)) COLLATE "C")'),
        index("clients_by_part_of_email", "catalog_client USING gin (metering_parts(email))"),
        index("clients_by_currency", 'catalog_client (currency, (lower(name)) COLLATE "C", id)'),
        index("users_by_email", 'catalog_user ((lower(email)) COLLATE "C")'),
        index("users_by_part_of_email", "catalog_user USING gin (metering_parts(email))"),
        index("users_by_name", 'catalog_user ((lower(name)) COLLATE "C")'),
        index("users_by_part_of_name", "catalog_user USING gin (metering_parts(name))"),
        index("users_of_staff", "catalog_user (email) WHERE is_staff"),
        index("services_by_name", 'catalog_service ((lower(name)) COLLATE "C", id)'),
        index("services_by_part_of_name", "catalog_service USING gin (metering_parts(name))"),
        # What is frequent is read from the table and what is rare from the index, once the planner knows which is
        migrations.RunSQL("ANALYZE catalog_client, catalog_service, catalog_user", migrations.RunSQL.noop),
    ]
