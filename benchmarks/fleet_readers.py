"""Others' readers on the run directories named: prints for each [seconds, processor seconds], null where it fails."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable


def event_accumulator(directory: str) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    EventAccumulator(directory).Reload()


def tbparse(directory: str) -> None:
    from tbparse import SummaryReader

    assert len(SummaryReader(directory).scalars)


READERS: dict[str, Callable[[str], None]] = {"event_accumulator": event_accumulator, "tbparse": tbparse}


def main(name: str, directories: list[str]) -> None:
    took: list[tuple[float, float] | None] = []
    read = READERS[name]
    try:
        read(directories[0])  # imports are not counted
    except Exception as error:
        print(f"{name}: {directories[0]}: {type(error).__name__}: {error}", file=sys.stderr)
    for directory in directories:
        begun = time.monotonic(), time.process_time()
        try:
            read(directory)
        except Exception:
            took.append(None)
        else:
            took.append((time.monotonic() - begun[0], time.process_time() - begun[1]))
    print(json.dumps(took))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
