"""A chart as an element of the page: in the page's colours, with ids of its own and a name to be read out.

Charts are our own drawings, but the words in them are a run's. So the drawing is read as XML and written
again: no text of it can become markup, nor be taken for a colour or an id.
"""

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from markupsafe import Markup

from bench.report.charts.panels import owner
from bench.report.colours import variable

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_NOT_SHOWN = {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}  # the style is of all charts, in the page's own
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_REFERENCE = re.compile(r"url\(#")

ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _XLINK)


def element(svg: str, prefix: str, label: str) -> Markup:
    """An SVG file's text as an element. `prefix` is a slug of its own; `label` says what the chart shows.

    What was drawn for one contender has its name in `data-contender`.
    """
    root = ElementTree.fromstring(svg)  # noqa: S314 - drawn by us a moment ago
    for parent in list(root.iter()):
        for child in [one for one in parent if one.tag in _NOT_SHOWN]:
            parent.remove(child)
    for one in root.iter():
        name = owner(one.get("id", ""))
        one.attrib |= dict(_changed(one, prefix))
        if name is not None:
            one.set("data-contender", name)
            del one.attrib["id"]
    sizes = [f"--{size}: {root.attrib.pop(size).removesuffix('pt')}" for size in ("width", "height")]
    root.attrib.pop("version", None)
    root.attrib |= {"role": "img", "aria-label": label, "style": "; ".join(sizes)}  # in points
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704 - escaped by the writer


def _changed(one: ElementTree.Element, prefix: str) -> Iterator[tuple[str, str]]:
    """The attributes that differ from the file's: ids and references get `prefix`, colours are the page's."""
    is_text = one.tag == f"{{{_SVG}}}text"
    for name, value in one.attrib.items():
        if name == "id":
            yield name, f"{prefix}-{value}"
        elif name == f"{{{_XLINK}}}href":
            yield name, value.replace("#", f"#{prefix}-", 1)
        elif name == "style":  # a hatch is a reference there
            coloured = _COLOUR.sub(lambda found: variable(found[0], is_text=is_text), value)
            yield name, _REFERENCE.sub(f"url(#{prefix}-", coloured)
        elif name == "clip-path":
            yield name, _REFERENCE.sub(f"url(#{prefix}-", value)
