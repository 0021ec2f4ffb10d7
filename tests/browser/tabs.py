"""The tab's frame, and a page that notes what goes wrong on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import ConsoleMessage, FrameLocator, Locator, Page, Request, Route

AXE = Path(__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
Serve = Callable[..., str]
"""``serve(logdir, *flags)``: the address of a TensorBoard."""
TENSORBOARDS_FONTS = re.compile(r"/font-roboto/\S+\.woff2$")
"""TensorBoard's own page asks for them at the server's root, so they are not found under a path prefix."""

_LOCAL_FONT = re.compile(r"local\([^)]*\),\s*")


def tab(page: Page) -> FrameLocator:
    """The frame of the NN Health tab."""
    return page.frame_locator("iframe[src*='plugin_entry.html?name=nnhealth']")


def without_local_fonts(route: Route) -> None:
    """TensorBoard's page with the fonts that it brings along, also where the machine has others of their names."""
    reply = route.fetch()
    route.fulfill(response=reply, body=_LOCAL_FONT.sub("", reply.text()))


class Watched:
    """A page with what went wrong on it: errors and our warnings on the console, requests to other servers."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        self._host = ""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))
        page.on("request", self._request)

    def open(self, address: str, until: Literal["load", "commit"] = "load") -> Page:
        self._host = urlsplit(address).netloc
        self.page.goto(address, wait_until=until)
        return self.page

    def _console(self, message: ConsoleMessage) -> None:
        ours = message.type == "warning" and "/nnhealth/" in message.location.get("url", "")
        if (message.type == "error" or ours) and not TENSORBOARDS_FONTS.search(message.location.get("url", "")):
            self.faults.append(f"console: {message.text} ({message.location.get('url')})")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.netloc != self._host:
            self.faults.append(f"request to {address.netloc}")


def barriers(view: FrameLocator) -> list[str]:
    """What axe finds wrong in the tab's frame."""
    return _axe(view.locator("html"))


def page_barriers(page: Page) -> list[str]:
    """What axe finds wrong in a page of its own."""
    return _axe(page.locator("html"))


def _axe(root: Locator) -> list[str]:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: run `npm ci` in the folder frontend")
    root.evaluate(AXE.read_text("utf-8"))
    found = root.evaluate("async () => (await axe.run()).violations")
    return [f"{entry['id']}: {[node['target'] for node in entry['nodes']]}" for entry in found]
