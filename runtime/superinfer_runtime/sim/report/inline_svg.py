"""A chart's SVG document made part of an HTML page that may be light or dark.

What remains refers to nothing outside itself: no document type, namespaces or metadata. Colours
become CSS variables, so that the page decides them, and ids carry the chart's own prefix, so that
two charts of a page cannot meet.
"""

import re
from collections.abc import Collection
from xml.etree import ElementTree

from superinfer_runtime.sim.report.markup_text import legible

_HREF = "{http://www.w3.org/1999/xlink}href"


def inline_svg(document: str, *, label: str, prefix: str, colours: Collection[str]) -> str:
    """The ``<svg>`` element of ``document``, as wide as the page lets it be.

    Args:
        label: what the chart shows, for those who cannot see it.
        prefix: of its ids, different for every chart of a page.
        colours: those that the page defines as variables (`css_variable`).
    """
    root = ElementTree.fromstring(legible(document))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith("}metadata"):
                parent.remove(child)
    text = " ".join(value for element in root.iter() for value in element.attrib.values())
    referred = set(re.findall(r"#([\w-]+)", text))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if _HREF in element.attrib:
            element.set("href", element.attrib.pop(_HREF))
        if element.get("id") not in referred:
            element.attrib.pop("id", None)
        for name, value in element.attrib.items():
            element.set(name, _localized(name, value, prefix, colours))
    view_box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib.update({"viewBox": view_box, "role": "img", "aria-label": legible(label)})
    return ElementTree.tostring(root, encoding="unicode")


def css_variable(colour: str) -> str:
    """The variable that stands for ``#rrggbb``."""
    return f"--c-{colour.removeprefix('#')}"


def _localized(name: str, value: str, prefix: str, colours: Collection[str]) -> str:
    if name == "id":
        return prefix + value
    if name == "href":
        return value.replace("#", f"#{prefix}", 1)
    value = value.replace("url(#", f"url(#{prefix}")
    for colour in colours:
        value = value.replace(colour, f"var({css_variable(colour)})")
    return value
