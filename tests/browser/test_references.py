"""Each state of the tab looks as its reference does, light and dark, at two widths (``references.py`` renews them)."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("PIL", reason="pictures are compared with Pillow")

from PIL import Image
from pixels import compare, reduced
from playwright.sync_api import Browser, FrameLocator, Page, expect
from references import CHROMIUM, NOW, PICTURES, RENEW, STATES, THEMES, WIDTHS, State, write
from tabs import Serve, barriers, tab, without_local_fonts

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
PATIENCE = 30_000
"""Milliseconds; a machine that runs other tests beside this one may be slow."""


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("references")
    write(folder)
    return folder


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce", timezone_id="UTC")
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    context.clock.set_fixed_time(datetime.fromtimestamp(NOW, timezone.utc))
    page = context.new_page()
    page.route(lambda address: urlsplit(address).path == "/", without_local_fonts)
    yield page
    context.close()


def opened(page: Page, address: str, state: State, theme: str, width: int) -> FrameLocator:
    page.set_viewport_size({"width": width, "height": 1400 if state.name != "no-records" else 900})
    page.goto("about:blank")
    page.goto(f"{address}#nnhealth{state.place}")
    view = tab(page)
    expect(view.get_by_text(state.ready).first).to_be_visible()
    if theme == "dark":
        page.evaluate("document.body.classList.add('dark-mode')")
        expect(view.locator("html")).to_have_class(re.compile("dark"))
    expect(view.locator("[aria-busy=true]")).to_have_count(0)
    view.locator("body").evaluate("() => document.fonts.ready.then(() => null)")
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    return view


def same_browser(browser: Browser, *, renew: bool) -> None:
    """Skips where another version of Chromium made the references: each draws text a little differently."""
    version = browser.version.split(".")[0]
    if renew:
        CHROMIUM.write_text(version + "\n", "utf-8")
    elif (known := CHROMIUM.read_text("utf-8").strip()) != version:
        pytest.skip(f"this is Chromium {version}, and the references are of {known}")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_looks_as_its_reference(
    browser: Browser, page: Page, serve: Serve, logs: Path, state: State, theme: str, width: int
) -> None:
    name, renew = f"{state.name}-{theme}-{width}.png", os.environ.get(RENEW) == "1"
    if renew:
        PICTURES.mkdir(exist_ok=True)
    elif not (PICTURES / name).exists():
        pytest.skip(f"there is no reference {name} yet: python tests/browser/references.py makes it")
    same_browser(browser, renew=renew)
    opened(page, serve(logs / state.logs, "--load_fast=false"), state, theme, width)
    data = page.locator("iframe").element_handle().screenshot(animations="disabled")
    actual = Image.open(io.BytesIO(data)).convert("RGB")
    if renew:
        reduced(actual).save(PICTURES / name, optimize=True)
        return
    expected = Image.open(PICTURES / name).convert("RGB")
    found = compare(expected, reduced(actual).convert("RGB"))  # both with the errors of a palette
    if found.why:
        folder = ARTIFACTS / "references"
        folder.mkdir(parents=True, exist_ok=True)
        for kind, picture in (("expected", expected), ("actual", actual), ("difference", found.picture(expected))):
            picture.save(folder / f"{Path(name).stem}.{kind}.png")
    assert not found.why, f"{found.why}; see artifacts/references/{Path(name).stem}.difference.png"


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_axe_finds_no_barrier_in_it(page: Page, serve: Serve, logs: Path, state: State, theme: str) -> None:
    assert barriers(opened(page, serve(logs / state.logs, "--load_fast=false"), state, theme, WIDTHS[0])) == []


def test_references_are_small() -> None:
    assert sum(path.stat().st_size for path in PICTURES.glob("*.png")) <= 2_000_000
