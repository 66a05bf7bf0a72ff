"""The staff's pages about unbilled usage: the list with what it would bring, and attaching a tenant in two steps."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from catalog.models import ProductPrice, Service
from metering.models import Tenant
from tests.builders import (
    EMAILS,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    collected,
    panel,
    priced,
    tenant_says,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client):
    client.force_login(a_staff_user())
    with panel():
        yield client


def first() -> date:
    return timezone.localdate().replace(day=1)


def a_used_tenant(key="alice", server=None, emails=4):
    """One that used e-mails on the last day of the last month, and as many today."""
    server = server or a_server()
    for day in (first() - timedelta(days=1), timezone.localdate()):
        collected(server, f"{day} 00:30", tenant_says(key, emails=emails))
    return Tenant.objects.select_related("server").get(server=server, key=key)


def an_email_product(each="1", name="Mail"):
    product = a_product(name)
    priced(a_setting(product, EMAILS), ("0", each), notation="above")
    return product


def text_of(response):
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def listed(client, **query):
    return text_of(client.get(reverse("staff_unbilled"), query))


def posted(browser, tenant, /, **data):
    return text_of(browser.post(reverse("staff_unbilled_attach", args=[tenant.pk]), data, follow=True))


def a_new(product, buyer, **values):
    typed = {"to": "new", "client": buyer.name, "product": product.pk, "cycle": "monthly", "name": "alice's mail"}
    return {**typed, "start": str(first()), "since": str(first()), **values}


def shown_in(page):
    return page.split('name="shown" value="')[1].split('"')[0].replace("&#x27;", "'")


# ---- the list


def test_the_list_says_what_the_last_month_would_have_brought_in_which_currency(staff):
    tenant, product = a_used_tenant(), an_email_product("2")
    shown = listed(staff)
    assert "Emails sent: 4 emails" in shown
    assert "would have brought" not in shown
    shown = listed(staff, product=product.pk, currency="USD")
    month = first() - timedelta(days=1)
    assert f"As Mail, {month:%B %Y} would have brought <strong>$8.00</strong> from these tenants" in shown
    assert "In USD, without recurring prices" in shown
    assert "<summary>$8.00</summary>" in shown
    assert reverse("staff_unbilled_attach", args=[tenant.pk]) + f"?product={product.pk}" in shown


def test_the_sites_own_currency_is_the_one_that_is_offered_first(staff):
    a_used_tenant()
    product = an_email_product("2")
    for currency in ("CAD", "USD"):
        ProductPrice.objects.update_or_create(
            product=product, cycle="monthly", currency=currency, defaults={"amount": Decimal(1)}
        )
    assert "In USD, without recurring prices" in listed(staff, product=product.pk)


def test_the_list_is_searched_and_filtered_by_server(staff):
    one, other = a_server("one"), a_server("other")
    for server, key in [(one, "alice"), (one, "bob"), (other, "carol")]:
        a_used_tenant(key, server)
        server.tenants.update(missing_since=None)
    assert [key in listed(staff, q="LIC") for key in ("alice", "bob", "carol")] == [True, False, False]
    assert [key in listed(staff, server=other.pk) for key in ("alice", "bob", "carol")] == [False, False, True]
    assert "None of 3 tenants is like that." in listed(staff, q="nobody")
    assert "alice" in listed(staff, server="x", product="99", currency="XXX", page="0")


def test_everybody_is_billed(staff):
    assert "Every tenant that was collected belongs to a service." in listed(staff)


def test_the_list_takes_the_same_queries_for_any_number_of_tenants(staff):
    product, server = an_email_product(), a_server()
    counts = []
    for number in (1, 20):
        for day in (first() - timedelta(days=1), timezone.localdate()):
            collected(server, f"{day} 00:30", *[tenant_says(f"u{one}", emails=one) for one in range(number)])
        with CaptureQueriesContext(connection) as queries:
            listed(staff, product=product.pk)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 28


# ---- attaching


def test_a_tenant_is_attached_to_a_new_service_in_two_steps(staff):
    tenant, product, client = a_used_tenant(), an_email_product(), a_client()
    opened = text_of(staff.get(reverse("staff_unbilled_attach", args=[tenant.pk]), {"product": product.pk}))
    assert f'value="{first()}"' in opened
    assert "there is none" in opened
    shown = posted(staff, tenant, **a_new(product, client), preview="")
    assert "What comes along: $4.00" in shown
    assert not Service.objects.exists()
    done = posted(staff, tenant, **a_new(product, client), attach="", shown=shown_in(shown))
    assert "alice belongs to alice&#x27;s mail now. So far $4.00 came along." in done
    service = Service.objects.get()
    assert (service.tenant, service.anchor, service.client) == (tenant, first(), client)
    assert "Every tenant that was collected belongs to a service." in listed(staff)


def test_a_tenant_is_attached_to_a_service_that_has_none(staff):
    tenant, product = a_used_tenant(), an_email_product()
    service = a_service(product, anchor=str(first()), next_term=1, name="shop")
    opened = text_of(staff.get(reverse("staff_unbilled_attach", args=[tenant.pk])))
    assert "Lindqvist &amp; Moe: shop (Mail, active)" in opened
    choice = {"to": "existing", "service": service.pk, "since": str(first())}
    shown = posted(staff, tenant, **choice, preview="")
    posted(staff, tenant, **choice, attach="", shown=shown_in(shown))
    service.refresh_from_db()
    assert (service.tenant, service.metered_from) == (tenant, first())


def test_what_was_not_shown_is_not_attached(staff):
    tenant, product, client = a_used_tenant(), an_email_product(), a_client()
    seen = shown_in(posted(staff, tenant, **a_new(product, client), preview=""))
    earlier = a_new(product, client, since=str(first() - timedelta(days=1)))
    shown = posted(staff, tenant, **earlier, attach="", shown=seen)
    assert "Not attached yet: this is not what was shown before" in shown
    assert "What comes along: $8.00" in shown
    collected(tenant.server, f"{timezone.localdate()} 00:40", tenant_says("alice", emails=9))
    shown = posted(staff, tenant, **a_new(product, client), attach="", shown=seen)
    assert "What comes along: $9.00" in shown
    assert not Service.objects.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"to": ""}, "Choose one."),
        ({"client": ""}, "Enter the name of a client."),
        ({"client": "nobody"}, "No client is called so."),
        ({"product": ""}, "Choose a product."),
        ({"product": "999"}, "Choose a product that is offered."),
        ({"start": "soon"}, "Enter a valid date."),
        ({"since": ""}, "Enter a day."),
        ({"to": "existing"}, "Choose a service."),
        ({"since": "2020-01-01"}, "Its usage can be billed from"),
    ],
)
def test_what_is_missing_is_said(staff, change, said):
    tenant, product, client = a_used_tenant(), an_email_product(), a_client()
    assert said in posted(staff, tenant, **{**a_new(product, client), **change}, preview="")
    assert not Service.objects.exists()


def test_what_was_typed_for_a_new_service_does_not_matter_to_an_existing_one(staff):
    tenant, product = a_used_tenant(), an_email_product()
    waiting = a_service(product, anchor=str(first()))
    typed = {"to": "existing", "service": waiting.pk, "client": "nobody", "product": "", "name": "", "start": ""}
    assert "What comes along" in posted(staff, tenant, **typed, since=str(first()), preview="")


def test_how_often_a_new_service_is_billed_is_said_in_words(staff):
    tenant = a_used_tenant()
    page = staff.get(reverse("staff_unbilled_attach", args=[tenant.pk]), headers={"accept-language": "de"})
    assert '<option value="semiannually">halbjährlich</option>' in page.content.decode()


def test_clients_of_the_same_name_are_told_apart_by_their_address(staff):
    tenant, product = a_used_tenant(), an_email_product()
    for number in (1, 2):
        a_client("Twin").__class__.objects.filter(email="").update(email=f"{number}@twin.test")
    twin = a_client("Twin")
    assert "Several clients are called so." in posted(staff, tenant, **a_new(product, twin), preview="")
    shown = posted(staff, tenant, **a_new(product, twin, client="2@twin.test"), preview="")
    assert "What comes along" in shown


def test_who_may_not_change_services_is_refused_and_who_may_not_add_them_is_not_offered_it(client):
    tenant, product, buyer = a_used_tenant(), an_email_product(), a_client()
    user = a_user(is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_tenant"))
    client.force_login(user)
    with panel():
        shown = listed(client, product=product.pk)
        assert "alice" in shown
        assert "Attach" not in shown
        assert "would have brought" not in shown  # prices are for those who may see products
        assert client.get(reverse("staff_unbilled_attach", args=[tenant.pk])).status_code == 403
        user.user_permissions.add(Permission.objects.get(codename="change_service"))
        opened = text_of(client.get(reverse("staff_unbilled_attach", args=[tenant.pk])))
        assert "A new one" not in opened
        assert "You may not add services." in posted(client, tenant, **a_new(product, buyer), preview="")
    assert not Service.objects.exists()


def test_names_from_outside_are_text(staff):
    tenant = a_used_tenant("<img src=x>")
    for shown in (listed(staff), text_of(staff.get(reverse("staff_unbilled_attach", args=[tenant.pk])))):
        assert "&lt;img src=x&gt;" in shown
        assert "<img" not in shown


def test_a_tenant_that_was_never_seen_is_not_there(staff):
    tenant = a_tenant(a_server(), "named")
    assert staff.get(reverse("staff_unbilled_attach", args=[tenant.pk])).status_code == 404
