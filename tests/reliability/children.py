"""Work in a forked child, so that whatever happens to it is seen from outside."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What the work returned, as JSON has it; or how it ended instead, in a sentence."""

    value: Any = None
    error: str | None = None


def in_child(work: Callable[[], Any], seconds: float) -> Outcome:
    """What ``work`` returns in a forked child, which is killed where it takes longer than ``seconds``."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _be_child(work, reading, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = _read(pipe, seconds)
    if said is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if said is None:
        return Outcome(error=f"it had not ended after {seconds:g} s")
    if not said:
        return Outcome(error=f"it ended with status {os.waitstatus_to_exitcode(status)} and said nothing")
    told = json.loads(said)
    return Outcome(told.get("value"), told.get("error"))


def _be_child(work: Callable[[], Any], reading: int, writing: int) -> None:
    os.close(reading)
    told: dict[str, Any]
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stderr.fileno())
        told = {"value": work()}
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
        told = {"error": f"{type(error).__name__}: {error}{place}"}
    with suppress(BaseException), os.fdopen(writing, "wb") as pipe:
        pipe.write(json.dumps(told).encode())
    os._exit(0)  # the parent's own clean-up is not the child's


def _read(pipe: Any, seconds: float) -> bytes | None:
    """All of ``pipe`` until its end, None where that does not come in time."""
    deadline, parts = time.monotonic() + seconds, []
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([pipe], [], [], left)[0]:
            return None
        part = os.read(pipe.fileno(), 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None
