from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("catalog", "0009_claimed_tenants")]

    operations = [
        migrations.AddIndex(
            "service",
            models.Index(
                fields=["product", "cycle", "client"],
                name="living_services_by_product",
                condition=~Q(status__in=["terminated", "cancelled"]),
            ),
        ),
    ]
