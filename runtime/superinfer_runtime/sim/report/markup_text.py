"""Names that come from users, made safe to stand in HTML and SVG."""

import re
from html import escape

_NOT_IN_MARKUP = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def legible(plain: str) -> str:
    """What no markup can hold, escaped or not, becomes �."""
    return _NOT_IN_MARKUP.sub("\N{REPLACEMENT CHARACTER}", plain)


def escaped(plain: str) -> str:
    """For element content and quoted attributes."""
    return escape(legible(plain))
