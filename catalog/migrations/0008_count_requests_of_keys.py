from django.db import migrations, models
from django.db.migrations import RunSQL

from audit.operations import audited

TABLE, PART_OF = "catalog_apikey", {"client_id": "catalog_client"}
BEFORE = audited(TABLE, secret=["digest"], left_out=["last_used_at"], part_of=PART_OF)


class Migration(migrations.Migration):
    dependencies = [("catalog", "0007_view_as_client"), ("audit", "0002_what_is_logged")]

    operations = [
        migrations.AddField("apikey", "window_started_at", models.DateTimeField(null=True)),
        migrations.AddField("apikey", "window_requests", models.PositiveIntegerField(default=0)),
        RunSQL(BEFORE.reverse_sql, BEFORE.sql),
        # Every request counts itself in these: it costs the log not even a call.
        audited(
            TABLE,
            secret=["digest"],
            left_out=["last_used_at", "window_started_at", "window_requests"],
            only=[
                *("client_id", "name", "begins_with", "digest", "created_at", "created_by_id"),
                *("expires_at", "revoked_at", "revoked_by_id"),
            ],
            part_of=PART_OF,
        ),
    ]
