"""How mails look. Mail programs know no style sheets of ours and no custom properties: the tokens are written out."""

import re
from functools import cache
from pathlib import Path

from django.conf import settings

_TOKEN = re.compile(r"--tp-([a-z0-9-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)")
_FONT = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"


@cache
def tokens() -> dict[str, tuple[str, str]]:
    """Return the colours of the site's style sheet by name, light and dark."""
    css = (Path(settings.BASE_DIR) / "static" / "tokens.css").read_text()
    return {name: (light, dark) for name, light, dark in _TOKEN.findall(css)}


@cache
def styles() -> dict[str, str]:
    """Return the inline styles of mails, light, by what they are for."""
    light = {name: colours[0] for name, colours in tokens().items()}
    text = f"font-family:{_FONT};font-size:15px;line-height:22px;color:"
    small = f"font-family:{_FONT};font-size:13px;line-height:20px;color:"
    cell = f"{text}{light['ink']};padding:10px 0;border-bottom:1px solid {light['line']}"
    return {
        "page": f"margin:0;padding:0;background:{light['paper']}",
        "paper": f"background:{light['paper']}",
        "sheet": f"max-width:560px;background:{light['surface']};border:1px solid {light['line']};border-radius:10px",
        "brand": f"{text}{light['ink']};margin:0 0 24px;font-weight:600",
        "lead": f"{text}{light['ink-2']};margin:0 0 4px;font-weight:400",
        "figure": f"font-family:{_FONT};margin:0;font-size:34px;line-height:40px;font-weight:600;"
        f"letter-spacing:-0.5px;color:{light['ink']}",
        "title": f"font-family:{_FONT};margin:0 0 4px;font-size:20px;line-height:27px;font-weight:600;"
        f"color:{light['ink']}",
        "below": f"{text}{light['ink-2']};margin:4px 0 24px",
        "late": f"{text}{light['danger']};margin:4px 0 24px;font-weight:500",
        "text": f"{text}{light['ink']};margin:0 0 16px",
        "quote": f"{text}{light['ink']};margin:0 0 24px;padding:12px 16px;background:{light['sunken']};"
        "border-radius:6px;white-space:pre-line",
        "button": f"background:{light['accent']};border-radius:6px",
        "button_link": f"font-family:{_FONT};display:inline-block;padding:11px 20px;font-size:15px;font-weight:500;"
        f"color:{light['on-accent']};text-decoration:none",
        "table": f"border-top:1px solid {light['line']}",
        "cell": cell,
        "cell_end": f"{cell};padding-left:16px;white-space:nowrap",
        "total": f"{text}{light['ink']};padding:12px 0;font-weight:600",
        "total_end": f"{text}{light['ink']};padding:12px 0 12px 16px;font-weight:600;white-space:nowrap",
        "sub": f"font-size:13px;font-weight:400;color:{light['ink-2']}",
        "small": f"{small}{light['ink-2']};margin:0 0 12px",
        "meta": f"{small}{light['ink-3']};margin:0",
        "link": f"color:{light['accent']}",
    }


@cache
def dark() -> dict[str, str]:
    """Return the dark colours, by name with `_`, for the one place of a mail that says them."""
    return {name.replace("-", "_"): colours[1] for name, colours in tokens().items()}
