from __future__ import annotations

import io
import time

from alerted import EVIL, change, finding, report
from rich.console import Console

from tb_nnhealth.follow.screen import Screen


def seen(width: int = 100, height: int = 20, **given) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    screen = Screen(console)
    with screen:
        screen.show(given["reports"], given.get("changes", []), given.get("unread", 0))
    console.file.truncate(0)
    console.file.seek(0)
    console.print(screen.picture(given["reports"], given.get("unread", 0)))
    return console.file.getvalue()


def test_the_worst_run_stands_first_with_what_it_has() -> None:
    text = seen(reports=[report(run="fine"), report(finding(), run="broken")])
    assert text.index("broken") < text.index("fine")
    assert "non-finite in layers.3 from step 81" in text
    assert "2 runs: 1 critical, 1 healthy" in text


def test_more_runs_than_fit_are_counted() -> None:
    text = seen(reports=[report(run=f"run{i}") for i in range(100)], height=20)
    assert len(text.splitlines()) <= 20
    assert "more below" in text


def test_changes_and_problems_are_told() -> None:
    text = seen(reports=[report(finding())], changes=[change()], unread=3)
    assert "3 could not be read" in text
    assert "NaN in layers.3." in text


def test_names_are_neither_markup_nor_commands() -> None:
    evil = f"[red]{EVIL}[/red][link=http://x]y[/link]"
    text = seen(reports=[report(finding(evil), run=evil)], changes=[change(evil, evil)], width=300)
    assert "[red]" in text
    assert "\x1b[2J" not in text
    assert "\\x1b[2J" in text


def test_the_terminal_is_left_as_it_was() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=20)
    with Screen(console) as screen:
        screen.show([{**report(), "last_wall": time.time()}], [], 0)
    text = console.file.getvalue()
    assert text.index("\x1b[?1049h") < text.index("s ago") < text.index("\x1b[?1049l")
    assert text.rindex("\x1b[?25h") > text.index("\x1b[?25l"), "the cursor is back"
