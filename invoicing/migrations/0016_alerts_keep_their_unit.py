from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0015_lists")]

    operations = [
        migrations.AddField(
            model_name="alert",
            name="unit_code",
            field=models.CharField(
                blank=True, default="", help_text="Of a quantity; it stays, whatever prices do.", max_length=50
            ),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="alert",
            name="bound",
            field=models.DecimalField(
                decimal_places=6, help_text="In the unit, in percent, or in money.", max_digits=24
            ),
        ),
    ]
