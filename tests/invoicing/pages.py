"""What tests of staff pages about services and invoices share."""

import re
from urllib.parse import urljoin

from django.contrib.auth.models import Permission
from django.urls import reverse

from tests.builders import panel, says


def see(client, name, *arguments, said=()):
    """Open a page and return its text on one line, without markup."""
    with panel(says(*said)):
        response = client.get(reverse(name, args=arguments))
    assert response.status_code == 200
    return words(response)


def post(client, name, *arguments, said=(), **data):
    """Send a form, follow, and return the text of the page that answers. Servers say what was `said`."""
    with panel(said if callable(said) else says(*said)):
        response = client.post(reverse(name, args=arguments), data, follow=True)
    return words(response)


def unfolded(client, where):
    """Open a page and return its markup on one line, with what each of its folds fetches when it is opened."""
    response = client.get(where)
    assert response.status_code == 200
    shown = response.content.decode()
    for fold in re.findall(r'href="([^"]+)"\s+data-brief', shown):
        brief = client.get(urljoin(where, fold), headers={"X-Brief": "1"})
        assert brief.status_code == 200
        shown += brief.content.decode()
    return " ".join(shown.split())


def words(response):
    text = re.sub(r"<(head|script|nav)\b.*?</\1>", " ", response.content.decode(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("&#x27;", "'").replace("&quot;", '"').split())


def allow(user, *codenames):
    """Give a user permissions by their code names."""
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
