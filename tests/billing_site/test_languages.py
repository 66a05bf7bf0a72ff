"""Everything that people read is in German, French and Spanish, and what is compiled is what is written."""

import ast
import re
from pathlib import Path

import pytest
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from django.conf import settings

from tests.builders import a_client, a_product, a_service, a_user

ROOT = Path(settings.BASE_DIR)
LANGUAGES = ["de", "fr", "es"]
APPS = ["audit", "billing_site", "catalog", "invoicing", "metering", "reports"]
KEYWORDS = DEFAULT_KEYWORDS | {
    **{"gettext_lazy": None, "gettext_noop": None},
    **{"ngettext_lazy": (1, 2), "pgettext_lazy": ((1, "c"), 2)},
}
ASKED_BY = {"_", *KEYWORDS}


def texts():
    """The texts of the code, each as the catalogues know it."""
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file, "babel.cfg")
    found = extract_from_dir(
        ROOT,
        methods,
        options,
        KEYWORDS,
        strip_comment_tags=True,
        directory_filter=lambda path: Path(path).name[0] != ".",
    )
    return {(context, _first(text)) for _file, _line, text, _comments, context in found}


def catalogue(language):
    with (ROOT / "locale" / language / "LC_MESSAGES" / "django.po").open("rb") as file:
        return {(one.context, _first(one.id)): one for one in read_po(file, language) if one.id}


def _first(text):
    """The singular of a text: one word may stand for several, told apart by their contexts."""
    return text if isinstance(text, str) else text[0]


def placeholders(text):
    return set(re.findall(r"%\((\w+)\)[sd]", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_of_the_code_is_translated(language):
    known = {text for text, one in catalogue(language).items() if not one.fuzzy and all(_strings(one))}
    assert texts() - known == set(), "run `make messages` and translate what is new"


def _strings(one):
    return [one.string] if isinstance(one.string, str) else list(one.string)


def test_no_text_is_asked_for_inside_an_f_string():
    """`make messages` does not find it there, and everybody reads it in English."""
    found = []
    for file in sorted(file for app in APPS for file in (ROOT / app).rglob("*.py")):
        tree = ast.parse(file.read_text())
        found += [
            f"{file.relative_to(ROOT)}:{call.lineno}"
            for text in ast.walk(tree)
            if isinstance(text, ast.JoinedStr)
            for call in ast.walk(text)
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ASKED_BY
        ]
    assert found == []


def test_english_is_found_at_first_and_is_what_the_code_says():
    with (ROOT / "locale" / "en" / "LC_MESSAGES" / "django.mo").open("rb") as file:
        known = {(one.context and one.context.decode(), _first(one.id)): one for one in read_mo(file) if one.id}
    assert texts() - set(known) == set(), "run `make messages`"
    assert [one.id for one in known.values() if one.string != one.id] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_have_the_placeholders_of_the_text(language):
    wrong = {}
    for (context, text), one in catalogue(language).items():
        offered = placeholders(text) | (placeholders(one.id[1]) if isinstance(one.id, tuple) else set())
        for string in _strings(one):
            if placeholders(string) - offered:
                wrong[context, text] = string
        last = _strings(one)[-1]
        if (placeholders(text) - placeholders(last)) - {"ordinal"} and not isinstance(one.id, tuple):
            wrong[context, text] = last
    assert not wrong


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_compiled_is_what_is_written(language):
    with (ROOT / "locale" / language / "LC_MESSAGES" / "django.mo").open("rb") as file:
        read = [one for one in read_mo(file) if one.id]
    compiled = {(one.context and one.context.decode(), _first(one.id)): _strings(one) for one in read}
    written = {text: _strings(one) for text, one in catalogue(language).items() if not one.fuzzy and all(_strings(one))}
    assert {text: compiled.get(text) for text in written} == written, "run `make messages`"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "word"), [("de", "Dienste"), ("fr", "Services"), ("es", "Servicios"), ("en", "Services")]
)
def test_the_portal_is_in_the_language_of_who_reads_it(client, language, word):
    sara = a_user(language=language)
    a_service(a_product(), a_client(users=(sara,)))
    client.force_login(sara)
    page = client.get("/services/").content.decode()
    assert f'<html lang="{language}"' in page
    assert word in page
