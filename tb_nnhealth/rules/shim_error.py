"""Something went wrong inside the recording itself; the training was not touched by it.

## What it detects
Errors that the shim caught in its own hooks, its judge or its writer, and health records that it had to drop.

## Why it matters
What was not recorded was not checked. A verdict on half of the network must not look like one on the whole.

## How it is computed
The capture counts its records (written, dropped) and keeps every distinct error once; both are part of the log.
Reported are all errors, and drops beyond `dropped` of all records (a share).

## What to try
1. Read the error: it names the module or parameter and the statistic that could not be taken.
2. Exclude that module: `watch(..., exclude=["its.name"])`; everything else is recorded as before.
3. Where records were dropped, the disk did not keep up: log to a faster one, or measure less often with `every=`.
4. Report the error with the versions of `torch` and `tb-nnhealth`; it is a fault of ours, not of your training.

## When it is harmless
Always for the training, which continues bit for bit as without the shim. For the diagnosis it is harmless where the
module concerned is not the one in doubt.

## References
- [PyTorch: hooks](https://pytorch.org/docs/stable/notes/modules.html#module-hooks)
"""

from __future__ import annotations

from typing import Any

from tb_nnhealth.history import Run
from tb_nnhealth.messages import Capture
from tb_nnhealth.rules.base import Case, CouldNotCheck, Example, Hit, Ill, Option, Outcome, Passed, Rule
from tb_nnhealth.rules.synthetic import Network

ERRORS_TOLD = 5

ADVICE = (
    "Where a module is named, exclude it: watch(..., exclude=[...]).",
    "Where records were dropped, log to a faster disk or measure less often with every=.",
    "Report the error with the versions of torch and tb-nnhealth.",
)


def check(case: Case) -> Outcome:
    capture = case.run.capture
    if capture is None:
        return CouldNotCheck("log with tb_nnhealth.SummaryWriter, which also records what it could not record")
    errors = list(dict.fromkeys(capture.errors))
    records = capture.written + capture.dropped
    dropped = capture.dropped / records if records else 0.0
    if not errors and dropped <= case.options["dropped"]:
        return Passed()
    told = _message(capture, errors, dropped > case.options["dropped"])
    step = case.run.last_step or 0
    return Ill(
        [
            Hit(
                subject="", first_step=step, fired_step=step, last_step=step, count=max(1, len(errors)), active=True,
                severity="info", statistic="distinct errors" if errors else "dropped records",
                unit="errors" if errors else "share of records", value=len(errors) or dropped,
                limit=0 if errors else case.options["dropped"], direction="above", healthy=(0.0, 0.0), message=told,
                advice=ADVICE, more={"errors": errors, "written": capture.written, "dropped": capture.dropped},
            )
        ]
    )  # fmt: skip


def _message(capture: Any, errors: list[str], many_dropped: bool) -> str:
    sentences = []
    if errors:
        listed = "; ".join(errors[:ERRORS_TOLD])
        more = f"; and {len(errors) - ERRORS_TOLD} more" if len(errors) > ERRORS_TOLD else ""
        times = "an error" if len(errors) == 1 else f"{len(errors)} errors"
        sentences.append(f"The recording met {times}, and what they concern was not recorded: {listed}{more}.")
    if many_dropped:
        sentences.append(f"{capture.dropped:,} of {capture.written + capture.dropped:,} health records were dropped.")
    return " ".join(sentences) + " The training itself was not affected."


def _captured(errors: tuple[str, ...] = (), written: int = 200, dropped: int = 0) -> Run:
    run = Network(steps=20).run()
    run.capture = Capture(written=written, dropped=dropped, errors=errors)
    return run


RULE = Rule(
    id="shim-error",
    healthy="Recording complete",
    ill="Recording incomplete",
    group="shim",
    severity="info",
    scope="run",
    check=check,
    options=(Option("dropped", 0.01, "share of records", "records that may be lost unreported", "judgement"),),
    examples=(
        Example(
            "a module's statistics raised",
            lambda: _captured(("layers.2: activation of a sparse tensor is not supported",)),
            ill=True,
            subject="",
            first_step=19,
        ),
        Example("a third of the records dropped", lambda: _captured(written=200, dropped=100), ill=True, subject=""),
        Example("nothing went wrong", _captured, ill=False, outcome="Passed"),
        Example("one of a thousand dropped", lambda: _captured(written=999, dropped=1), ill=False, outcome="Passed"),
        Example("a log of another writer", lambda: Network(steps=20).run(), ill=False, outcome="CouldNotCheck"),
    ),
    page=__doc__ or "",
)
