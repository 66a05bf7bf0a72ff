import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.functions.datetime
from django.db import migrations, models

import audit.models

# What an entry's digest is made of. `audit.sealing` computes it again, by a text of its own.
COMPLETE = """
CREATE FUNCTION audit_complete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.at := clock_timestamp();
    NEW.transaction := pg_current_xact_id()::text::bigint;
    NEW.digest := encode(sha256(convert_to(jsonb_build_array(
        NEW.id, to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), NEW.transaction, NEW.what, NEW."table",
        NEW.key, NEW.about, NEW.changes, NEW.actor_id, NEW.actor, NEW.source, NEW.path
    )::text, 'UTF8')), 'hex');
    RETURN NEW;
END $$;
CREATE TRIGGER audit_entry_is_complete BEFORE INSERT ON audit_entry FOR EACH ROW EXECUTE FUNCTION audit_complete();
"""

# Arguments: the secret columns, those that are left out, and `column=table` of what the row is a part of, each
# separated by commas.
WRITE = """
CREATE FUNCTION audit_write() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before jsonb := '{}';
    after jsonb := '{}';
    changes jsonb;
    about text[];
    number text := '';
BEGIN
    IF TG_LEVEL = 'ROW' THEN
        IF TG_OP <> 'INSERT' THEN
            before := to_jsonb(OLD) - string_to_array(TG_ARGV[1], ',');
        END IF;
        IF TG_OP <> 'DELETE' THEN
            after := to_jsonb(NEW) - string_to_array(TG_ARGV[1], ',');
        END IF;
        SELECT jsonb_object_agg(name, CASE
                WHEN name = ANY (string_to_array(TG_ARGV[0], ',')) THEN '"secret"'
                ELSE jsonb_build_array(before -> name, after -> name) END)
            INTO changes FROM jsonb_object_keys(before || after) AS each (name)
            WHERE coalesce(before -> name, 'null') <> coalesce(after -> name, 'null');
        IF changes IS NULL THEN
            RETURN NULL;
        END IF;
        number := coalesce(after ->> 'id', before ->> 'id');
        SELECT array_agg(DISTINCT name) INTO about FROM (
            SELECT TG_TABLE_NAME || ':' || number
            UNION ALL
            SELECT split_part(part, '=', 2) || ':' || (side.values ->> split_part(part, '=', 1))
                FROM unnest(string_to_array(TG_ARGV[2], ',')) AS part, (VALUES (before), (after)) AS side (values)
        ) AS named (name) WHERE name IS NOT NULL;
    END IF;
    INSERT INTO audit_entry (what, "table", key, about, changes, actor_id, actor, source, path) VALUES (
        lower(TG_OP), TG_TABLE_NAME, number, coalesce(about, '{}'), coalesce(changes, '{}'),
        nullif(current_setting('tallyport.actor', true), '')::bigint,
        coalesce(current_setting('tallyport.actor_name', true), ''),
        coalesce(current_setting('tallyport.source', true), ''),
        coalesce(current_setting('tallyport.path', true), '')
    );
    RETURN NULL;
END $$;
"""

REFUSE = """
CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: what was logged stays', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
"""
KEPT = ["audit_entry", "audit_seal"]


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Entry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ("transaction", models.BigIntegerField(db_default=0, editable=False)),
                (
                    "what",
                    models.CharField(
                        choices=[
                            ("insert", "added"),
                            ("update", "changed"),
                            ("delete", "deleted"),
                            ("truncate", "all deleted"),
                            ("login", "signed in"),
                            ("login_failed", "sign-in failed"),
                            ("logout", "signed out"),
                            ("refused", "refused"),
                            ("view_as_began", "views as client"),
                            ("view_as_ended", "stopped viewing as client"),
                        ],
                        max_length=20,
                    ),
                ),
                ("table", models.CharField(blank=True, db_default="", max_length=100)),
                ("key", models.CharField(blank=True, db_default="", max_length=100)),
                (
                    "about",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), default=list, size=None
                    ),
                ),
                ("changes", models.JSONField(decoder=audit.models.Exactly, default=dict)),
                ("actor_id", models.BigIntegerField(help_text="The user; none for the site itself.", null=True)),
                (
                    "actor",
                    models.CharField(
                        blank=True, db_default="", help_text="What they were called then.", max_length=300
                    ),
                ),
                ("source", models.CharField(blank=True, db_default="", max_length=20)),
                ("path", models.CharField(blank=True, db_default="", max_length=300)),
                ("digest", models.CharField(blank=True, db_default="", editable=False, max_length=64)),
            ],
            options={
                "verbose_name_plural": "entries",
                "ordering": ["-at", "-id"],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["at", "id"], name="entries_in_order"),
                    models.Index(fields=["actor_id", "at", "id"], name="entries_of_a_person"),
                    models.Index(fields=["table", "at", "id"], name="entries_of_a_table"),
                    models.Index(fields=["transaction"], name="entries_made_together"),
                    django.contrib.postgres.indexes.GinIndex(fields=["about"], name="entries_about_a_thing"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Seal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ("through", models.BigIntegerField(unique=True)),
                ("entries", models.PositiveIntegerField()),
                ("digest", models.CharField(max_length=64)),
            ],
            options={
                "ordering": ["id"],
                "default_permissions": (),
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("entries__gt", 0)), name="seal_is_of_something")
                ],
            },
        ),
        # What a person may not forget to fill in when they write by hand.
        migrations.RunSQL(
            "ALTER TABLE audit_entry ALTER about SET DEFAULT '{}', ALTER changes SET DEFAULT '{}'", migrations.RunSQL.noop
        ),
        migrations.RunSQL(COMPLETE, "DROP TRIGGER audit_entry_is_complete ON audit_entry; DROP FUNCTION audit_complete()"),
        migrations.RunSQL(WRITE, "DROP FUNCTION audit_write()"),
        migrations.RunSQL(REFUSE, "DROP FUNCTION audit_refuse_change()"),
        *(
            migrations.RunSQL(
                f"CREATE TRIGGER {table}_is_frozen BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW"
                f" EXECUTE FUNCTION audit_refuse_change();"
                f"CREATE TRIGGER {table}_is_kept BEFORE TRUNCATE ON {table} FOR EACH STATEMENT"
                f" EXECUTE FUNCTION audit_refuse_change();",
                f"DROP TRIGGER {table}_is_frozen ON {table}; DROP TRIGGER {table}_is_kept ON {table};",
            )
            for table in KEPT
        ),
    ]
