"""The page is one safe, honest, accessible file, the same for the same record."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.unit.reports.example_record import (
    CATEGORIES,
    HOSTILE,
    example_record,
    hostile_record,
    row,
    write_example_samples,
)
from unskew.reports.drawing import NARROW, WIDE
from unskew.reports.page import page_html, render_page
from unskew.reports.plots import Curve, curves

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Elements with their attributes, text outside styles, and unbalanced tags."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run")
    example_record().save(folder)
    write_example_samples(folder)
    return render_page(folder).read_text()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("hostile")
    hostile_record().save(folder)
    write_example_samples(folder, 400, (HOSTILE, *CATEGORIES[1:]))
    return render_page(folder).read_text()


def test_rendering_is_quick_and_repeatable(tmp_path: Path, html: str) -> None:
    example_record().save(tmp_path)
    write_example_samples(tmp_path)
    start = time.process_time()
    again = render_page(tmp_path).read_text()
    assert time.process_time() - start < 3.0
    assert again == html


def test_every_section_is_there(html: str) -> None:
    page = Page(html)
    for text in (
        "Even-handed within measurement error",
        "Preference by category",
        "How strong the preference is",
        "What it cost",
        "Beside the oracle and other models",
        "Step 140, direction. religion crossed 50 (48.2)",
        "they were tired of the night shift",
        "48 of 48",
        "Relearning attack",
        "unskew unlearn biasunlearn",
        "92.1 / 90.7",
        "[48.9, 52.7]",
    ):
        assert text in page.text


@pytest.mark.parametrize("name", ["html", "hostile"])
def test_the_page_loads_nothing_and_runs_nothing(name: str, request: pytest.FixtureRequest) -> None:
    page = Page(request.getfixturevalue(name))
    assert not page.unbalanced
    assert not page.open
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "image", "a", "form"}
    for tag, attributes in page.elements:
        for attribute, value in attributes.items():
            assert not attribute.startswith("on"), (tag, attribute)
            if attribute in ("href", "src", "xlink:href"):
                assert value is not None
                assert value.startswith("#")
    assert "@import" not in request.getfixturevalue(name)
    assert set(re.findall(r"url\((.)", request.getfixturevalue(name))) == {"#"}


def test_hostile_text_is_shown_as_text(hostile: str) -> None:
    page = Page(hostile)
    for visible in ('<script>alert("x")</script>', "$\\frac{a}$", "[l](javascript:0)"):
        assert visible in page.text
    in_plots = "".join(re.findall(r"<text[^>]*>([^<]*)</text>", hostile))
    assert "&lt;script&gt;alert" in in_plots


def test_formulas_are_not_typeset() -> None:
    svg = curves([Curve("$x^2$ & <b>", [0, 1], [1.0, 2.0])], NARROW)
    assert ">$x^2$ &amp; &lt;b&gt;</text>" in svg


def test_control_characters_are_marked() -> None:
    svg = curves([Curve("a\x00\x1b\nb", [0, 1], [1.0, 2.0])], NARROW)
    assert ">a\ufffd\ufffd\ufffdb</text>" in svg


def test_numbers_of_decisions_do_not_stand_on_each_other() -> None:
    svg = curves(
        [Curve("a", [0, 300], [1.0, 2.0])], WIDE, marks=[(1, 0), (2, 5), (3, 250)], ideal=1.5
    )
    assert [n for n in ("1", "2", "3") if f">{n}</text>" in svg] == ["1", "3"]


def test_plots_use_the_colours_of_the_theme_and_ids_of_their_own(html: str) -> None:
    assert "var(--accent)" in html
    assert "#0000a" not in html
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(ids)
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(ids)


def test_the_page_can_be_heard(html: str) -> None:
    page = Page(html)
    figures = [a for a in page.all("div") if a.get("role") == "img"]
    assert len(figures) == len(page.all("figure")) == 4
    assert "race: before 61.4 [58.4, 64.4], after 50.4" in (figures[0]["aria-label"] or "")
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"
    assert all(a.get("aria-hidden") == "true" for a in page.all("svg"))
    regions = [a for a in page.all("div") if a.get("class") == "scroll"]
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in regions)


def _luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(c * 2 for c in colour)
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_in_every_theme(html: str) -> None:
    themes = re.findall(r":root \{(.*?)\}", html, flags=re.DOTALL)
    assert len(themes) == 3
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): #(\w+);", theme))
        paper = _luminance(colours["paper"])
        for name, least in (
            ("ink", 7),
            ("muted", 4.5),
            ("accent", 4.5),
            ("warn", 4.5),
            ("neutral", 3),
        ):
            light, dark = sorted((paper, _luminance(colours[name])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= least, (name, theme)


def _without(**changes: Any) -> str:
    empty: dict[str, Any] = {
        "metrics": [],
        "history": [],
        "train_log": [],
        "decisions": [],
        "checkpoint": None,
        "proof_of_effect": None,
        "generations": [],
        "not_measured": [],
        "warnings": [],
        "timings": {},
    }
    return page_html(example_record().model_copy(update={**empty, **changes}), {})


def test_an_empty_record_says_so() -> None:
    text = Page(_without()).text
    assert "Bias was not measured on the report split." in text
    assert "nothing was trained in this run" in text
    assert "no text was sampled" in text
    assert text.count("not measured") >= 4
    assert "0.0\u00a0%" not in text


def test_one_phase_alone_makes_a_page() -> None:
    metrics = [m for m in example_record().metrics if m.phase == "before"]
    page = Page(_without(metrics=[m.model_copy(update={"phase": "gpt2"}) for m in metrics]))
    assert "Measured once" in page.text
    assert "gpt2" in page.text
    assert "Change" not in page.text
    assert not page.unbalanced


def test_benchmarks_that_are_neither_preference_nor_guard_have_tables() -> None:
    record = example_record()
    assert "Other benchmarks" not in Page(_without(metrics=record.metrics)).text
    numbers = {("Fixed_<i>Format", "overall"): 30.0, ("Fixed_<i>Format", "gender"): 41.0}
    judged = [
        row(phase, "fairmt", metric, value + more, category=category, variant=variant, ideal=0.0)
        for (variant, category), value in numbers.items()
        for phase, more in (("before", 20.0), ("after", 0.0))
        for metric in ("bias_ratio_all", "bias_ratio_non_refusal")
    ]
    page = Page(_without(metrics=[*record.metrics, *judged]))
    assert not page.unbalanced
    assert "fairmt, Fixed_<i>Format, by category" in page.text
    for text in ("bias_ratio_all, gender", "bias_ratio_non_refusal", "50.0\u00a0%", "61.0\u00a0%"):
        assert text in page.text
    assert f"n {judged[0].n}; ideal 0, lower is better" in page.text


def test_other_phases_stand_beside() -> None:
    record = example_record()
    other = [
        m.model_copy(update={"phase": "paper weights"})
        for m in record.metrics
        if m.phase == "after"
    ]
    page = Page(_without(metrics=record.metrics + other))
    assert page.text.count("paper weights") >= 3


def test_a_measure_shows_the_phases_it_has() -> None:
    record = example_record()
    crows = [
        row(phase, "crows_pairs", "stereotype_share", value, ideal=50.0, better="closer")
        for phase, value in (("before", 60.0), ("after", 55.0))
    ]
    html = _without(metrics=record.metrics + crows)
    section = html.split("CrowS-Pairs stereotype share")[1].split("</table>")[0]
    assert "oracle" not in section
    assert "oracle" in html


def test_a_controllers_many_decisions_are_folded() -> None:
    decision = example_record().decisions[1]
    many = [decision.model_copy(update={"step": step}) for step in range(0, 300, 10)]
    assert "30 decisions of the controller" in _without(decisions=many)


def test_plots_of_single_points_and_flat_curves() -> None:
    for curve in (Curve("a", [0], [50.0]), Curve("b", [0, 10], [50.0, 50.0])):
        for width in (WIDE, NARROW):
            assert "<path" in curves([curve], width, ideal=50.0, marks=[(1, 0)])


def test_text_in_other_scripts_needs_no_font_of_ours() -> None:
    assert "宗教" in curves([Curve("宗教", [0, 1], [1.0, 2.0])], WIDE)


def test_the_variants_of_a_score_are_told_apart_beside_the_oracle() -> None:
    record = example_record()
    across = [
        m.model_copy(update={"variant": "intersentence"})
        for m in record.metrics
        if m.metric == "ss"
    ]
    both = record.model_copy(update={"metrics": [*record.metrics, *across]})
    html = page_html(both, {})
    section = html[html.index("Beside the oracle") :]
    names = re.findall(r'<th scope="row">([^<]*overall)', section[: section.index("</table>")])
    assert len(names) == len(set(names)) >= 4
    assert {"intrasentence", "intersentence"} <= {
        word for name in names for word in name.split(", ")[0].split()
    }
