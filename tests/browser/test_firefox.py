"""The tab and the saved report in Firefox, where there is one (``sh tools/browser.sh firefox``)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ARTIFACTS
from firefox import Firefox
from tabs import Serve
from two_trainings import ILL_ROOT

from tb_nnhealth.cli.main import main

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FRAME = "document.querySelector(\"iframe[src*='plugin_entry.html?name=nnhealth']\")"
PAINTED = """
const canvas = root.querySelector(".heatmap-body canvas");
if (!canvas || !canvas.width) return false;
const blank = document.createElement("canvas");
[blank.width, blank.height] = [canvas.width, canvas.height];
return canvas.toDataURL() !== blank.toDataURL();
"""


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    found = os.environ.get("FIREFOX") or shutil.which("firefox-esr") or shutil.which("firefox")
    if found is None:
        pytest.skip("no Firefox: run `sh tools/browser.sh firefox`, or set FIREFOX to its path")
    browser = Firefox(found, tmp_path_factory.mktemp("firefox") / "profile")
    yield browser
    browser.close()


def test_the_tab_shows_the_illness(firefox: Firefox, serve: Serve, logdir: Path) -> None:
    firefox.open(f"{serve(logdir, '--load_fast=true')}#nnhealth")
    firefox.wait(f"return {FRAME}")
    verdict = f"const root = {FRAME}.contentDocument; return root.querySelector('.verdict h1')?.textContent"
    assert ILL_ROOT in firefox.wait(verdict)
    firefox.wait(f"const root = {FRAME}.contentDocument; {PAINTED}")
    firefox.run("document.body.classList.add('dark-mode')")
    firefox.wait(f"return {FRAME}.contentDocument.documentElement.classList.contains('dark')")
    ARTIFACTS.mkdir(exist_ok=True)
    firefox.picture(ARTIFACTS / "firefox.png")
    open_layer = "root.querySelector('button[aria-label^=\"Open layer\"]')?.click();"
    firefox.run(f"const root = {FRAME}.contentDocument; {open_layer}")
    firefox.wait(f"return {FRAME}.contentDocument.querySelector('.layer-panels canvas')")
    assert "p.nnhealth.layer=" in firefox.wait("return location.hash.includes('layer=') && location.hash")


def test_the_saved_report_opens_from_disk(firefox: Firefox, logdir: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert main(["inspect", str(logdir), "--format", "html", "--output", str(file)]) == 0
    firefox.open(file.as_uri())
    assert ILL_ROOT in firefox.wait("return document.querySelector('.verdict h1')?.textContent")
    firefox.wait(f"const root = document; {PAINTED}")
    asked = firefox.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked == []
