"""Pages in a language that is written from right to left: they say so, and our styles know no left and no right."""

import re
from pathlib import Path

import pytest
from django.conf import settings

from tests.builders import a_client, a_product, a_service, a_user

STYLES = Path(settings.BASE_DIR) / "static"
#: Those of a mail are inline and repeated by programs that know little; Django's admin has its own for such languages.
OTHERS = {"mail.css", "admin.css"}
#: A side that stays where it is: the tick in a box is drawn, not written.
DRAWN = '.form-check-input[type="checkbox"]:not([role="switch"]):checked::after'
SIDES = re.compile(
    r"(?<![-\w])(?:(?:margin|padding|border)-(?:left|right)\b|(?:left|right)\s*:|(?:text-align|float)\s*:\s*(?:left|right)\b)"
)


@pytest.mark.django_db
@pytest.mark.parametrize(("language", "direction"), [("ar", ' dir="rtl"'), ("en", "")])
def test_a_page_says_in_which_direction_it_is_read(client, settings, language, direction):
    settings.LANGUAGES = [*settings.LANGUAGES, ("ar", "العربية")]
    sara = a_user(language=language)
    a_service(a_product(), a_client(users=(sara,)))
    client.force_login(sara)
    page = client.get("/").content.decode()
    assert f'<html lang="{language}"{direction}>' in page


@pytest.mark.parametrize("sheet", sorted({path.name for path in STYLES.glob("*.css")} - OTHERS))
def test_styles_name_starts_and_ends_not_sides(sheet):
    lines = (STYLES / sheet).read_text().splitlines()
    assert [line for line in lines if SIDES.search(line) and not line.startswith(DRAWN)] == []
