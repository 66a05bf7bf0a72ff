from decimal import Decimal
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0011_tax_rates'),
        ('invoicing', '0016_alerts_keep_their_unit'),
    ]

    operations = [
        migrations.AddField(
            model_name='invoice',
            name='tax',
            field=models.DecimalField(db_default=Decimal('0'), decimal_places=4, default=Decimal('0'), max_digits=16),
        ),
        migrations.AddField(
            model_name='invoice',
            name='tax_name',
            field=models.CharField(blank=True, db_default='', default='', max_length=50),
        ),
        migrations.AddField(
            model_name='invoice',
            name='tax_note',
            field=models.TextField(blank=True, db_default='', default='', help_text='What the law wants it to say of its tax.'),
        ),
        migrations.AddField(
            model_name='invoice',
            name='tax_percent',
            field=models.DecimalField(decimal_places=3, help_text='Of the sum of its lines. Empty: it is not taxed.', max_digits=6, null=True),
        ),
        migrations.AlterField(
            model_name='invoice',
            name='total',
            field=models.DecimalField(decimal_places=4, help_text='What is to be paid, with tax.', max_digits=16),
        ),
        migrations.AddConstraint(
            model_name='invoice',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('tax', 0), ('tax_percent', None)), models.Q(('tax__gte', 0), ('tax__lte', models.F('total')), ('tax_percent__isnull', False)), _connector='OR'), name='invoice_tax_in_bounds'),
        ),
    ]
