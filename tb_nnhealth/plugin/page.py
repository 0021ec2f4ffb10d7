"""The saved report: one HTML file with the frontend and the replies it would ask a server for."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tb_nnhealth import __version__
from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.history import Problem
from tb_nnhealth.plugin.replies import ESSENTIAL, ILL_LAYERS, LAYERS, LEVELS, MAPS, TAGS, Reply, SavedRun, pack

BYTES_MOST = 2_000_000
STATIC = Path(__file__).parent / "static"
SPARKLINES_MOST = 500
ROWS_MOST = 4_000
PROBLEMS_TOLD, PROBLEM_CHARACTERS = 5, 1_000
LEAST_OF_A_RUN = 60_000
_FRAME_BYTES = 300_000
"""Script, styles, licences and rows, about; how much a run may take is reckoned with it, the page's size is not."""
_NAMED = {MAPS: "maps of other statistics", ILL_LAYERS: "pages of layers", LAYERS: "pages of layers", TAGS: "scalars"}


class NotBuiltError(Exception):
    """The frontend is not there; the message says how to build it."""


def share(runs: int) -> int:
    """Bytes of replies worth making of each of ``runs`` runs: of few runs all, of many a part."""
    return max(LEAST_OF_A_RUN, (BYTES_MOST - _FRAME_BYTES) * (2 if runs > 1 else 1) // max(1, runs))


def check_built() -> None:
    """Raises NotBuiltError, before the work is done."""
    for name in ("report.js", "report.css", "index.css", "licences.txt"):
        _static(name)


def page(
    runs: Sequence[SavedRun],
    *,
    logdir: str = "",
    title: str = "",
    problems: Sequence[Problem] = (),
    written: float | None = None,
) -> str:
    """The HTML of ``runs``, at most ``BYTES_MOST`` bytes: the severest runs in full, of the others the row.

    ``problems``: what could not be read; the first of them are told at the head.

    Raises NotBuiltError.
    """
    script, style = _static("report.js"), _static("index.css") + _static("report.css")
    licences = _static("licences.txt")
    rows = [saved.row for saved in runs]
    listed = [row if i < SPARKLINES_MOST else {**row, "loss": None} for i, row in enumerate(rows[:ROWS_MOST])]
    listing = {
        "logdir": logdir,
        "runs": listed,
        "scalar_tags": len(frozenset().union(*(saved.tags for saved in runs))),
        "pending": 0,
    }
    shell = (script, style, licences)
    room = BYTES_MOST - sum(len(part.encode()) for part in shell) - 4_000
    listed_as = Reply("runs", "", "", pack(listing), ESSENTIAL)
    kept, bare, left_out = _fitting(runs, room - len(listed_as.packed))
    sentences = [f"Left out, since they would not fit: {', '.join(left_out)}."] if left_out else []
    if len(rows) > ROWS_MOST:
        sentences.append(f"The list ends after {ROWS_MOST:,} of {len(rows):,} runs.")
    if problems:
        told = "; ".join(f"{problem.path}: {problem.message}" for problem in problems[:PROBLEMS_TOLD])
        sentences.append(f"{len(problems):,} file(s) or run(s) could not be read whole. {told[:PROBLEM_CHARACTERS]}")
    content = {
        "version": __version__,
        "written": time.time() if written is None else written,
        "logdir": logdir,
        "runs_left_out": bare,
        "left_out": sentences,
        "replies": [[reply.route, reply.run, reply.about, reply.packed] for reply in (listed_as, *kept)],
    }
    return _html(content, title or logdir, *shell)


def _fitting(runs: Sequence[SavedRun], room: int) -> tuple[list[Reply], int, list[str]]:
    """The replies that fit into ``room`` bytes, the runs without any, and what else is left out in words."""
    order = sorted(runs, key=lambda saved: [-saved.row["counts"][severity] for severity in reversed(SEVERITIES)])
    kept: list[Reply] = []
    chosen: list[SavedRun] = []
    for saved in order:
        essential = [reply for reply in saved.replies if reply.level == ESSENTIAL]
        size = sum(map(_size, essential))
        if size <= room:
            kept += essential
            chosen.append(saved)
            room -= size
    missing = dict.fromkeys(_NAMED.values(), 0)
    for level in LEVELS[1:]:
        for saved in chosen:
            missing[_NAMED[level]] += saved.left_out[level]
            for reply in saved.replies:
                if reply.level == level:
                    if _size(reply) <= room:
                        kept.append(reply)
                        room -= _size(reply)
                    else:
                        missing[_NAMED[level]] += 1
    return kept, len(runs) - len(chosen), [f"{named} ({count:,})" for named, count in missing.items() if count]


def _size(reply: Reply) -> int:
    """Bytes in the page; names are escaped there."""
    return len(reply.packed) + len(_inert([reply.route, reply.run, reply.about])) + 8


def _html(content: Any, title: str, script: str, style: str, licences: str) -> str:
    """No request is allowed, and no script but this one: names in the page are data from strangers."""
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{html.escape(f'{_writable(title)} – NN Health' if title else 'NN Health')}</title>\n"
        f"<style>{style}</style>\n"
        f'<script type="text/plain" id="licences">\n{licences}</script>\n'
        f'<script type="application/json" id="nnhealth-replies">{_inert(content)}</script>\n'
        "</head>\n<body>\n<noscript>This report is drawn by the script within it; allow it to run.</noscript>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _inert(content: Any) -> str:
    """JSON in which nothing can end the script element that holds it."""
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _writable(name: str) -> str:
    """``name`` as UTF-8 can hold it: a file's name need not be text."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def _static(name: str) -> str:
    try:
        text = (STATIC / name).read_text("utf-8")
    except OSError:
        raise NotBuiltError(
            f"{name} of NN Health is not built; run `npm ci && npm run build` in the folder frontend, "
            "or install a released package"
        ) from None
    if "</script" in text.lower() or "</style" in text.lower():
        raise NotBuiltError(f"{name} cannot stand in a page: it holds the end of an element")
    return text
