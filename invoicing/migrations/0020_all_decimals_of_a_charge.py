from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("invoicing", "0019_claims_of_what_came_to_nothing")]

    operations = [
        # Writes the table anew, as no UPDATE: what is frozen stays the same number, and the chain writes numbers plainly.
        migrations.AlterField("line", "exact", models.DecimalField(max_digits=46, decimal_places=26)),
    ]
