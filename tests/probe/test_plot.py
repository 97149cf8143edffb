"""The dot plot is an SVG with a dot for each run."""

from __future__ import annotations

from xml.etree import ElementTree

from recaption.probe.arms import CONTROLS
from recaption.probe.plot import dot_plot
from recaption.probe.probe import Judged
from recaption.probe.verdict import Controls


def test_each_run_is_a_dot_in_the_panel() -> None:
    values = {name: [0.1 * n, 0.1 * n + 0.02] for n, name in enumerate(["a <b>", *CONTROLS])}
    one = Judged(slice="s", metric="fine", queries=9, values=values, controls=Controls(again=0.05, faults=()), pairs={})
    root = ElementTree.fromstring(dot_plot([one, one], ["a <b>"]))
    circles = root.findall("{*}circle")
    assert len(circles) == 2 * 2 * 4
    assert all(220 <= float(circle.attrib["cx"]) <= 580 for circle in circles)
    assert "a <b>" in [text.text for text in root.findall("{*}text")]
