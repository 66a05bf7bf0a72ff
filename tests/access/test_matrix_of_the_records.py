"""Django's admin: every page of every model, for every kind of person, by what their role may."""

import pytest
from django.contrib import admin
from django.test import Client, override_settings
from django.urls import get_resolver, reverse

from tests.access.test_matrix import KINDS
from tests.access.world import world

pytestmark = pytest.mark.django_db


def pages():
    assert get_resolver().url_patterns  # what has no address is taken away when they are loaded
    for model in list(admin.site._registry):
        label = f"{model._meta.app_label}_{model._meta.model_name}"
        yield model, "view", reverse(f"admin:{label}_changelist")
        yield model, "add", reverse(f"admin:{label}_add")


@pytest.mark.parametrize("kind", KINDS)
@override_settings(STAFF_MFA=False)
def test_records_are_for_whom_the_role_lets(kind):
    user, browser = world().users[kind], Client()
    if user is not None:
        browser.force_login(user)
    for model, verb, path in pages():
        may = bool(user and user.is_staff and user.has_perm(f"{model._meta.app_label}.{verb}_{model._meta.model_name}"))
        status = browser.get(path).status_code
        if not may:
            assert status in (302, 403), (kind, path, status)
        elif verb == "view":
            assert status == 200, (kind, path, status)


@override_settings(STAFF_MFA=False)
def test_a_forged_form_of_records_changes_nothing_for_who_only_looks():
    """S4: what the list does not offer cannot be sent either."""
    user, browser = world().users["staff viewer"], Client()
    browser.force_login(user)
    for model, verb, path in pages():
        data = {"action": "delete_selected", "_selected_action": ["1"], "form-TOTAL_FORMS": "1", "_save": "1"}
        before = model.objects.count()
        assert browser.post(path, data).status_code in (200, 302, 403), (verb, path)
        assert model.objects.count() == before


@override_settings(STAFF_MFA=False)
def test_nobody_makes_themselves_more_than_they_are():
    all_of_it = world()
    for kind in KINDS:
        user = all_of_it.users[kind]
        if user is None or kind == "staff administrator":
            continue
        browser = Client()
        browser.force_login(user)
        path = reverse("admin:catalog_user_change", args=[user.pk])
        browser.post(path, {"email": user.email, "is_superuser": "on", "is_staff": "on", "is_active": "on"})
        user.refresh_from_db()
        assert not user.is_superuser
        assert user.is_staff is kind.startswith("staff")
