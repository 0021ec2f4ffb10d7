"""The tab as a person meets it: TensorBoard on two trainings, one of them ill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from synthetic_logs import write_scalars
from tabs import barriers, tab
from two_trainings import ILL_ROOT

from tb_nnhealth import schema

pytestmark = [pytest.mark.browser, pytest.mark.slow]
BACKENDS = pytest.mark.parametrize(
    "flags",
    [
        pytest.param(("--load_fast=true",), id="data-server"),
        pytest.param(("--load_fast=false",), id="python"),
        pytest.param(("--load_fast=true", "--path_prefix=/some/where"), id="path-prefix"),
    ],
)


@BACKENDS
def test_the_planted_illness_is_the_first_finding(
    flags: tuple[str, ...], watched, serve, logdir: Path, picture: Callable[..., None], request, record_property
) -> None:  # type: ignore[no-untyped-def]
    page = watched.open(f"{serve(logdir, *flags)}#nnhealth")
    view = tab(page)
    verdict = view.get_by_role("region", name="Verdict")
    expect(verdict).to_contain_text("Critical")
    seconds = page.evaluate("performance.now() / 1000")
    record_property("seconds_to_verdict", seconds)
    print(f"\nverdict shown {seconds:.1f} s after the page was asked for ({request.node.callspec.id})")
    expect(page.get_by_role("tab", name="NN Health")).to_have_attribute("aria-selected", "true")
    first = view.get_by_role("region", name="Findings").get_by_role("button").first
    expect(first).to_contain_text("dead-units")
    expect(first).to_contain_text(ILL_ROOT)
    expect(first).to_contain_text("Critical")
    expect(view.get_by_role("region", name="Findings")).to_contain_text("activation-mean-shift")
    runs = view.get_by_role("navigation", name="Runs")
    expect(runs).to_contain_text("healthy")
    expect(view.locator("canvas").first).to_be_visible()
    picture(page, f"run-{request.node.callspec.id}")
    assert watched.faults == []


def test_the_tab_is_opened_with_a_click(watched, serve, logdir: Path) -> None:  # type: ignore[no-untyped-def]
    page = watched.open(serve(logdir, "--load_fast=true"))
    page.get_by_role("tab", name="NN Health").click()
    expect(tab(page).get_by_role("region", name="Verdict")).to_be_visible()
    assert watched.faults == []


def test_light_and_dark_follow_tensorboards_switch(watched, serve, logdir: Path, picture: Callable[..., None]) -> None:  # type: ignore[no-untyped-def]
    def background() -> str:
        return str(view.locator("body").evaluate("body => getComputedStyle(body).backgroundColor"))

    page = watched.open(f"{serve(logdir, '--load_fast=true')}#nnhealth")
    page.set_viewport_size({"width": 1440, "height": 1800})
    view = tab(page)
    expect(view.get_by_role("region", name="Layers × steps")).to_be_visible()
    picture(page, "light")
    light = background()
    page.evaluate("document.body.classList.add('dark-mode')")
    expect(view.locator("body")).not_to_have_css("background-color", light)
    picture(page, "dark")
    assert watched.faults == []


def test_a_healthy_run_says_so(watched, serve, logdir: Path, picture: Callable[..., None]) -> None:  # type: ignore[no-untyped-def]
    page = watched.open(f"{serve(logdir, '--load_fast=true')}#nnhealth&p.nnhealth.run=healthy")
    verdict = tab(page).get_by_role("region", name="Verdict")
    expect(verdict).to_contain_text("Healthy:")
    picture(page, "healthy")
    assert watched.faults == []


def test_every_statistic_of_the_map_can_be_chosen(watched, serve, logdir: Path) -> None:  # type: ignore[no-untyped-def]
    page = watched.open(f"{serve(logdir, '--load_fast=true')}#nnhealth")
    chooser = tab(page).get_by_label("Statistic", exact=True)
    expect(chooser).to_be_visible()
    options = chooser.locator("option").all_text_contents()
    assert len(options) >= 6
    for option in options:
        chooser.select_option(label=option)
        expect(tab(page).get_by_role("table", name=f"{option} by layer")).to_be_attached()
    assert watched.faults == []


def test_the_layer_opens_from_the_finding(watched, serve, logdir: Path, picture: Callable[..., None]) -> None:  # type: ignore[no-untyped-def]
    page = watched.open(f"{serve(logdir, '--load_fast=true')}#nnhealth")
    tab(page).get_by_role("button", name="Open layer encoder").or_(
        tab(page).get_by_role("link", name="Open layer encoder")
    ).first.click()
    layer = tab(page).get_by_role("main")
    expect(layer).to_contain_text("Activations")
    picture(page, "layer")
    assert watched.faults == []


def test_a_log_of_plain_scalars_has_the_tab_too(watched, serve, tmp_path: Path, picture: Callable[..., None]) -> None:  # type: ignore[no-untyped-def]
    points = [(step, 2.0 - step / 100 + (step % 7) / 100) for step in range(150)]
    write_scalars(tmp_path / "logs" / "plain", **{"loss/train": points})
    page = watched.open(f"{serve(tmp_path / 'logs', '--load_fast=true')}#{schema.PLUGIN_NAME}")
    expect(tab(page).locator("body")).to_contain_text("writer.watch(model, optimizer")
    picture(page, "no-records")
    tab(page).get_by_role("button", name="Check their losses anyway").click()
    expect(tab(page).get_by_role("navigation", name="Runs")).to_contain_text("plain")
    expect(tab(page).get_by_role("region", name="Verdict")).to_contain_text("Healthy")
    assert barriers(tab(page)) == []
    picture(page, "plain-scalars")
    assert watched.faults == []


def test_an_empty_log_directory_is_an_invitation(watched, serve, tmp_path: Path, picture: Callable[..., None]) -> None:  # type: ignore[no-untyped-def]
    page = watched.open(f"{serve(tmp_path, '--load_fast=true')}#nnhealth")
    expect(tab(page).get_by_role("main")).to_contain_text("writer.watch(model, optimizer")
    assert barriers(tab(page)) == []
    picture(page, "empty")
    assert watched.faults == []
