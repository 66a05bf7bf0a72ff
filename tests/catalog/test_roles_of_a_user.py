"""Whose session it is comes with its clients and roles; whoever has none yet is looked up with them."""

import pytest
from django.test import RequestFactory

from billing_site.accounts import ByPassword
from catalog.access import access_of
from catalog.models import ClientUser, Role, User
from tests.builders import a_client

pytestmark = pytest.mark.django_db


def asked_by(user):
    request = RequestFactory().get("/")
    request.user, request.session = user, {}
    return request


def test_who_signs_in_just_now_and_whose_session_it_is_see_the_same_in_order_of_names(django_assert_num_queries):
    user = User.objects.create(email="both@example.test")
    last, first = a_client("Zeta"), a_client("Alpha")
    ClientUser.objects.create(client=last, user=user, role=Role.OWNER)
    ClientUser.objects.create(client=first, user=user, role=Role.BILLING)
    ClientUser.objects.create(client=first, user=User.objects.create(email="other@example.test"), role=Role.OWNER)
    expected = [(first.pk, Role.BILLING), (last.pk, Role.OWNER)]
    assert list(access_of(asked_by(user)).roles.items()) == expected
    known = ByPassword().get_user(user.pk)
    with django_assert_num_queries(0):
        assert list(access_of(asked_by(known)).roles.items()) == expected


def test_who_belongs_to_no_client_has_no_role():
    known = ByPassword().get_user(User.objects.create(email="nobody@example.test").pk)
    assert access_of(asked_by(known)).roles == {}
