"""More than one writer in a run's directory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tb_nnhealth.doctor.trouble import Trouble

OVERLAP_SECONDS = 2.0
"""Less is a writer that closes one file while it opens the next."""
_ADVICE = (
    "Open one SummaryWriter for a directory and hand it around; give a second process, rank or phase a directory of "
    "its own. Until then: tensorboard --reload_multifile=true."
)


class Written(NamedTuple):
    """When a file was written, by the wall times in it."""

    path: str
    first: float
    last: float
    values: int
    """Events of it that hold more than the file's version."""


def troubles(files: Sequence[Written], directory: str) -> list[Trouble]:
    """What TensorBoard may miss of these files, which stand in the order of their names."""
    files = [file for file in files if file.values]
    together, latest = [], None
    for file in files:
        if latest is not None and file.first < latest.last - OVERLAP_SECONDS:
            together.append((latest, file))
        if latest is None or file.last > latest.last:
            latest = file
    if not together:
        return []
    older, newer = together[0]
    if newer.last < older.first:
        return [
            Trouble(
                "files-out-of-order",
                "warning",
                newer.path,
                f"By its name this file comes after {_name(older.path)}, by its wall times before it; TensorBoard "
                "reads files in the order of names.",
                "Name the files events.out.tfevents.SECONDS.…, by the time at which each begins.",
                count=len(together),
            )
        ]
    return [
        Trouble(
            "two-writers",
            "warning",
            directory,
            f"{len(together) + 1} of {len(files)} event files were written at the same time, as {_name(older.path)} "
            f"and {_name(newer.path)}; TensorBoard stops reading the older once there is a newer "
            "one, and mixes what both hold of one tag.",
            _ADVICE,
            count=len(together) + 1,
        )
    ]


def _name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]
