"""A chart in the page keeps what is drawn and takes the page's colours; its words stay words."""

import io
import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from bench.report import inline_svg
from bench.report.charts import canvas, panels

HOSTILE = '</text></svg><script>alert(1)</script><a id="x" style="fill: #ffffff" href="#y">]]> $x^2$ {{7*7}}'


def _drawn(words: str) -> str:
    buffer = io.StringIO()
    with canvas.looks():
        figure = Figure(figsize=(2, 2))
        axes = figure.subplots()
        axes.plot([1, 2], [1, 2], color="#0072b2", label=words, marker="o", markerfacecolor="white")
        axes.set_title(words, color="#e69f00")
        figure.savefig(buffer, format="svg")
    return buffer.getvalue()


def test_words_are_neither_markup_nor_formulas_nor_colours() -> None:
    found = inline_svg.element(_drawn(HOSTILE), "one", f"Response time. {HOSTILE}")
    root = ElementTree.fromstring(found)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "g", "path", "text", "defs", "use", "clipPath", "rect"}
    assert HOSTILE in [text.text for text in root.iter() if text.tag.endswith("text")]
    assert root.attrib["aria-label"] == f"Response time. {HOSTILE}"
    assert "<script" not in found


def test_what_is_drawn_for_a_contender_has_its_name() -> None:
    buffer = io.StringIO()
    with canvas.looks():
        figure = Figure(figsize=(2, 2))
        for axes in figure.subplots(2):
            for name in ("a-b", HOSTILE):
                panels.belong(axes.plot([1, 2], [1, 2]), name)
        figure.savefig(buffer, format="svg")
    written = ElementTree.fromstring(buffer.getvalue())
    ids = [element.attrib["id"] for element in written.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    root = ElementTree.fromstring(inline_svg.element(buffer.getvalue(), "one", ""))
    owners = [element.get("data-contender") for element in root.iter()]
    assert [one for one in owners if one is not None] == ["a-b", HOSTILE] * 2


def test_ids_are_its_own_and_every_reference_meets_one() -> None:
    one, other = (ElementTree.fromstring(inline_svg.element(_drawn("a"), name, "")) for name in ("x", "y"))
    ids = {element.attrib["id"] for element in one.iter() if "id" in element.attrib}
    assert ids.isdisjoint(element.attrib.get("id") for element in other.iter())
    values = [value for element in one.iter() for value in element.attrib.values()]
    references = {value[5:-1] for value in values if value.startswith("url(#")}
    references |= {value[1:] for value in values if value.startswith("#")}
    assert references
    assert references <= ids


def test_colours_are_the_pages() -> None:
    found = inline_svg.element(_drawn("a"), "x", "")
    assert "stroke: var(--c0072b2)" in found
    assert "fill: var(--we69f00)" in found
    assert "fill: var(--card)" in found
    assert "#0072b2" not in found


def test_a_hatch_is_still_found() -> None:
    drawn = Figure(figsize=(2, 2))
    drawn.subplots().bar([1], [1], hatch="//", facecolor="#aabbcc")
    buffer = io.StringIO()
    drawn.savefig(buffer, format="svg")
    root = ElementTree.fromstring(inline_svg.element(buffer.getvalue(), "x", ""))
    ids = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
    styles = [element.attrib.get("style", "") for element in root.iter()]
    references = {found for style in styles for found in re.findall(r"url\(#([^)]+)\)", style)}
    assert references
    assert references <= ids


def test_its_size_in_points_is_the_pages_to_use() -> None:
    root = ElementTree.fromstring(inline_svg.element(_drawn("a"), "x", ""))
    assert root.attrib["style"] == "--width: 144; --height: 144"
    assert not {"width", "height"} & root.attrib.keys()
