"""The tab where it is not at home: under a strict content policy, in a notebook, behind a proxy."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from elsewhere import notebook, proxied
from playwright.sync_api import FrameLocator, Page, Route, expect
from tabs import Serve, Watched, tab
from two_trainings import ILL_ROOT, ILL_SUBJECT, train

pytestmark = [pytest.mark.browser, pytest.mark.slow]
MARKUP = "<img src=x onerror=alert(1)><style>*{display:none}</style>"
REVERSED = "\u202egnp_exe\u200f"


def behave_strictly(page: Page) -> list[str]:
    """Lets the tab's frame run its own files and nothing else; gives the list of policies that were set."""
    policies: list[str] = []

    def restrict(route: Route) -> None:
        found = route.fetch()
        # TensorBoard's own line that imports the tab is told by its hash.
        hashes = " ".join(re.findall(r"'sha256-[^']+'", found.headers["content-security-policy"]))
        policies.append(
            f"default-src 'none'; script-src 'self' {hashes}; style-src 'self'; connect-src 'self'; "
            "img-src 'self' data: blob:; font-src 'self' data:; base-uri 'self'; require-trusted-types-for 'script'"
        )
        route.fulfill(response=found, headers={**found.headers, "content-security-policy": policies[-1]})

    page.route("**/data/plugin_entry.html?name=nnhealth", restrict)
    return policies


def test_a_strict_policy_and_hostile_names_break_nothing(watched: Watched, serve: Serve, tmp_path: Path) -> None:
    run = f"{MARKUP} {REVERSED}"
    logdir = tmp_path / "logs"
    train(logdir / run, ill=True, encoder=f"{REVERSED}{MARKUP}".replace(".", ""), tag=f"loss/train{MARKUP}")
    policies = behave_strictly(watched.page)
    watched.open(f"{serve(logdir, '--load_fast=true')}#nnhealth&p.nnhealth.run={quote(run, safe='')}")
    view = tab(watched.page)
    expect(view.get_by_role("region", name="Verdict")).to_contain_text(run)
    expect(view.get_by_role("application", name="Heatmap of")).to_be_visible()
    expect(view.locator(".evidence-plot canvas")).to_be_visible()
    view.get_by_role("button", name="Add scalar").click()
    expect(view.locator(".picker-tags")).to_contain_text(f"loss/train{MARKUP}")
    view.locator("body").press("Escape")
    view.get_by_role("button", name="Open layer").first.click()
    expect(view.get_by_role("heading", level=1)).to_contain_text(MARKUP)
    assert policies
    assert "unsafe" not in policies[-1]
    assert view.locator("img, style").count() == 0
    assert watched.faults == []


def shows_the_illness(view: FrameLocator) -> None:
    verdict = view.get_by_role("region", name="Verdict")
    expect(verdict).to_contain_text("Critical")
    expect(verdict).to_contain_text(ILL_ROOT)
    expect(view.get_by_role("application", name="Heatmap of")).to_be_visible()
    view.get_by_role("button", name=f"Open layer {ILL_SUBJECT}").first.click()
    expect(view.get_by_role("heading", level=1)).to_have_text(ILL_SUBJECT)


def test_it_works_in_a_notebooks_frame(watched: Watched, serve: Serve, logdir: Path) -> None:
    with notebook(f"{serve(logdir, '--load_fast=true')}#nnhealth") as address:
        page = watched.page
        page.goto(address)
        shows_the_illness(
            page.frame_locator("#tensorboard").frame_locator("iframe[src*='plugin_entry.html?name=nnhealth']")
        )
    assert [fault for fault in watched.faults if "request" not in fault] == []


@pytest.mark.parametrize("flags", [(), ("--path_prefix=/inner",)], ids=["plain", "path-prefix"])
def test_it_works_behind_a_proxy_with_a_path_of_its_own(
    flags: tuple[str, ...], watched: Watched, serve: Serve, logdir: Path
) -> None:
    inner = "/inner" if flags else ""
    tensorboard = serve(logdir, "--load_fast=true", *flags).rstrip("/").removesuffix("/inner")
    with proxied(tensorboard, "/user/ada/proxy/6006") as address:
        watched.open(f"{address}{inner}/#nnhealth")
        view = tab(watched.page)
        shows_the_illness(view)
        view.locator("body").press("Escape")
        with watched.page.expect_download() as waiting:
            view.get_by_role("link", name="HTML report").click()
        assert waiting.value.suggested_filename == "nnhealth-ill.html"
    assert watched.faults == []
