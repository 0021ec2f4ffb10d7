"""How the tab behaves under a person's hands: cursor, layers, address, names of strangers, barriers."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import FrameLocator, Locator, Page, Route, expect
from tabs import Serve, Watched, barriers, tab, without_local_fonts
from two_trainings import ILL_SUBJECT, STEPS, train

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LIGHT_AND_DARK = pytest.mark.parametrize("theme", ["light", "dark"])

Opened = Callable[..., FrameLocator]


def heatmap(view: FrameLocator) -> Locator:
    return view.get_by_role("application", name="Heatmap of")


def test_one_cursor_runs_through_heatmap_scalars_and_evidence(opened: Opened, watched: Watched) -> None:
    view = opened("&p.nnhealth.run=ill")
    expect(view.locator(".evidence-plot canvas")).to_be_visible()
    heatmap(view).focus()
    for _ in range(20):  # dead units are counted from the tenth record on
        heatmap(view).press("ArrowRight")
    pill = view.locator(".step-pill:visible").first
    expect(pill).to_have_text(re.compile(r"^\d+$"))
    step = pill.inner_text()
    places = {round(float(line.bounding_box()["x"])) for line in view.locator(".cursor-line:visible").all()}  # type: ignore[index]
    assert len(places) == 1, "heatmap and scalars share one x"
    assert view.locator(".cursor-line:visible").count() >= 2
    expect(view.locator(".evidence-line span")).to_contain_text(f"at {step}")
    view.get_by_role("application", name="Scalar charts").press("ArrowRight")
    expect(pill).not_to_have_text(step)
    assert watched.faults == []


def test_a_layer_opens_from_the_heatmap_and_closes_again(
    opened: Opened, watched: Watched, picture: Callable[[Page, str], None]
) -> None:
    view = opened("&p.nnhealth.run=ill")
    view.get_by_role("button", name=f"Open layer {ILL_SUBJECT}").first.click()
    expect(view.get_by_role("heading", level=1)).to_have_text(ILL_SUBJECT)
    expect(view.get_by_role("main")).to_contain_text("dead-units from step")
    expect(view.get_by_role("region", name="Series and distributions")).to_contain_text("Activations")
    picture(watched.page, "layer-of-the-finding")
    view.locator("body").press("]")
    expect(view.get_by_role("heading", level=1)).not_to_have_text(ILL_SUBJECT)
    view.locator("body").press("Escape")
    expect(view.get_by_role("region", name="Verdict")).to_be_visible()
    assert watched.faults == []


def test_the_address_gives_the_same_view_again(opened: Opened, watched: Watched) -> None:
    view = opened("&p.nnhealth.run=ill")
    page = watched.page
    view.get_by_label("Statistic", exact=True).select_option(label="Weight norm")
    expect(view.get_by_role("table", name="Weight norm by layer")).to_be_attached()
    heatmap(view).scroll_into_view_if_needed()
    box = heatmap(view).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 5)
    expect(view.locator(".tooltip:visible").first).to_be_visible()
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 5, steps=8)
    page.mouse.up()
    page.wait_for_url(re.compile(r"p\.nnhealth\.steps=\d+-\d+"))
    page.wait_for_url(re.compile(r"p\.nnhealth\.statistic=weight-norm"))
    steps = re.search(r"steps=(\d+)-(\d+)", page.url)
    assert steps is not None
    assert 0 < int(steps[1]) < int(steps[2]) < STEPS
    before = page.url
    page.reload()
    expect(view.get_by_role("table", name="Weight norm by layer")).to_be_attached()
    expect(view.get_by_role("region", name="Layers × steps")).to_contain_text(f"steps {steps[1]}–{steps[2]}")
    assert page.url == before
    assert watched.faults == []


def test_going_back_leads_through_runs_and_layers(opened: Opened, watched: Watched) -> None:
    view = opened("&p.nnhealth.run=ill")
    expect(view.get_by_role("region", name="Verdict")).to_contain_text("Critical")
    view.get_by_role("navigation", name="Runs").get_by_role("button", name="healthy").click()
    expect(view.get_by_role("region", name="Verdict")).to_contain_text("Healthy")
    watched.page.go_back()
    expect(view.get_by_role("region", name="Verdict")).to_contain_text("Critical")
    assert watched.faults == []


def test_verdict_findings_and_heatmap_show_on_a_low_window(
    opened: Opened, watched: Watched, picture: Callable[[Page, str], None]
) -> None:
    for width in (1280, 1600):
        watched.page.set_viewport_size({"width": width, "height": 900})
        view = opened("&p.nnhealth.run=ill")
        for name in ("Verdict", "Findings", "Layers × steps"):
            expect(view.get_by_role("region", name=name)).to_be_in_viewport()
        expect(heatmap(view)).to_be_in_viewport()
        picture(watched.page, f"low-{width}")
    assert watched.faults == []


MARKUP = "<img src=x onerror=alert(1)>"
REVERSED = "\u202egnp_exe\u200f"
"""A right-to-left override and mark."""


def test_names_of_strangers_stay_text(
    watched: Watched, serve: Serve, tmp_path: Path, picture: Callable[[Page, str], None]
) -> None:
    logdir = tmp_path / "logs"
    run = f"{MARKUP} {REVERSED}"
    train(logdir / run, ill=True, encoder=MARKUP, tag=f"loss/train{MARKUP}")
    train(logdir / REVERSED, ill=True, encoder=REVERSED)
    page = watched.open(f"{serve(logdir, '--load_fast=true')}#nnhealth&p.nnhealth.run={quote(run, safe='')}")
    view = tab(page)
    runs = view.get_by_role("navigation", name="Runs")
    verdict = view.get_by_role("region", name="Verdict")
    expect(verdict).to_contain_text(run)
    expect(verdict).to_contain_text(f"{MARKUP}.2")
    expect(runs).to_contain_text(REVERSED)
    expect(heatmap(view)).to_be_visible()
    view.get_by_role("button", name="Open layer").first.click()
    expect(view.get_by_role("heading", level=1)).to_contain_text(MARKUP)
    picture(page, "hostile-layer")
    page.go_back()
    runs.get_by_role("button").filter(has_text=REVERSED).last.click()
    expect(verdict).to_contain_text(f"{REVERSED}.2")
    picture(page, "hostile-run")
    assert view.locator("img").count() == 0
    assert watched.faults == []


def test_charts_are_written_in_the_fonts_that_came_after_them(watched: Watched, serve: Serve, logdir: Path) -> None:
    page, held = watched.page, list[Route]()
    page.route(lambda address: urlsplit(address).path == "/", without_local_fonts)
    page.route("**/*.woff2", lambda route: held.append(route))
    place = f"#nnhealth&p.nnhealth.run=ill&p.nnhealth.layer={ILL_SUBJECT}"
    watched.open(f"{serve(logdir, '--load_fast=true')}{place}", until="commit")  # a page is loaded with its fonts
    canvas = tab(page).locator(".layer-panel canvas").first
    expect(canvas).to_be_visible()
    pixels = partial(canvas.evaluate, "canvas => canvas.toDataURL()")
    blank = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.every(v => v === 0)"
    while canvas.evaluate(blank):
        page.wait_for_timeout(100)
    page.wait_for_timeout(500)
    stand_in = pixels()
    assert held
    page.unroute("**/*.woff2")
    for font in held:
        font.continue_()
    tab(page).locator("body").evaluate("() => document.fonts.ready.then(() => null)")
    page.wait_for_timeout(500)
    assert pixels() != stand_in
    assert watched.faults == []


@LIGHT_AND_DARK
@pytest.mark.parametrize(
    "place",
    [
        pytest.param("&p.nnhealth.run=ill", id="critical"),
        pytest.param("&p.nnhealth.run=healthy", id="healthy"),
        pytest.param("&p.nnhealth.run=", id="overview"),
        pytest.param(f"&p.nnhealth.run=ill&p.nnhealth.layer={ILL_SUBJECT}", id="layer"),
        pytest.param("&p.nnhealth.run=ill&p.nnhealth.ticked=ill%2Chealthy", id="compared"),
    ],
)
def test_axe_finds_no_barrier(
    opened: Opened, watched: Watched, picture: Callable[[Page, str], None], place: str, theme: str, request
) -> None:  # type: ignore[no-untyped-def]
    view = opened(place)
    expect(view.get_by_role("heading").first).to_be_visible()
    watched.page.wait_for_load_state("networkidle")
    if theme == "dark":
        watched.page.evaluate("document.body.classList.add('dark-mode')")
        expect(view.locator("html")).to_have_class(re.compile("dark"))
    assert barriers(view) == []
    picture(watched.page, f"{request.node.callspec.id}")
    assert watched.faults == []
