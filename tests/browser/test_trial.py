"""Thresholds tried in the panel: by the hand, by keys, by number; and the lines to copy."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import FrameLocator, Locator, Page, expect
from tabs import Watched, barriers

pytestmark = [pytest.mark.browser, pytest.mark.slow]
Opened = Callable[..., FrameLocator]


@pytest.fixture
def ill(opened: Opened) -> FrameLocator:
    view = opened("&p.nnhealth.run=ill")
    expect(handle(view)).to_be_visible()
    return view


def handle(view: FrameLocator) -> Locator:
    return view.get_by_role("slider", name="Limit to try: share of dead-units")


def outcome(view: FrameLocator) -> Locator:
    return view.get_by_role("region", name="What would change")


def test_dragging_the_limit_above_the_series_lets_the_finding_go(
    ill: FrameLocator, watched: Watched, picture: Callable[[Page, str], None]
) -> None:
    before = handle(ill).bounding_box()
    assert before is not None
    expect(outcome(ill)).to_have_count(0)
    page = watched.page
    x, y = before["x"] + before["width"] / 2, before["y"] + before["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + 20, steps=4)
    expect(outcome(ill)).to_be_visible()
    page.mouse.up()
    now = handle(ill).bounding_box()
    assert now is not None
    assert now["y"] > before["y"]
    tried = float(handle(ill).get_attribute("aria-valuenow") or "nan")
    assert 0 < tried < 0.3
    expect(ill.get_by_label(re.compile("Value of share to try"))).to_have_value(str(tried))
    expect(ill.locator(".snippet code")).to_contain_text(f'rules={{"dead-units": {{"share": {tried:g}}}}}')
    expect(outcome(ill)).to_contain_text(f"[rules.dead-units]\nshare = {tried:g}")
    page.wait_for_url(re.compile(r"p\.nnhealth\.try=dead-units%3Ashare%3A0\.\d+"))
    picture(page, "trial")
    assert barriers(ill) == []
    page.reload()
    expect(handle(ill)).to_have_attribute("aria-valuenow", str(tried))
    assert watched.faults == []


def test_arrow_keys_move_the_limit_and_escape_resets_it(ill: FrameLocator, watched: Watched) -> None:
    handle(ill).focus()
    handle(ill).press("ArrowDown")
    expect(handle(ill)).not_to_have_attribute("aria-valuenow", "0.3")
    once = float(handle(ill).get_attribute("aria-valuenow") or "nan")
    handle(ill).press("Shift+ArrowDown")
    expect(handle(ill)).not_to_have_attribute("aria-valuenow", str(once))
    assert float(handle(ill).get_attribute("aria-valuenow") or "nan") < once < 0.3
    handle(ill).press("ArrowUp")
    expect(outcome(ill)).to_contain_text(re.compile("would"))
    handle(ill).press("Escape")
    expect(handle(ill)).to_have_attribute("aria-valuenow", "0.3")
    expect(outcome(ill)).to_have_count(0)
    expect(ill.get_by_role("region", name="Verdict")).to_be_visible()
    assert watched.faults == []


def test_a_number_beyond_every_value_shows_the_finding_gone(ill: FrameLocator, watched: Watched) -> None:
    ill.get_by_label(re.compile("Value of share to try")).fill("2")
    expect(outcome(ill)).to_contain_text("1 finding would be gone")
    expect(outcome(ill).get_by_role("listitem")).to_contain_text(["gone"])
    ill.get_by_role("button", name="Reset").click()
    expect(outcome(ill)).to_have_count(0)
    assert watched.faults == []
