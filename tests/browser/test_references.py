"""Each state of the tab looks as its reference does, light and dark, at two widths (``references.py`` renews them)."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PIL", reason="pictures are compared with Pillow")

from PIL import Image
from pixels import compare, reduced
from playwright.sync_api import Browser, FrameLocator, Page, expect
from references import FONTS, NOW, PICTURES, RENEW, STATES, THEMES, WIDTHS, State, write
from tabs import Serve, barriers, tab

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
PATIENCE = 30_000
"""Milliseconds; a machine that runs other tests beside this one may be slow."""
MEASURE = """() => {
  const pen = document.createElement("canvas").getContext("2d");
  return ["400 13px Roboto", "500 20px Roboto", '400 12px "Roboto Mono", monospace'].map((font) => {
    pen.font = font;
    return Math.round(pen.measureText("Updates in blocks.3.mlp are too large from step 398").width);
  });
}"""


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
    yield context.new_page()
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


def same_fonts(view: FrameLocator, *, renew: bool) -> None:
    """Skips where text takes another width than when the references were made: every line of every picture differs."""
    widths: Any = view.locator("body").evaluate(MEASURE)
    if renew:
        FONTS.write_text(json.dumps(widths) + "\n", "utf-8")
    elif (known := json.loads(FONTS.read_text("utf-8"))) != widths:
        pytest.skip(f"Roboto and Roboto Mono are not those of the references: a line is {widths} wide, not {known}")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_looks_as_its_reference(page: Page, serve: Serve, logs: Path, state: State, theme: str, width: int) -> None:
    name, renew = f"{state.name}-{theme}-{width}.png", os.environ.get(RENEW) == "1"
    if renew:
        PICTURES.mkdir(exist_ok=True)
    elif not (PICTURES / name).exists():
        pytest.skip(f"there is no reference {name} yet: python tests/browser/references.py makes it")
    view = opened(page, serve(logs / state.logs, "--load_fast=false"), state, theme, width)
    same_fonts(view, renew=renew)
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
