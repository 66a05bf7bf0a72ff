from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("billing_site", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Tick",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("doubted_at", models.DateTimeField(help_text="What the clock said when it was not believed.", null=True)),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="there_is_one_tick")],
            },
        ),
    ]
