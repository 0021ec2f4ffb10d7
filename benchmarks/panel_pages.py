"""What runs in the page while the tab is measured: when something has been painted, and what a frame costs."""

from __future__ import annotations

from typing import Any

FRAME = "iframe[src*='plugin_entry.html?name=']"
PATIENCE = 120_000
"""Milliseconds for what the page is waited for."""
IDLE = "!root.querySelector('[aria-busy=true]')"


class Text(str):
    """A condition met by text, which is painted in the frame that shows it; a canvas is drawn one later."""


_DEEP = """
const deep = (root, wanted) => root.querySelector(wanted) ??
  [...root.querySelectorAll("*")].reduce((found, e) => found ?? (e.shadowRoot && deep(e.shadowRoot, wanted)), null);
"""
_AFTER_THIS_FRAME = """
// Before anything else that waits, a timer of the page or another frame: what they do is no part of this frame.
const afterThisFrame = (task) => scheduler.postTask(task, { priority: "user-blocking" });
"""
_PAINTED = (
    (
        _DEEP
        + _AFTER_THIS_FRAME
        + """
const met = conditions.map(([text]) => new Function("root", "deep", "return " + text));
const times = [];
let seen = 0;
const painted = (places) => () => {
  for (const place of places) times[place] = performance.now() - begun;
  if (Object.keys(times).length === met.length) done(times);
};
const look = () => {
  const root = document.querySelector("FRAME")?.contentDocument ?? document;
  if (performance.now() - begun > PATIENCE) return fail(new Error("not painted in time: " + conditions[seen][0]));
  const [texts, pictures] = [[], []];
  for (; seen < met.length && root.body && met[seen](root, deep); seen++)
    (conditions[seen][1] ? texts : pictures).push(seen);
  if (texts.length) afterThisFrame(painted(texts));
  if (pictures.length) requestAnimationFrame(() => afterThisFrame(painted(pictures)));
  if (seen < met.length) requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
    )
    .replace("FRAME", FRAME)
    .replace("PATIENCE", str(PATIENCE))
)

ACT = f"""
([trigger, conditions]) => new Promise((done, fail) => {{
  const begun = performance.now();
  const root = document.querySelector("{FRAME}")?.contentDocument ?? document;
  new Function("root", trigger)(root);
  {_PAINTED}
}})
"""
CLICKED = f"""
(conditions) => new Promise((done, fail) => {{
  const begun = window.clickedAt;
  {_PAINTED}
}})
"""
CURSOR = (
    (
        """
(count) => new Promise((done) => {
  AFTER_THIS_FRAME
  const root = document.querySelector("FRAME").contentDocument;
  const cells = root.querySelector(".heatmap-cells");
  const box = cells.getBoundingClientRect();
  const [work, frames] = [[], []];
  let [i, last] = [0, null];
  let begun = 0;
  const painted = () => {
    work.push(performance.now() - begun);
    i++ < count ? requestAnimationFrame(step) : done([work, frames]);
  };
  const step = (now) => {
    if (last !== null) frames.push(now - last);
    last = now;
    begun = performance.now();
    const x = box.left + (box.width * (i + 0.5)) / (count + 1);
    cells.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: x, clientY: box.top + 8 }));
    afterThisFrame(painted);
  };
  requestAnimationFrame(step);
})
"""
    )
    .replace("AFTER_THIS_FRAME", _AFTER_THIS_FRAME)
    .replace('"FRAME"', f'"{FRAME}"')
)


def click(page: Any, tab: Any, conditions: list[str]) -> list[float]:
    """Milliseconds from the click on a tab, as the page meets it, until each condition in turn is painted."""
    page.evaluate("addEventListener('click', () => { window.clickedAt = performance.now(); }, { capture: true })")
    tab.click()
    times: list[float] = page.evaluate(CLICKED, _told(conditions))
    return times


def act(page: Any, trigger: str, conditions: list[str]) -> list[float]:
    """Milliseconds from ``trigger``, JavaScript, until each of the ``conditions`` in turn is painted."""
    times: list[float] = page.evaluate(ACT, [trigger, _told(conditions)])
    return times


def go(page: Any, place: str, conditions: list[str]) -> list[float]:
    """As ``act``: the address names another ``place`` in the tab."""
    return act(page, f"location.hash = '#nnhealth&{place}'", conditions)


def _told(conditions: list[str]) -> list[tuple[str, bool]]:
    return [(condition, isinstance(condition, Text)) for condition in conditions]
