import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0003_when_a_service_is_billed"),
        ("invoicing", "0011_statements"),
    ]

    operations = [
        migrations.AlterField(
            model_name="claim",
            name="service",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name="claims", to="catalog.service"
            ),
        ),
        migrations.AlterField(
            model_name="invoice",
            name="client",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="invoices",
                to="catalog.client",
            ),
        ),
        migrations.AlterField(
            model_name="invoice",
            name="credits",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="credit_notes",
                to="invoicing.invoice",
            ),
        ),
        migrations.AlterField(
            model_name="invoice",
            name="number",
            field=models.CharField(max_length=40),
        ),
        migrations.AlterField(
            model_name="invoice",
            name="run",
            field=models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="issued",
                to="invoicing.run",
            ),
        ),
        migrations.AlterField(
            model_name="invoice",
            name="series",
            field=models.ForeignKey(
                db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, to="invoicing.series"
            ),
        ),
        migrations.AddIndex(
            model_name="invoice",
            index=models.Index(
                condition=models.Q(("credits__isnull", False)), fields=["credits"], name="credit_notes_of_an_invoice"
            ),
        ),
        migrations.AddConstraint(
            model_name="invoice",
            constraint=models.UniqueConstraint(fields=("number",), name="numbers_are_unique"),
        ),
    ]
