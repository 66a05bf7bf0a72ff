"""What is written follows the language that is active."""

from django.utils import translation

from metering import language


def test_what_is_written_in_follows_django_and_is_english_where_nothing_is_translated(settings):
    for chosen, locale in {"de": "de", "pt-br": "pt_BR", None: "en", "en": "en"}.items():
        with translation.override(chosen):
            assert language.current() == locale
    translation.deactivate()  # that of the settings
    settings.LANGUAGE_CODE = "fr"
    assert language.current() == "fr"


def test_what_is_said_once_is_said_in_each_language():
    said = []

    @language.said_once
    def hello(name, *, loudly=False):
        said.append(name)
        return f"{language.current()} {name}{'!' if loudly else ''}"

    assert [hello("Ada"), hello("Ada"), hello("Ada", loudly=True)] == ["en Ada", "en Ada", "en Ada!"]
    with translation.override("de"):
        assert [hello("Ada"), hello("Ada")] == ["de Ada", "de Ada"]
    assert said == ["Ada"] * 3


def test_a_column_of_numbers_is_written_as_each_of_them():
    for code in ("en", "de", "fr", "en-in"):
        with translation.override(code):
            write = language.digits(language.current())
            for number in ("1,234.5", "0.25", "12,345,678"):
                assert write(number) == language.in_digits(number)
