from django.db import migrations, models

from invoicing import chain

#: What is written down at issue stays. Only whoever owns the tables can take the triggers off, in a migration.
FREEZE = """
CREATE FUNCTION invoicing_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: issued documents never change; correct them with a credit note',
        TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
"""
FROZEN = ["invoicing_invoice", "invoicing_line", "invoicing_billedperiod"]


class Migration(migrations.Migration):
    dependencies = [("invoicing", "0003_lines_hold_their_version")]

    operations = [
        migrations.AddField(
            model_name="series",
            name="last_digest",
            field=models.CharField(default=chain.START, max_length=64),
        ),
        migrations.AddField(
            model_name="invoice",
            name="digest",
            field=models.CharField(
                default="", help_text="Of its content and of the document before it in the series.", max_length=64
            ),
            preserve_default=False,
        ),
        migrations.RunSQL(FREEZE, "DROP FUNCTION invoicing_refuse_change()"),
        *(
            migrations.RunSQL(
                f"CREATE TRIGGER {table}_is_frozen BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW"
                f" EXECUTE FUNCTION invoicing_refuse_change();"
                f"CREATE TRIGGER {table}_is_kept BEFORE TRUNCATE ON {table} FOR EACH STATEMENT"
                f" EXECUTE FUNCTION invoicing_refuse_change();",
                f"DROP TRIGGER {table}_is_frozen ON {table}; DROP TRIGGER {table}_is_kept ON {table};",
            )
            for table in FROZEN
        ),
    ]
