"""What a record and its fields are called can be said in every language, and is no matter for the database."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection, models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override

from billing_site.management.commands.makemigrations import Changes

OURS = ("billing_site", "catalog", "invoicing", "metering", "reports")
LOGGED = "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname ~ 'audit'"


@pytest.mark.django_db
def test_every_field_that_is_listed_or_logged_has_a_name_that_can_be_translated():
    with connection.cursor() as cursor:
        cursor.execute(LOGGED)
        logged = {table for (table,) in cursor.fetchall()}
    shown = [
        model
        for model in apps.get_models()
        if model._meta.app_label in OURS and (model._meta.db_table in logged or model in admin.site._registry)
    ]
    assert len(shown) > 20
    fields = [field for model in shown for field in model._meta.concrete_fields if field.name != "id"]
    assert [str(field) for field in fields if not isinstance(field.verbose_name, Promise)] == []


@pytest.mark.django_db
def test_every_value_that_a_logged_field_may_have_has_a_name_that_can_be_translated():
    with connection.cursor() as cursor:
        cursor.execute(LOGGED)
        logged = {table for (table,) in cursor.fetchall()}
    fields = [
        field
        for model in apps.get_models()
        if model._meta.app_label in OURS and model._meta.db_table in logged
        for field in model._meta.concrete_fields
        if field.name not in {"language", "time_zone", "currency", "unit_code"}  # these are names already
    ]
    said = {(str(field), value): word for field in fields for value, word in field.flatchoices}
    assert len(said) > 20
    assert [value for value, word in said.items() if not isinstance(word, Promise)] == []


def test_every_kind_of_record_has_a_name_that_can_be_translated():
    listed = [model for model in admin.site._registry if model._meta.app_label in OURS]
    assert [str(model) for model in listed if not isinstance(model._meta.verbose_name_plural, Promise)] == []


@pytest.mark.django_db
def test_staff_read_a_record_in_their_language(admin_client):
    with override("de"):
        page = admin_client.get("/admin/catalog/client/add/", headers={"accept-language": "de"}).content.decode()
    assert "Steuernummer:" in page
    assert "›\nKatalog" in page.replace("</a>", "") or ">Katalog<" in page
    assert "Speichern und weiter bearbeiten" in page


def changed(before, after):
    find = Changes.__new__(Changes).deep_deconstruct
    return find(before) != find(after)


def test_a_migration_is_made_for_what_a_field_holds_and_not_for_its_name():
    before = models.CharField(max_length=100)
    assert not changed(before, models.CharField(_("name"), max_length=100, help_text=_("As staff call it: pg-01.")))
    assert changed(before, models.CharField(_("name"), max_length=200))
    assert changed(before, models.CharField(_("name"), max_length=100, null=True))


def test_a_migration_is_made_for_the_values_of_a_field_and_not_for_what_they_are_called():
    before = models.CharField(max_length=9, choices=[("above", "above")])
    assert not changed(before, models.CharField(max_length=9, choices=[("above", _("Above"))]))
    assert changed(before, models.CharField(max_length=9, choices=[("above", _("Above")), ("below", _("Below"))]))
