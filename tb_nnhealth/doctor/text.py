"""What the doctor found, as text for a terminal."""

from __future__ import annotations

import textwrap

from tb_nnhealth.doctor.trouble import Examined, Trouble

WIDTH = 100
_MARK = {"critical": "✖", "warning": "▲", "info": "●"}


def render(examined: Examined) -> str:
    """The troubles, the worst first, then what was looked at. Names are shown as they are: escape them first."""
    lines = [line for trouble in examined.troubles for line in _told(trouble)]
    counts = {mark: sum(t.severity == mark for t in examined.troubles) for mark in _MARK}
    told = ", ".join(f"{count} {severity}" for severity, count in counts.items() if count) or "nothing wrong"
    lines.append(
        f"{examined.runs:,} run(s), {examined.files:,} file(s), {examined.records:,} records, "
        f"{examined.size / 1e6:,.1f} MB: {told}"
    )
    return "\n".join(lines) + "\n"


def _told(trouble: Trouble) -> list[str]:
    places = [f"byte {trouble.offset:,}"] if trouble.offset is not None else []
    places += [f"step {trouble.step:,}"] if trouble.step is not None else []
    where = f"  ({', '.join(places)})" if places else ""
    lines = [f"{_MARK[trouble.severity]} {trouble.id}{where}", f"  {trouble.path}"]
    lines += textwrap.wrap(trouble.message, WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
    lines += textwrap.wrap(
        trouble.advice, WIDTH, initial_indent="  → ", subsequent_indent="    ", break_long_words=False
    )
    return [*lines, ""]
