from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("metering", "0006_search")]

    operations = [
        migrations.AddField("tenant", "is_claimed", models.BooleanField(db_default=False, editable=False)),
        migrations.AddIndex(
            "tenant",
            models.Index(
                fields=["server", "key"],
                name="tenants_that_nobody_claims",
                condition=Q(is_claimed=False, first_seen_at__isnull=False, missing_since=None),
            ),
        ),
    ]
