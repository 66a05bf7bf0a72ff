"""The configuration says what is wrong with it."""

import pytest
from django.test import override_settings

from billing_site import checks

CONSOLE = "django.core.mail.backends.console.EmailBackend"


def test_what_is_right_is_not_mentioned():
    assert [*checks.field_keys(), *checks.currency(), *checks.queue()] == []


@pytest.mark.parametrize(
    ("values", "check", "found"),
    [
        ({"FIELD_KEYS": ["short"]}, checks.field_keys, "tallyport.E001"),
        ({"DEFAULT_CURRENCY": "Dollar"}, checks.currency, "tallyport.E002"),
        ({"Q_CLUSTER": {"timeout": 60, "retry": 60}}, checks.queue, "tallyport.E003"),
        ({"ALLOWED_HOSTS": ["localhost"]}, checks.hosts, "tallyport.E004"),
        ({"SELLER_ADDRESS": ""}, checks.seller, "tallyport.W004"),
        ({"EMAIL_BACKEND": CONSOLE, "SITE_ADDRESS": "https://a.test"}, checks.mail, "tallyport.W005"),
        ({"EMAIL_BACKEND": "smtp", "SITE_ADDRESS": "http://localhost:8000"}, checks.mail, "tallyport.W006"),
    ],
)
def test_what_is_wrong_is_said_with_a_hint(values, check, found):
    with override_settings(**values):
        (message,) = check()
    assert message.id == found
    assert message.hint
