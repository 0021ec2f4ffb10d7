"""Every key that the help names does what it says."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import FrameLocator, expect
from tabs import Watched, barriers
from two_trainings import ILL_SUBJECT

pytestmark = [pytest.mark.browser, pytest.mark.slow]
Opened = Callable[..., FrameLocator]


@pytest.fixture
def view(opened: Opened) -> FrameLocator:
    view = opened("&p.nnhealth.run=ill")
    expect(view.get_by_role("table", name="by layer").locator("tbody tr").first).to_be_attached()
    view.get_by_role("heading", name="Findings").click()  # keys go to the frame that was clicked into
    return view


def current(view: FrameLocator) -> str:
    return view.get_by_role("region", name="Findings").locator("[aria-current=true] strong").inner_text()


def test_j_and_k_move_through_findings_and_enter_and_escape_through_pages(view: FrameLocator, watched: Watched) -> None:
    body = view.locator("body")
    first = current(view)
    body.press("j")
    expect(view.locator("[aria-current=true] strong")).not_to_have_text(first)
    body.press("k")
    assert current(view) == first
    body.press("k")
    assert current(view) == first, "there is none before the first"
    body.press("Enter")
    title = view.get_by_role("heading", level=1)
    expect(title).to_have_text(re.compile("^encoder"))
    opened = title.inner_text()
    body.press("]")
    expect(title).not_to_have_text(opened)
    body.press("[")
    expect(title).to_have_text(opened)
    body.press("Escape")
    expect(view.get_by_role("region", name="Verdict")).to_be_visible()
    body.press("Escape")
    expect(view.get_by_role("grid").or_(view.get_by_role("table")).first).to_be_visible()
    watched.page.wait_for_url(re.compile(r"p\.nnhealth\.run=(&|$)"))
    body.press("j")
    body.press("Enter")
    expect(view.get_by_role("region", name="Verdict")).to_be_visible()
    assert watched.faults == []


def test_keys_work_as_soon_as_the_tab_is_shown(opened: Opened, watched: Watched) -> None:
    view = opened("&p.nnhealth.run=ill")
    first = current(view)
    watched.page.keyboard.press("j")
    expect(view.locator("[aria-current=true] strong")).not_to_have_text(first)
    assert watched.faults == []


def test_slash_filters_runs_and_letters_in_the_field_are_letters(view: FrameLocator, watched: Watched) -> None:
    view.locator("body").press("/")
    field = view.locator("input[data-filter]")
    expect(field).to_be_focused()
    watched.page.keyboard.type("j.*nothing")
    expect(field).to_have_value("j.*nothing")
    expect(view.get_by_role("navigation", name="Runs")).to_contain_text("0 of 2 runs")
    field.press("Escape")
    expect(field).not_to_be_focused()
    assert watched.faults == []


def test_the_question_mark_lists_the_keys(view: FrameLocator, watched: Watched) -> None:
    view.locator("body").press("?")
    keys = view.get_by_role("dialog", name="Keys")
    for key in ("j", "k", "Enter", "Esc", "/", "[", "]", "Left", "Right", "Up", "Down", "?"):
        expect(keys.locator("kbd").get_by_text(key, exact=True)).to_be_visible()
    assert barriers(view) == []
    watched.page.keyboard.press("Escape")
    expect(keys).to_have_count(0)
    assert watched.faults == []


def test_arrows_move_through_the_heatmap_and_its_layers(view: FrameLocator, watched: Watched) -> None:
    cells = view.get_by_role("application", name="Heatmap of")
    cells.focus()
    cells.press("ArrowDown")
    name = view.locator(".tooltip code").first
    expect(name).to_be_visible()
    top = name.inner_text()
    cells.press("ArrowDown")
    expect(name).not_to_have_text(top)
    cells.press("ArrowUp")
    expect(name).to_have_text(top)
    when = view.locator(".tooltip .tooltip-head span").first
    before = when.inner_text()
    cells.press("ArrowRight")
    expect(when).not_to_have_text(before)
    cells.press("ArrowLeft")
    expect(when).to_have_text(before)
    cells.press("End")
    expect(when).to_contain_text("149")
    cells.press("Home")
    expect(when).to_contain_text("step 0")
    cells.press("Enter")
    expect(view.get_by_role("heading", level=1)).to_contain_text(top)
    assert watched.faults == []


@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("place", ["", f"&p.nnhealth.layer={ILL_SUBJECT}", "&p.nnhealth.ticked=ill%2Chealthy"])
def test_nothing_stands_beyond_the_edge(opened: Opened, watched: Watched, width: int, place: str) -> None:
    watched.page.set_viewport_size({"width": width, "height": 1000})
    view = opened(f"&p.nnhealth.run=ill{place}")
    expect(view.locator("canvas").first).to_be_visible()
    watched.page.wait_for_load_state("networkidle")
    beyond = view.locator("html").evaluate("page => page.scrollWidth - page.clientWidth")
    assert beyond <= 0
    assert watched.faults == []
