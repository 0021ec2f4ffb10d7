"""A real TensorBoard over recorded trainings, and a real Chromium that may talk to nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="the browser's driver is not installed")
pytest.importorskip("torch", reason="the trainings need torch")

from playwright.sync_api import Browser, FrameLocator, Page, expect, sync_playwright  # noqa: E402
from tabs import Serve, Watched, tab  # noqa: E402
from two_trainings import record  # noqa: E402

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
START_SECONDS = 60
PATIENCE = 30_000
"""Milliseconds; a machine that runs other tests beside this one may be slow."""
_SERVING = re.compile(r"at (http://\S+) \(Press CTRL")


@pytest.fixture(scope="session")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    logdir = tmp_path_factory.mktemp("trainings")
    record(logdir)
    return logdir


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=executable, args=list(CHROMIUM_FLAGS))
        except playwright.Error as error:
            pytest.skip(f"no Chromium: set CHROMIUM to its path ({str(error).splitlines()[0]})")
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """``serve(logdir, *flags)`` starts TensorBoard, once for the same arguments, and gives its address."""
    running: dict[tuple[str, ...], tuple[subprocess.Popen[bytes], str]] = {}

    def start(logdir: Path, *flags: str) -> str:
        arguments = ("--logdir", str(logdir), "--port", "0", *flags)
        if arguments not in running:
            told = tmp_path_factory.mktemp("tensorboard") / "log.txt"
            with told.open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tensorboard.main", *arguments], stdout=log, stderr=subprocess.STDOUT
                )
            running[arguments] = (process, _address(process, told))
        return running[arguments][1]

    yield start
    for process, _ in running.values():
        process.terminate()
        process.wait(timeout=30)


def _address(process: subprocess.Popen[bytes], told: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        serving = _SERVING.search(told.read_text("utf-8"))
        if serving:
            return serving[1]
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"TensorBoard did not start:\n{told.read_text('utf-8')}")


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    yield Watched(context.new_page())
    context.close()


@pytest.fixture
def opened(watched: Watched, serve: Serve, logdir: Path) -> Callable[..., FrameLocator]:
    """``opened("&p.nnhealth.run=ill")`` shows the tab at a place of the two trainings."""

    def open_at(place: str = "") -> FrameLocator:
        watched.open(f"{serve(logdir, '--load_fast=true')}#nnhealth{place}")
        return tab(watched.page)

    return open_at


@pytest.fixture
def picture() -> Callable[[Page, str], None]:
    """Saves a screenshot among the test artifacts."""

    def save(page: Page, name: str) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"{name}.png")

    return save
