from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("catalog", "0006_search")]

    operations = [
        migrations.AlterModelOptions(
            name="client",
            options={
                "ordering": ["name"],
                "permissions": [("view_as_client", "Can see the portal as a client does")],
            },
        ),
    ]
