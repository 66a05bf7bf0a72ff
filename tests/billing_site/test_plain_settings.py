"""Settings are read as plain attributes, and are what they were."""

import sys

import pytest
from django.conf import settings
from django.test import override_settings


def test_a_setting_that_was_read_is_found_without_a_call():
    assert settings.SITE_NAME == settings.SITE_NAME
    called = []
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_qualname) if event == "call" else None)
    try:
        _ = settings.SITE_NAME
    finally:
        sys.setprofile(None)
    assert called == []


def test_what_is_set_for_a_while_is_seen_and_then_is_not():
    before = settings.SITE_NAME
    with override_settings(SITE_NAME="Another"):
        assert settings.SITE_NAME == "Another"
        with override_settings(SITE_NAME="A third"):
            assert settings.SITE_NAME == "A third"
        assert settings.SITE_NAME == "Another"
    assert before == settings.SITE_NAME


def test_one_that_there_is_not_is_refused_by_name():
    with pytest.raises(AttributeError, match="NO_SUCH_SETTING"):
        _ = settings.NO_SUCH_SETTING
    with override_settings():
        del settings.SITE_NAME
        with pytest.raises(AttributeError):
            _ = settings.SITE_NAME
    assert settings.SITE_NAME


def test_the_settings_still_say_what_they_are():
    assert settings.configured
    assert "SITE_NAME" in dir(settings)
    assert "LazySettings" in repr(settings) or "UserSettingsHolder" in repr(settings)
