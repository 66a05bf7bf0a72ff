"""What of a page is the same for everybody is written once, and holds nothing of one of them."""

import pytest
from django.template import Context, Template, TemplateSyntaxError
from django.urls import reverse
from django.utils import translation

from tests.builders import a_client, a_staff_user, a_user


class Counted:
    """How often it was written."""

    def __init__(self):
        self.times = 0

    def __str__(self):
        self.times += 1
        return f"<{self.times}>"


def test_it_is_written_once_for_each_value_that_it_names():
    part = Template("{% load once %}{% once of=which told=told %}{{ of }} {{ told }}{% endonce %}")
    told = Counted()
    assert [part.render(Context({"which": which, "told": told})) for which in ("one", "two", "one")] == [
        "one &lt;1&gt;",
        "two &lt;2&gt;",
        "one &lt;1&gt;",
    ]


def test_it_is_written_in_each_language():
    part = Template('{% load i18n once %}{% once %}{% translate "Invoices" %}{% endonce %}')
    said = []
    for language in ("en", "de", "en"):
        with translation.override(language):
            said.append(part.render(Context()))
    assert said == ["Invoices", "Rechnungen", "Invoices"]


def test_it_knows_nothing_but_what_it_names():
    part = Template("{% load once %}{% once of=which %}{{ of }}{{ user }}{{ which }}{{ request }}{% endonce %}")
    context = Context({"which": "one", "user": "sara", "request": "hers"})
    assert part.render(context) == "one"
    assert part.render(Context({})) == "None"


@pytest.mark.parametrize("words", ["section", "section=", "'section'"])
def test_what_it_does_not_understand_is_refused(words):
    with pytest.raises(TemplateSyntaxError):
        Template(f"{{% load once %}}{{% once {words} %}}{{% endonce %}}")


@pytest.mark.django_db
def test_the_menu_of_one_user_is_not_that_of_another(client):
    both = a_staff_user("both@host.test")
    sara = a_user("sara@client.test")
    a_client(users=(both, sara))
    for user, is_staff in ((both, True), (sara, False), (both, True)):
        client.force_login(user)
        shown = client.get(reverse("portal_services")).content.decode()
        assert ("Staff area" in shown) is is_staff
        assert user.email in shown
        assert 'aria-current="page"' in shown
        assert 'aria-current="page"' not in client.get(reverse("account")).content.decode().partition("</nav>")[0]
