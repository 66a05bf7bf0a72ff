from django.db import migrations

# Every three letters in a row of a text, in lower case: what an index needs to find a text inside of others. In
# plain SQL, so that it works on every PostgreSQL, without an extension.
PARTS = """
CREATE FUNCTION metering_parts(text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ARRAY(SELECT substr(lower($1), n, 3) FROM generate_series(1, length($1) - 2) AS n)
"""


class Migration(migrations.Migration):
    dependencies = [("metering", "0005_pushed_usage")]

    operations = [
        migrations.RunSQL(PARTS, "DROP FUNCTION metering_parts(text)"),
        migrations.RunSQL(
            'CREATE INDEX tenants_by_key ON metering_tenant ((lower(key)) COLLATE "C")', "DROP INDEX tenants_by_key"
        ),
        migrations.RunSQL(
            "CREATE INDEX tenants_by_part ON metering_tenant USING gin (metering_parts(key))",
            "DROP INDEX tenants_by_part",
        ),
        migrations.RunSQL(
            "CREATE INDEX collections_held ON metering_collection (server_id, id DESC) WHERE status = 'held'",
            "DROP INDEX collections_held",
        ),
        migrations.RunSQL("ANALYZE metering_tenant", migrations.RunSQL.noop),
    ]
