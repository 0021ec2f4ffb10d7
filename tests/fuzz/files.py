"""What must hold of any bytes in the place of an event file. Each function raises where it does not."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable

from tb_nnhealth.doctor import text
from tb_nnhealth.doctor.examine import examine
from tb_nnhealth.doctor.spans import spans
from tb_nnhealth.doctor.window import Window
from tb_nnhealth.events.walk import Found, RunDirectory
from tb_nnhealth.plugin.replies import saved_run
from tb_nnhealth.report.build import build
from tb_nnhealth.report.formats import FORMATS
from tb_nnhealth.rules.base import Failed
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.source.run_files import RunFiles
from tests.events.logs import FILE
from tests.reliability.readers import valid_bytes
from tests.source.fuzz import Memory, compare

LONGEST_SECONDS = 1.0
"""Of a processor, for a file of some kilobytes."""
MOST_BYTES = 256 << 20
"""By which one file may raise the memory of the process."""


class Wrong(Exception):
    """What a file showed that must not be."""


def read(whole: bytes) -> None:
    """Reading goes exactly to the end of the last whole record, and gives the same run without the native core."""
    chunk = 1 << len(whole) % 12
    reading = RunFiles("run", Memory(whole))
    reading.refresh([FILE])
    reached, valid = reading._files[FILE].offset, valid_bytes(whole)
    if reached != valid:
        raise Wrong(f"read {reached} of {valid} valid bytes")
    compare(whole, chunk)


def judged(whole: bytes) -> None:
    """What was read is judged by every rule, rendered in every format, and makes every reply of the tab."""
    run = RunFiles("run", Memory(whole)).refresh([FILE])
    judgement = judge(run)
    for rule, outcome in judgement.outcomes.items():
        if isinstance(outcome, Failed):
            raise Wrong(f"the rule {rule} failed: {outcome.error}")
    report = build(run, judgement)
    json.dumps(report, allow_nan=False)
    for render in FORMATS.values():
        render([report], run.problems).encode()
    saved_run(run, report, 200_000)


def examined(whole: bytes) -> None:
    """The doctor finds spans that make up the file, and says what is wrong with it."""
    storage = Memory(whole)
    end = 0
    for span in spans(Window(storage, FILE, len(whole))):
        if span.offset != end or span.length <= 0:
            raise Wrong(f"a span of {span.length} bytes at {span.offset}, behind one that ends at {end}")
        end += span.length
    if end != len(whole):
        raise Wrong(f"the spans end at byte {end} of {len(whole)}")
    text.render(examine(Found([RunDirectory("run", "run", (FILE,), storage)]))).encode()


CHECKS: dict[str, Callable[[bytes], None]] = {check.__name__: check for check in (read, judged, examined)}


def bounded(check: Callable[[bytes], None], whole: bytes) -> None:
    """``check``, within the time and the memory that one file may take."""
    memory, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    check(whole)
    seconds = time.process_time() - begun
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory)
    if seconds > LONGEST_SECONDS:
        raise Wrong(f"took {seconds:.1f} s of the processor")
    if grown > MOST_BYTES:
        raise Wrong(f"took {grown >> 20} MB")
