"""What mails say: in two forms, in the reader's language, and nothing that a name smuggles in."""

import html
import re
from datetime import date, timedelta
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from django.test import override_settings

from catalog.invitations import invitation_link, invitation_of, new_digest, token_of
from catalog.models import ClientUser, Invitation
from invoicing import mail_looks, mail_samples, mails, outbox, payments
from invoicing.models import Alert, Crossing, Message, Post, Question
from tests.builders import (
    TRAFFIC,
    a_client,
    a_product,
    a_server,
    a_service,
    a_setting,
    a_staff_user,
    a_tenant,
    a_user,
    at,
)
from tests.invoicing.documents import an_invoice, fee, issued

pytestmark = pytest.mark.django_db

NOON = at("2026-11-19 12:00")
SITE = "https://billing.hoster.test"


@pytest.fixture(autouse=True)
def _site(settings):
    settings.SITE_ADDRESS, settings.SELLER_NAME, settings.SELLER_ADDRESS = (
        SITE,
        "Northquay",
        "14 Wharf Street\nPortland",
    )


class Page(HTMLParser):
    """The tags and links of a mail, and its words."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.words, self.skips = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src", "background", "action")]
        self.skips = tag in ("style", "title")

    def handle_endtag(self, tag):
        self.skips = False

    def handle_data(self, data):
        if not self.skips:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def a_message(kind, **values):
    return Message.objects.create(kind=kind, **{"to": "sara@client.test", "created_at": NOON, **values})


def written(message, when=NOON, **options):
    one = mails.write(message, at=when, **options)
    assert one is not None
    return one, " ".join(one.text.split()), Page(one.html)


def about(invoice, kind="issued", **values):
    return a_message(kind, invoice=invoice, client=invoice.client, **values)


def test_an_invoice_has_its_amount_its_day_all_lines_and_one_link():
    client = a_client()
    service = a_service(a_product(provider=""), client)
    invoice = issued(client, fee(service, "24"), fee(service, "31", "Databases"), due_on=date(2026, 11, 15))
    mail, text, page = written(about(invoice))
    for words in (text, page.text):
        assert invoice.number in words
        assert "$55.00" in words
        assert "15 November 2026" in words
        assert "Business Web" in words
        assert "Databases" in words
        assert "$31.00" in words
        assert "You get this mail because Lindqvist & Moe gets the invoices of Northquay" in words
    assert page.links == [f"{SITE}/invoices/{invoice.pk}/"]
    assert f"{SITE}/invoices/{invoice.pk}/" in text
    assert "\n\n\n" not in mail.text


@pytest.mark.parametrize("kind", Message.Kind.values)
@pytest.mark.parametrize("language", ["en", "de", "fr", "es"])
def test_every_kind_is_a_whole_page_of_its_own_with_nothing_from_elsewhere(kind, language):
    mail = mail_samples.sample(Message.Kind(kind), language, at=NOON)
    page = Page(mail.html)
    assert f'<html lang="{language}"' in mail.html
    assert len(page.links) == 1
    assert all(link.startswith(f"{SITE}/") for link in page.links)
    assert not {"img", "script", "link", "iframe", "form", "object", "svg"} & set(page.tags)
    assert not re.search(r"url\(|@import|light-dark|var\(", mail.html)
    assert page.tags.count("h1") == 1
    assert mail.subject
    assert "\n" not in mail.subject
    assert "None" not in mail.text
    assert not re.search(r"[{}%]\w|\w[{}]", mail.text)
    assert mail.text.count("Northquay") >= 1


def test_colours_are_those_of_the_site():
    assert mail_looks.tokens()["accent"] == ("#0b5c70", "#67c5d8")
    mail = mail_samples.sample(Message.Kind.ISSUED, "en", at=NOON)
    assert "#0b5c70" in mail.html
    dark = mail.html[mail.html.index("prefers-color-scheme: dark") :]
    assert "#67c5d8" in dark.partition("</style>")[0]


EVIL = 'Evil"><img src=x onerror=alert(1)>\r\nBcc: all@world.test\u202e http://evil.test www.evil.test <a href="//e">'


def test_names_write_no_header_no_link_and_no_markup():
    client = a_client(EVIL)
    service = a_service(a_product(provider=""), client)
    invoice = issued(
        client, fee(service, "24", EVIL), seller={"name": EVIL, "address": EVIL}, buyer={"name": EVIL, "address": EVIL}
    )
    for kind, when in (("issued", NOON), ("due", at("2026-11-10 12:00")), ("overdue", NOON)):
        message = about(invoice, kind)
        mail, _text, page = written(message, when)
        assert "\n" not in mail.subject
        assert not [line for line in mail.text.splitlines() if line.startswith("Bcc")]
        assert "\u202e" not in mail.text + mail.html
        assert page.links == [f"{SITE}/invoices/{invoice.pk}/"]
        assert "img" not in page.tags
        assert "http://evil" not in html.unescape(mail.html) + mail.text
        assert "www.evil" not in html.unescape(mail.html) + mail.text
        assert "<img src=x onerror=alert(1)>" in page.text
        sent = outbox.compose(message, at=when).message()
        assert sent["Bcc"] is None
        assert sent["Subject"]


def test_braces_in_names_stay_braces():
    client = a_client("{{ settings.SECRET_KEY }} {% load x %} %(number)s {0.__class__}")
    _mail, text, _ = written(about(an_invoice("24", client=client)))
    assert "{{ settings.SECRET_KEY }} {% load x %} %(number)s {0.__class__}" in text


def test_a_mail_is_in_the_language_of_its_reader_else_of_the_client_else_of_the_site():
    client = a_client()
    invoice = an_invoice("1234.5", client=client)
    assert mails.reader_of(about(invoice)).language == "en"
    client.language = "de"
    client.save()
    message = about(an_invoice("1234.5", client=client))
    assert mails.reader_of(message) == mails.Reader("de", "UTC")
    _mail, text, _ = written(message)
    assert "1.234,50" in text
    assert "November 2026" in text
    sara = a_user(language="fr", time_zone="Europe/Paris")
    assert mails.reader_of(Message(client=client, user=sara)) == mails.Reader("fr", "Europe/Paris")


def test_the_site_language_is_what_it_is_after_a_mail_was_written():
    from django.utils import timezone, translation

    mail_samples.sample(Message.Kind.ISSUED, "de", at=NOON)
    assert translation.get_language() == "en"
    assert timezone.get_current_timezone_name() == "UTC"


# Reminders


def test_a_reminder_says_what_is_left_and_is_dropped_when_nothing_is():
    invoice = an_invoice("76.33", due_on="2026-11-15")
    message = about(invoice, "overdue", step=2)
    payments.record(invoice=invoice, amount=Decimal("0.40"), received_on=date(2026, 11, 18), by=None, at=NOON)
    mail, text, page = written(message)
    assert mail.subject == f"Invoice {invoice.number}: $75.93 is overdue"
    assert "$75.93 of invoice" in text
    assert "was due on 15 November 2026, 4 days ago, and is not paid. This is reminder 2." in text
    assert "4 days overdue" in page.text
    assert "Left to pay" in page.text
    payments.record(invoice=invoice, amount=Decimal("75.93"), received_on=date(2026, 11, 18), by=None, at=NOON)
    assert mails.write(message, at=NOON) is None


def test_a_reminder_before_the_day_says_how_long_there_is_and_is_dropped_after_it():
    invoice = an_invoice("76.33", due_on="2026-11-22")
    message = about(invoice, "due")
    mail, text, _ = written(message)
    assert mail.subject == f"Invoice {invoice.number}: $76.33 is due on 22 November 2026"
    assert "is due in 3 days, on 22 November 2026" in text
    assert "is due tomorrow" in written(message, at("2026-11-21 12:00"))[1]
    assert "is due today" in written(message, at("2026-11-22 12:00"))[1]
    assert mails.write(message, at=at("2026-11-23 12:00")) is None


# Alerts


def a_crossing(**values):
    client = values.pop("client", None) or a_client()
    product = a_product()
    service = a_service(product, client, a_tenant(a_server()), name="lindqvistmoe.example")
    setting = values.pop("setting", None) or a_setting(product, TRAFFIC)
    alert = Alert.objects.create(
        client=client,
        service=service,
        created_at=NOON,
        **{"setting": setting, "measure": "share", "bound": 80, **values},
    )
    return Crossing.objects.create(
        alert=alert,
        service=service,
        began_at=NOON,
        term_start=date(2026, 11, 1),
        value=Decimal("83.2"),
        bound=alert.bound,
    )


def test_a_share_is_written_as_on_the_pages():
    crossing = a_crossing()
    crossing.value = Decimal("83.2468")
    crossing.save(update_fields=["value"])
    sara = a_user()
    ClientUser.objects.create(client=crossing.alert.client, user=sara)
    _, text, page = written(a_message("alert", crossing=crossing, client=crossing.alert.client, user=sara))
    assert "Bandwidth has reached 83.2% of" in text
    assert "83.2%" in page.text


def test_an_alert_says_what_crossed_where_since_when_and_how_to_change_it():
    crossing = a_crossing()
    sara = a_user(time_zone="Europe/Berlin")
    ClientUser.objects.create(client=crossing.alert.client, user=sara)
    mail, text, page = written(a_message("alert", crossing=crossing, client=crossing.alert.client, user=sara))
    assert mail.subject == "Bandwidth: above 80% (lindqvistmoe.example)"
    for words in (text, page.text):
        assert "Bandwidth has reached 83.2% of the quantity included, more than 80%." in words
        assert "This was seen on 19 November 2026, 13:00 CET." in words
        assert "The term ends on 1 November 2026." in words
        assert "under Alerts" in words
    assert page.links == [f"{SITE}/services/{crossing.service.public_id}/"]


def test_alerts_have_the_unit_of_what_they_watch():
    quantity = a_crossing(measure="quantity", bound=10)
    assert (
        "Bandwidth: 83.2 GB in this term so far, more than 10 GB." in written(a_message("alert", crossing=quantity))[1]
    )


def test_a_budget_is_in_money_and_names_no_metric():
    crossing = a_crossing(setting=None, measure="quantity", bound=10)
    Alert.objects.filter(pk=crossing.alert.pk).update(
        setting=None, measure="amount", currency="EUR", is_of_forecast=True
    )
    crossing.refresh_from_db()
    crossing.alert.refresh_from_db()
    _mail, text, _ = written(a_message("alert", crossing=crossing))
    assert "Usage charges: €83.20 is expected by the end of the term, more than €10.00." in text


def test_an_alert_that_is_over_or_off_is_dropped():
    crossing = a_crossing()
    message = a_message("alert", crossing=crossing)
    crossing.alert.is_active = False
    assert mails.write(message, at=NOON) is None
    crossing.alert.is_active, crossing.ended_at = True, NOON
    assert mails.write(message, at=NOON) is None


def test_who_left_the_client_or_was_disabled_gets_no_more_of_it():
    crossing, sara = a_crossing(), a_user()
    client = crossing.alert.client
    message = a_message("alert", crossing=crossing, client=client, user=sara)
    assert mails.write(message, at=NOON) is None
    ClientUser.objects.create(client=client, user=sara)
    assert mails.write(message, at=NOON) is not None
    sara.is_active = False
    assert mails.write(message, at=NOON) is None


# Invitations


def an_invitation(client=None, **values):
    client = client or a_client()
    return Invitation.objects.create(
        **{
            "client": client,
            "role": "billing",
            "email": "nils@client.test",
            "digest": new_digest(),
            "created_at": NOON,
            "expires_at": NOON + timedelta(days=7),
            **({} if "invited_by" in values else {"invited_by": a_user(name="Sara")}),
            **values,
        }
    )


def test_an_invitation_opens_by_its_link_until_it_is_over():
    invitation = an_invitation()
    token = token_of(invitation)
    _mail, text, page = written(a_message("invitation", invitation=invitation, to="nils@client.test"))
    assert page.links == [invitation_link(invitation)]
    assert token in page.links[0]
    assert token in text
    assert "Sara invites you to see the services, usage and invoices of Lindqvist & Moe" in text
    assert invitation_of(token, at=NOON) == invitation
    assert invitation_of(token, at=NOON + timedelta(days=7)) is None
    invitation.revoked_at = NOON
    invitation.save()
    assert invitation_of(token, at=NOON) is None
    assert mails.write(Message.objects.get(), at=NOON) is None


@pytest.mark.parametrize("change", ["", "x", "1", "1-", "-1-a", "²-a", "9" * 30 + "-a", "1-" + "a" * 43, "\0-a"])
def test_no_other_token_opens_an_invitation(change):
    an_invitation()
    assert invitation_of(change, at=NOON) is None


def test_a_token_is_of_one_invitation_and_of_its_digest():
    first = an_invitation()
    second = an_invitation(a_client("Brandt"), email="b@client.test", invited_by=first.invited_by)
    token = token_of(first)
    assert invitation_of(f"{second.pk}-{token.partition('-')[2]}", at=NOON) is None
    first.digest = new_digest()
    first.save()
    assert invitation_of(token, at=NOON) is None
    assert invitation_of(token_of(first), at=NOON) == first
    assert not Invitation.objects.filter(digest__contains=token_of(first)).exists()


@override_settings(SECRET_KEY="another key of the site, long enough")
def test_a_token_of_another_site_opens_nothing():
    with override_settings(SECRET_KEY="the key of another site, long enough"):
        token = token_of(an_invitation())
    assert invitation_of(token, at=NOON) is None


def test_a_preview_has_no_link_that_lets_its_reader_in():
    invitation = an_invitation()
    mail, _, _ = written(a_message("invitation", invitation=invitation), is_preview=True)
    assert token_of(invitation) not in mail.html + mail.text


# Questions


def a_post(text, *, is_of_staff, by=None):
    invoice = an_invoice("24")
    question = Question.objects.create(
        client=invoice.client, invoice=invoice, line=invoice.lines.get(), opened_at=NOON, posted_at=NOON
    )
    return Post.objects.create(question=question, by=by, is_of_staff=is_of_staff, text=text, at=NOON)


def test_a_question_goes_to_staff_and_its_answer_to_the_client_each_with_their_own_link():
    post = a_post("Why so much?\n<b>Look</b> at http://evil.test/x", is_of_staff=False, by=a_user(name="Sara"))
    mail, text, page = written(a_message("question", post=post, client=post.question.client, user=a_staff_user()))
    invoice = post.question.invoice
    assert mail.subject == f"Lindqvist & Moe asks about invoice {invoice.number}"
    assert "“Business Web” of invoice" in text
    assert "Sara writes:" in text
    assert "<b>Look</b> at http: //evil.test/x" in page.text
    assert "b" not in page.tags
    assert page.links == [f"{SITE}/admin/invoices/{invoice.pk}/lines/{post.question.line_id}/"]
    answer = Post.objects.create(question=post.question, is_of_staff=True, text="It was corrected.", at=NOON)
    mail, text, page = written(a_message("question", post=answer, client=invoice.client))
    assert mail.subject == f"Answer to your question about invoice {invoice.number}"
    assert page.links == [f"{SITE}/invoices/{invoice.pk}/lines/{post.question.line_id}/"]


def test_answers_go_to_support_if_there_is_one():
    message = about(an_invoice("24"))
    assert outbox.compose(message, at=NOON).reply_to == []
    with override_settings(SUPPORT_EMAIL="help@hoster.test"):
        mail = outbox.compose(message, at=NOON)
    assert mail.reply_to == ["help@hoster.test"]
    assert "help@hoster.test" in mail.body


def test_a_long_invoice_says_how_many_lines_there_are_besides():
    client = a_client()
    service = a_service(a_product(provider=""), client)
    invoice = issued(client, *(fee(service, "1", f"Line no {n}") for n in range(mails.MOST_LINES + 3)))
    _, text, page = written(about(invoice))
    assert f"Line no {mails.MOST_LINES - 1}" in text
    assert f"Line no {mails.MOST_LINES}:" not in text
    assert "and 3 more lines" in text
    assert "and 3 more lines" in page.text
    assert "$63.00" in text


def test_a_mail_is_written_with_few_queries(django_assert_max_num_queries):
    message = about(an_invoice("24", due_on="2026-11-15"), "overdue", step=1)
    with django_assert_max_num_queries(3):
        mails.write(Message.objects.select_related(*outbox.RELATED).get(pk=message.pk), at=NOON)
