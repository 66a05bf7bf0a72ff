import django.core.validators
import django.db.models.deletion
from decimal import Decimal
from django.db import migrations, models

from audit.operations import audited


class Migration(migrations.Migration):

    dependencies = [
        ('catalog', '0010_living_services_by_product'),
        ('audit', '0002_what_is_logged'),
    ]

    operations = [
        migrations.CreateModel(
            name='TaxRate',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='As invoices state it, such as VAT.', max_length=50, verbose_name='name')),
                ('percent', models.DecimalField(decimal_places=3, help_text="Of the sum of an invoice's lines, such as 19 or 8.1. 0 where the client pays none.", max_digits=6, validators=[django.core.validators.MinValueValidator(Decimal('0')), django.core.validators.MaxValueValidator(Decimal('100'))], verbose_name='percent')),
                ('note', models.TextField(blank=True, help_text='What the law wants such an invoice to say, such as “Reverse charge”, in words all clients read.', verbose_name='statement')),
            ],
            options={
                'verbose_name': 'tax rate',
                'verbose_name_plural': 'tax rates',
                'ordering': ['name', '-percent', 'pk'],
                'constraints': [models.CheckConstraint(condition=models.Q(('percent__gte', 0), ('percent__lte', 100)), name='tax_rate_is_a_share'), models.CheckConstraint(condition=models.Q(('name', ''), _negated=True), name='tax_rate_has_a_name')],
            },
        ),
        migrations.AddField(
            model_name='client',
            name='tax_rate',
            field=models.ForeignKey(blank=True, help_text='What is put on its invoices. Empty: prices are what it pays.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='clients', to='catalog.taxrate'),
        ),
        audited('catalog_taxrate'),
    ]
