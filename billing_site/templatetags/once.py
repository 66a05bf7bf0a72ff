"""Parts of a page that are the same for everybody, which are written once."""

from collections.abc import Mapping
from typing import Any

from django import template
from django.template.base import FilterExpression, Node, NodeList, Parser, Token, token_kwargs
from django.utils.safestring import SafeString

from metering import language

register = template.Library()


@register.tag
def once(parser: Parser, token: Token) -> Node:
    """Write a part of a page once in each language, and for each of the few values that it names:
    `{% once section=section %} … {% endonce %}`. It knows nothing but these: what is of one person cannot get into it.
    """
    tag, *words = token.split_contents()
    given = token_kwargs(words, parser)
    if words:
        raise template.TemplateSyntaxError(f"{tag} takes name=value, not {words[0]!r}")
    parts = parser.parse(("endonce",))
    parser.delete_first_token()
    return _Once(given, parts)


class _Once(Node):
    def __init__(self, given: Mapping[str, FilterExpression], nodelist: NodeList) -> None:
        self.given = given
        self.nodelist = nodelist
        self.written: dict[tuple[Any, ...], SafeString] = {}

    def render(self, context: template.Context) -> SafeString:
        known = {name: value.resolve(context, ignore_failures=True) for name, value in self.given.items()}
        key = language.current(), *known.values()
        if key not in self.written:
            self.written[key] = self.nodelist.render(context.new(known))
        return self.written[key]
