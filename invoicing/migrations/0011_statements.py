from itertools import groupby, islice

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Length

from invoicing import chain
from invoicing.models import WrittenField

#: What the digests of lines were made of before: each line had the unit and the prices themselves.
LINE_BEFORE = (
    *("id", "invoice_id", "position", "kind", "service_id", "setting_id", "version_id", "override_id"),
    *("title", "detail", "start", "end", "quantity", "unit", "pricing", "steps", "levels"),
    *("corrects_id", "credits_id", "before", "settled", "exact", "amount"),
)
BATCH = 500

#: Steps and levels as the text that the chain is made of: keys sorted, without spaces. Steps are flat objects in a
#: list, levels pairs of a day and a number.
WRITE_STEPS = """
CREATE FUNCTION invoicing_written(steps jsonb) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT '[' || coalesce(string_agg(step.text, ',' ORDER BY place), '') || ']'
    FROM jsonb_array_elements(steps) WITH ORDINALITY AS each (value, place)
    CROSS JOIN LATERAL (
        SELECT '{' || string_agg(to_json(key)::text || ':' || value::text, ',' ORDER BY key COLLATE "C") || '}' AS text
        FROM jsonb_each(each.value)
    ) step
$$;
ALTER TABLE invoicing_line
    ALTER steps TYPE text USING invoicing_written(steps),
    ALTER levels TYPE text USING replace(levels::text, ', ', ',');
DROP FUNCTION invoicing_written(jsonb);
"""
FREEZE = """
CREATE TRIGGER invoicing_statement_is_frozen BEFORE UPDATE OR DELETE ON invoicing_statement FOR EACH ROW
    EXECUTE FUNCTION invoicing_refuse_change();
CREATE TRIGGER invoicing_statement_is_kept BEFORE TRUNCATE ON invoicing_statement FOR EACH STATEMENT
    EXECUTE FUNCTION invoicing_refuse_change();
"""
THAW = """
DROP TRIGGER invoicing_statement_is_frozen ON invoicing_statement;
DROP TRIGGER invoicing_statement_is_kept ON invoicing_statement;
"""


class ChangedByForce(Exception):
    """A document is not as it was issued. To chain it anew would hide that."""


def carry_over(apps, schema_editor):
    """Keep what lines state once, and write the chain anew, of documents that are as they were issued."""
    _state_once(apps, schema_editor)
    schema_editor.execute("ALTER TABLE invoicing_invoice DISABLE TRIGGER invoicing_invoice_is_frozen")
    for series in apps.get_model("invoicing", "Series").objects.all():
        series.last_digest = _chain_anew(apps, series)
        series.save(update_fields=["last_digest"])
    schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    schema_editor.execute("ALTER TABLE invoicing_invoice ENABLE TRIGGER invoicing_invoice_is_frozen")


def _state_once(apps, schema_editor):
    lines = apps.get_model("invoicing", "Line").objects
    statements = apps.get_model("invoicing", "Statement").objects
    stated = (
        lines.filter(unit__isnull=False, pricing__isnull=False).order_by().values_list("unit", "pricing").distinct()
    )
    for unit, pricing in stated.iterator(chunk_size=BATCH):
        statements.get_or_create(id=chain.statement(unit, pricing), defaults={"unit": unit, "pricing": pricing})
    schema_editor.execute("ALTER TABLE invoicing_line DISABLE TRIGGER invoicing_line_is_frozen")
    schema_editor.execute(
        "UPDATE invoicing_line l SET statement_id = s.id FROM invoicing_statement s"
        " WHERE l.unit = s.unit AND l.pricing = s.pricing"
    )
    schema_editor.execute("ALTER TABLE invoicing_line ENABLE TRIGGER invoicing_line_is_frozen")


def _chain_anew(apps, series):
    """Return the last digest of a series."""
    invoices = apps.get_model("invoicing", "Invoice").objects
    lines = apps.get_model("invoicing", "Line").objects
    before = after = chain.START
    rows = invoices.filter(series=series).order_by(Length("number"), "number").values().iterator(chunk_size=BATCH)
    while batch := list(islice(rows, BATCH)):
        ids = [invoice["id"] for invoice in batch]
        found = lines.filter(invoice__in=ids).order_by("invoice", "position").values()
        own = {pk: list(group) for pk, group in groupby(found, key=lambda line: line["invoice_id"])}
        for invoice in batch:
            mine = own.get(invoice["id"], [])
            row = chain.row(invoice[name] for name in chain.INVOICE)
            before = chain.link(before, row, [chain.row(line[name] for name in LINE_BEFORE) for line in mine])
            if invoice["digest"] and invoice["digest"] != before:
                raise ChangedByForce(
                    f"{invoice['number']} is not as it was issued. Run verify_billing of the version before this one,"
                    " put back what it names, and migrate again."
                )
            after = chain.digest(after, invoice, mine)
            invoice["digest"] = after
        invoices.bulk_update([invoices.model(**invoice) for invoice in batch], ["digest"])
    return after


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0010_overage")]

    operations = [
        migrations.CreateModel(
            name="Statement",
            fields=[
                ("id", models.CharField(editable=False, max_length=64, primary_key=True, serialize=False)),
                ("unit", models.JSONField()),
                ("pricing", models.JSONField(help_text="The prices as they were.")),
            ],
        ),
        migrations.AddField(
            model_name="line",
            name="statement",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="lines",
                to="invoicing.statement",
            ),
        ),
        migrations.RunPython(carry_over),
        migrations.RunSQL(
            WRITE_STEPS,
            state_operations=[
                migrations.AlterField(model_name="line", name="steps", field=WrittenField(default=list)),
                migrations.AlterField(
                    model_name="line",
                    name="levels",
                    field=WrittenField(
                        help_text="The days of a level that was aggregated, in the base of its unit.", null=True
                    ),
                ),
            ],
        ),
        migrations.RemoveField(model_name="line", name="unit"),
        migrations.RemoveField(model_name="line", name="pricing"),
        migrations.RunSQL(FREEZE, THAW),
    ]
