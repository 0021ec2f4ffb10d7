"""Two runs compared: ratio in the heatmap, curves laid over each other, findings as new, gone and common."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import FrameLocator, Page, expect
from tabs import Watched, barriers
from two_trainings import ILL_SUBJECT

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TICKED = "&p.nnhealth.ticked=ill%2Chealthy"
Opened = Callable[..., FrameLocator]


def test_the_heatmap_of_two_runs_is_their_ratio_and_either_alone(
    opened: Opened, watched: Watched, picture: Callable[[Page, str], None]
) -> None:
    watched.page.set_viewport_size({"width": 1440, "height": 1500})
    view = opened(f"&p.nnhealth.run=ill&p.nnhealth.statistic=activation-std{TICKED}")
    table = view.get_by_role("table", name="Activation std by layer")
    silent = table.get_by_role("row").filter(has=view.get_by_role("rowheader", name=ILL_SUBJECT, exact=True))
    expect(silent).to_contain_text("as much")
    expect(view.get_by_role("img", name=re.compile("^Colours"))).to_contain_text("alike")
    picture(watched.page, "ratio")
    view.get_by_label("Runs shown").select_option("own")
    expect(silent).not_to_contain_text("as much")
    watched.page.wait_for_url(re.compile(r"p\.nnhealth\.ratio=off"))
    watched.page.reload()
    expect(view.get_by_label("Runs shown")).to_have_value("own")
    view.get_by_label("Runs shown").select_option("ratio")
    expect(silent).to_contain_text("as much")
    assert watched.faults == []


def test_findings_are_new_or_gone_seen_from_the_run_in_focus(opened: Opened, watched: Watched) -> None:
    for run, word in (("ill", "new"), ("healthy", "gone")):
        view = opened(f"&p.nnhealth.run={run}{TICKED}")
        compared = view.get_by_role("region", name="Comparison of findings")
        expect(compared.get_by_role("row").filter(has_text="dead-units")).to_contain_text(word)
        watched.page.goto("about:blank")
    assert watched.faults == []


def test_a_layers_series_lie_over_those_of_the_other_run(
    opened: Opened, watched: Watched, picture: Callable[[Page, str], None]
) -> None:
    view = opened(f"&p.nnhealth.run=ill&p.nnhealth.layer={ILL_SUBJECT}{TICKED}")
    expect(view.get_by_role("list", name="Compared with").get_by_role("listitem")).to_have_text(["ill", "healthy"])
    expect(view.get_by_role("region", name="Series and distributions").locator("canvas").first).to_be_visible()
    picture(watched.page, "layer-compared")
    assert barriers(view) == []
    assert watched.faults == []
