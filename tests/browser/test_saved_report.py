"""The saved report, opened from disk in a browser without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tabs import Serve, Watched, page_barriers, tab
from two_trainings import ILL_ROOT, ILL_SUBJECT, train

from tb_nnhealth.cli.main import main

pytestmark = [pytest.mark.browser, pytest.mark.slow]
MARKUP = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>document.title='broken'</script> \u202egnp"


class Saved:
    """A page offline, with every request, console message and exception on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.faults: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.faults.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))

    def open(self, file: Path, place: str = "") -> Page:
        self.page.goto(f"{file.as_uri()}{place}")
        return self.page


@pytest.fixture
def opened(browser: Browser) -> Iterator[Saved]:
    context = browser.new_context(viewport={"width": 1280, "height": 1400}, offline=True)
    yield Saved(context.new_page())
    context.close()


@pytest.fixture(scope="module")
def report(logdir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["inspect", str(logdir), "--format", "html", "--output", str(file)]) == 0
    return file


def test_it_shows_the_tabs_views_and_asks_for_nothing(
    opened: Saved, report: Path, picture: Callable[[Page, str], None]
) -> None:
    page = opened.open(report)
    assert report.stat().st_size < 2_000_000
    expect(page.get_by_role("region", name="Verdict")).to_contain_text("Critical")
    expect(page.get_by_role("region", name="Verdict")).to_contain_text(ILL_ROOT)
    expect(page.locator(".evidence-plot canvas")).to_be_visible()
    expect(page.get_by_role("application", name="Heatmap of")).to_be_visible()
    expect(page.get_by_role("region", name="Scalars")).to_contain_text("loss")
    expect(page.get_by_role("link", name="HTML report")).to_have_count(0)
    expect(page.get_by_text("Other thresholds cannot be tried here")).to_be_visible()
    picture(page, "report-light")
    chooser = page.get_by_label("Statistic", exact=True)
    for option in chooser.locator("option").all_text_contents():
        chooser.select_option(label=option)
        expect(page.get_by_role("table", name=f"{option} by layer")).to_be_attached()
    page.get_by_role("button", name=f"Open layer {ILL_SUBJECT}").first.click()
    expect(page.get_by_role("region", name="Series and distributions")).to_contain_text("Activations")
    page.keyboard.press("Escape")
    page.get_by_role("navigation", name="Runs").get_by_role("button", name="healthy").click()
    expect(page.get_by_role("region", name="Verdict")).to_contain_text("Healthy:")
    page.get_by_role("button", name="Add scalar").click()
    page.get_by_role("checkbox", name="loss/train").check()
    expect(page.get_by_role("button", name="Remove loss/train")).to_be_attached()
    assert opened.requests == [report.as_uri()]
    assert opened.faults == []


def test_a_place_in_it_can_be_sent_to_a_colleague(opened: Saved, report: Path) -> None:
    page = opened.open(report, "#nnhealth&p.nnhealth.run=healthy&p.nnhealth.steps=20-60")
    expect(page.get_by_role("region", name="Layers × steps")).to_contain_text("steps 20–60")
    page.locator("summary", has_text="What it holds").click()
    expect(page.get_by_role("banner")).to_contain_text("Zooming stretches the columns")
    assert opened.faults == []


def test_it_is_light_and_dark_without_barriers(
    opened: Saved, report: Path, picture: Callable[[Page, str], None]
) -> None:
    opened.page.emulate_media(color_scheme="dark")
    page = opened.open(report)
    expect(page.get_by_role("application", name="Heatmap of")).to_be_visible()
    expect(page.locator("html")).to_have_class(re.compile("dark"))
    picture(page, "report-dark")
    assert page_barriers(page) == []
    page.get_by_role("button", name="Light").click()
    expect(page.locator("html")).not_to_have_class(re.compile("dark"))
    assert page_barriers(page) == []


def test_names_of_strangers_stay_text_in_it(opened: Saved, tmp_path: Path) -> None:
    train(tmp_path / "logs" / MARKUP, ill=True, encoder=MARKUP, tag=f"loss/train{SCRIPT}")
    file = tmp_path / "report.html"
    main(["inspect", str(tmp_path / "logs"), "--format", "html", "--output", str(file)])
    page = opened.open(file)
    expect(page.get_by_role("region", name="Verdict")).to_contain_text(f"{MARKUP}.2")
    page.get_by_role("button", name="Add scalar").click()
    expect(page.locator(".picker-tags")).to_contain_text(SCRIPT)
    assert page.title() == "logs – NN Health"
    assert page.locator("img").count() == 0
    assert opened.requests == [file.as_uri()]
    assert opened.faults == []


def test_what_it_does_not_hold_it_says(opened: Saved, report: Path, tmp_path: Path) -> None:
    text = report.read_text("utf-8")
    found = re.search(r'<script type="application/json" id="nnhealth-replies">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    content = json.loads(found[1])
    content["runs_left_out"] = 1
    content["replies"] = [reply for reply in content["replies"] if reply[1] != "healthy"]
    file = tmp_path / "part.html"
    file.write_text(text.replace(found[1], json.dumps(content)), "utf-8")
    page = opened.open(file, "#nnhealth&p.nnhealth.run=healthy")
    expect(page.get_by_role("alert")).to_contain_text("holds only this run's line in the list")
    expect(page.get_by_role("navigation", name="Runs")).to_contain_text("Healthy")
    assert opened.faults == []


def test_the_tab_saves_the_run_as_such_a_file(
    watched: Watched, serve: Serve, logdir: Path, opened: Saved, tmp_path: Path
) -> None:
    page = watched.open(f"{serve(logdir, '--load_fast=true', '--path_prefix=/some/where')}#nnhealth")
    with page.expect_download() as waiting:
        tab(page).get_by_role("link", name="HTML report").click()
    assert waiting.value.suggested_filename == "nnhealth-ill.html"
    file = tmp_path / "saved.html"
    waiting.value.save_as(file)
    expect(opened.open(file).get_by_role("region", name="Verdict")).to_contain_text(ILL_ROOT)
    assert opened.requests == [file.as_uri()]
    assert watched.faults == []
