"""The list of services is narrowed to those in a state, or that a person should look at."""

import re

import pytest
from django.urls import reverse
from django.utils import timezone

from catalog.models import Service
from invoicing import review
from invoicing.models import Parked
from tests.builders import a_client, a_product, a_server, a_service, a_staff_user, a_tenant, panel, says

pytestmark = pytest.mark.django_db


@pytest.fixture
def ines(client):
    client.force_login(a_staff_user())
    return client


def listed(ines, **asked):
    """The names on the first page."""
    page = ines.get(reverse("staff_services"), asked).content.decode()
    return re.findall(r'<th scope="row" role="rowheader"><a href="[^"]*">([^<]*)</a>', page), " ".join(page.split())


def in_every_state():
    product = a_product(provider="")
    for status in Service.Status.values:
        one = a_service(product, name=status)
        Service.objects.filter(pk=one.pk).update(
            status=status, terminated_on=timezone.localdate() if status == "terminated" else None
        )


@pytest.mark.parametrize("state", Service.Status.values)
def test_those_in_a_state_are_listed(ines, state):
    in_every_state()
    names, page = listed(ines, state=state)
    assert names == [state]
    assert f'<option value="{state}" selected>' in page


def test_a_state_that_is_none_and_no_state_list_all(ines):
    in_every_state()
    assert len(listed(ines)[0]) == len(listed(ines, state="nonsense")[0]) == 5


def test_those_that_wait_for_a_person_are_parked_or_held_by_the_newest_decision(ines):
    product = a_product(provider="")
    found = {name: a_service(product, name=name) for name in ("fine", "held", "parked", "released", "held again")}
    Parked.objects.create(service=found["parked"], reason="No price.", since=timezone.now())
    decided = [("held", "hold"), ("released", "hold"), ("released", "release")]
    decided += [("held again", "hold"), ("held again", "release"), ("held again", "hold")]
    for name, verdict in decided:
        review.decide(service=found[name], verdict=verdict, through=timezone.localdate(), at=timezone.now())
    assert listed(ines, state="waits")[0] == ["held", "held again", "parked"]


def test_those_that_should_be_measured_and_have_no_tenant_are_listed_and_say_so(ines):
    with panel(says()):
        metered = a_product()
        a_service(metered, name="measured", tenant=a_tenant(a_server(), "alice"))
        bare = a_service(metered, name="bare")
        over = a_service(metered, name="over")
        Service.objects.filter(pk=over.pk).update(status="cancelled")
        a_service(a_product("Domain", provider=""), name="fixed")
        assert listed(ines, state="unmetered")[0] == ["bare"]
        page = ines.get(reverse("staff_service", args=[bare.public_id])).content.decode()
        assert "It has no tenant yet" in page
        assert reverse("staff_service_change", args=[bare.public_id]) in page


def test_a_state_narrows_what_was_looked_for_and_whose_it_is(ines):
    product, mine, theirs = a_product(provider=""), a_client("Mine"), a_client("Theirs")
    for client, name in ((mine, "shop one"), (mine, "blog"), (theirs, "shop two")):
        Service.objects.filter(pk=a_service(product, client, name=name).pk).update(status="suspended")
    a_service(product, mine, name="shop three")
    assert listed(ines, state="suspended", q="shop")[0] == ["shop one", "shop two"]
    names, page = listed(ines, state="suspended", q="shop", client=mine.pk)
    assert names == ["shop one"]
    assert f'<input type="hidden" name="client" value="{mine.pk}">' in page
    assert "No service fits that." in listed(ines, state="pending")[1]
