"""Markup that is written in Python is escaped as the library does it."""

import html

from hypothesis import given
from hypothesis import strategies as st

from billing_site.markup import escape


@given(st.text(st.sampled_from("ab&<>\"' é")))
def test_a_text_is_escaped_as_the_library_does_it(text):
    assert escape(text) == html.escape(text)
