"""The heat map and the page of a trace: numbers, signs, what is not there, hostile names."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from tests.unit.reports.example_record import HOSTILE, example_record
from tests.unit.reports.test_page import Page
from unskew.errors import DataError
from unskew.evaluation.effects import Cell, Effects, Estimate
from unskew.evaluation.tracing import STATES
from unskew.reports.heatmaps import HeatCell, HeatMap, heat_maps
from unskew.reports.trace_page import render_trace
from unskew.reports.trace_record import Corruption, TraceRecord


def estimate(value, n=40, half=0.05):
    return Estimate(value, n, value - half, value + half)


def record_of(**changes):
    other = example_record()
    cells = [
        Cell(state, position, layer, estimate(0.01 * layer), estimate(0.2 * layer - 0.1, 31))
        for state in STATES
        for position in ("group_word", "before_attribute")
        for layer in range(4)
    ]
    options = {
        "unskew_version": "0.1.0",
        "command": "unskew trace",
        "reproduce": "unskew trace --model m",
        "created": other.created,
        "seed": 0,
        "environment": other.environment,
        "model": other.model,
        "data": other.data,
        "num_layers": 4,
        "num_pairs": 40,
        "num_targets": 17,
        "categories": {"gender": 40},
        "left_out": {"its target is no word of the context": 3},
        "corruption": Corruption(
            noise_scale=3.0, noise_std=0.16, num_draws=10, window=1, min_change=0.05
        ),
        "effects": Effects(estimate(0.2), estimate(0.1), estimate(0.3), 9, tuple(cells)),
        "seconds": 12.0,
        **changes,
    }
    return TraceRecord(**options)


def page_of(record, folder):
    record.save(folder)
    html = render_trace(folder).read_text()
    page = Page(html)
    assert not page.unbalanced and not page.open
    return html, page


def svg(html):
    return ET.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])


def test_the_page_tells_n_skipped_and_what_was_left_out(tmp_path):
    html, page = page_of(record_of(), tmp_path)
    text = " ".join(page.text.split())
    assert "40 pairs of 17 targets" in text
    assert "9 of 40 pairs are left out of the shares below" in text
    assert "Positions measured: group word 40, before attribute 40, attribute 0 pairs" in text
    assert "3: its target is no word of the context" in text
    assert "script" not in {tag for tag, _ in page.elements}
    assert "://" not in html
    # The best three at each position, by hand: layer 3 of two states, then layer 2.
    order = text[text.index("Layers that bring back most") : text.index("What this says")]
    found = re.findall(r"(Block|Attention|MLP) output ?(\d)", order)
    assert [*found[:3]] == [("Attention", "3"), ("MLP", "3"), ("Attention", "2")]
    assert len(found) == 6


def test_same_record_same_bytes(tmp_path):
    assert page_of(record_of(), tmp_path)[0] == page_of(record_of(), tmp_path)[0]


def test_where_every_pair_was_skipped_it_says_so(tmp_path):
    cells = tuple(Cell("mlp", "group_word", i, estimate(0.0), None) for i in range(4))
    effects = Effects(estimate(0.0), estimate(0.0), estimate(0.0), 40, cells)
    text = " ".join(page_of(record_of(effects=effects), tmp_path)[1].text.split())
    assert "not measured: the corruption changed no pair's gap by more than 0.05 nats" in text
    assert "not measured: every pair was skipped" in text


def test_hostile_names_stay_text(tmp_path):
    record = record_of(
        model=example_record().model.model_copy(update={"name_or_path": HOSTILE}),
        left_out={HOSTILE: 1},
        reproduce=HOSTILE,
    )
    page = page_of(record, tmp_path)[1]
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.text.count('<script>alert("x")') >= 3


def test_a_damaged_record_is_named(tmp_path):
    record_of().save(tmp_path)
    path = tmp_path / "trace.json"
    path.write_text(path.read_text().replace('"num_pairs": 40', '"num_pairs": "many"'))
    with pytest.raises(DataError, match=r"trace.json breaks the schema of a trace: num_pairs"):
        TraceRecord.load(tmp_path)


def test_colour_is_sign_and_size():
    cells = [[HeatCell(0.4, True), HeatCell(-0.2, False), HeatCell(0.0, False), None]]
    root = svg(heat_maps([HeatMap("T", ["row"], list("0123"), cells)], "nats", 720))
    coloured = [r for r in root.iter("rect") if r.get("fill-opacity")]
    assert [r.get("fill") for r in coloured[:2]] == ["var(--accent)", "var(--warn)"]
    full, half, none = (float(r.get("fill-opacity")) for r in coloured)
    assert full == pytest.approx(2 * half) and none == 0.0
    bold = {t.text for t in root.iter("text") if t.get("font-weight") == "700"}
    assert bold == {"0.40"}
    assert "full colour 0.400 nats" in [t.text for t in root.iter("text")]
    assert "\N{MINUS SIGN}0.20" in [t.text for t in root.iter("text")]


def test_small_cells_bear_a_dot_in_place_of_a_number():
    cells = [[HeatCell(0.4, i % 2 == 0) for i in range(48)]]
    root = svg(heat_maps([HeatMap("T", ["row"], [str(i) for i in range(48)], cells)], "", 350))
    assert len(list(root.iter("circle"))) == 24
    labels = [t.text for t in root.iter("text")]
    assert "0.40" not in labels and "0" in labels and len(labels) < 20
    nothing = heat_maps([HeatMap("T", ["row"], ["0"], [[HeatCell(0.0, False)]])], "", 350)
    assert 'fill-opacity="0.000"' in nothing and ">0.000<" in nothing
