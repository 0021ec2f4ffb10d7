"""``preflight``: runs the checks, one after the other, on models of its own."""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from tb_nnhealth.checks import CheckResult, PreflightReport
from tb_nnhealth.sanity import batch as batches
from tb_nnhealth.sanity.base import Check, OutOfTimeError, Verdict, described, skipped
from tb_nnhealth.sanity.bench import Bench, Clock
from tb_nnhealth.sanity.isolation import isolated
from tb_nnhealth.sanity.progress import Progress
from tb_nnhealth.sanity.registry import CHECKS

NO_TIME = "the time was spent before it; give more seconds="


def preflight(
    make_model: Callable[[], Any],
    criterion: Callable[[Any, Any], Any] | None,
    batch: Any,
    *,
    make_optimizer: Callable[[Any], Any] | None = None,
    num_classes: int | None = None,
    causal: bool = False,
    batch_dim: int | None = None,
    writer: Any = None,
    seconds: float = 30.0,
    progress: bool | None = None,
    checks: Sequence[str] | None = None,
) -> PreflightReport:
    """The sanity checks to be made before a training (docs/preflight.md says what each does).

    ``make_model`` returns a fresh model at each call. ``criterion`` is a loss module or any function of outputs and
    targets that returns one number; None where the model's output holds its own ``loss``. ``batch`` is
    ``(inputs, targets)``, where inputs are a tensor, or tensors in a tuple or mapping: the model's arguments;
    or one mapping with the targets under ``labels``, ``label``, ``targets``, ``target`` or ``y``. Take a batch of the
    real data, as the training has it; 256 samples let every check say something.

    ``make_optimizer`` makes the optimizer from parameters (default: Adam at 1e-3), ``num_classes`` is the number of
    classes where the output does not tell, ``causal=True`` asks that no output depends on later inputs, ``batch_dim``
    is the samples' axis, found by itself where the shapes tell. ``writer``, a SummaryWriter or Recorder of this
    package, takes the report into the log. The checks end after ``seconds``; what is undecided then is skipped.
    ``progress`` shows a line on stderr, by default on a terminal. ``checks`` are the ids to be run, by default all.

    Nothing of the user's is changed: models are made anew (copied where they share weights), the batch is copied, all
    random number generators, modes and flags are put back. The same call gives the same report, time permitting.

    Raises TypeError or ValueError for arguments that cannot be meant: a factory that returns no ``nn.Module`` or
    the same one twice, a batch without targets, an unknown check. What goes wrong within a check is told in its result.
    """
    chosen = _chosen(checks)
    _validate(make_model, make_optimizer, num_classes, batch_dim, writer, seconds)
    shown = Progress(progress, len(chosen))
    clock = Clock(float(seconds), tell=shown.tick)
    with isolated():
        bench = Bench(
            make_model,
            criterion,
            batches.read(batch, batch_dim),
            make_optimizer,
            num_classes=num_classes,
            causal=causal,
            clock=clock,
        )
        bench.optimizer(bench.fresh())
        clock.start()
        try:
            report = PreflightReport(tuple(_results(bench, chosen, shown)))
        finally:
            shown.end()
    if writer is not None:
        writer.add_preflight(report)
    return report


def _results(bench: Bench, chosen: Sequence[Check], shown: Progress) -> Iterable[CheckResult]:
    broken = ""
    left = sum(check.share for check in chosen)
    for place, check in enumerate(chosen):
        shown.begin(place, check.id)
        remaining = bench.clock.left
        bench.clock.until = time.monotonic() + remaining * check.share / left
        left -= check.share
        if broken:
            verdict = skipped(f"the model gives no finite loss on this batch (see {broken})")
        elif remaining <= 0:
            verdict = skipped(NO_TIME)
        else:
            verdict = _run(check, bench)
            if check.id == "finite-outputs" and verdict.status == "fail":
                broken = check.id
        yield check.result(verdict)


def _run(check: Check, bench: Bench) -> Verdict:
    try:
        return check.run(bench)
    except OutOfTimeError:
        return skipped("undecided when the time was spent; give more seconds=")
    except Exception as error:  # the user's model, criterion or optimizer raised it, and may raise anything
        return skipped(f"could not be done: {described(error)}", error=described(error))


def _chosen(ids: Sequence[str] | None) -> tuple[Check, ...]:
    if ids is None:
        return CHECKS
    known = [check.id for check in CHECKS]
    for wanted in [ids] if isinstance(ids, str) else ids:
        if wanted not in known:
            near = difflib.get_close_matches(str(wanted), known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
            raise ValueError(f"preflight(): there is no check {wanted!r}{hint}")
    return tuple(check for check in CHECKS if check.id in ids)


def _validate(
    make_model: Any, make_optimizer: Any, num_classes: Any, batch_dim: Any, writer: Any, seconds: Any
) -> None:
    if not callable(make_model) or isinstance(make_model, torch.nn.Module):
        raise TypeError(
            "preflight(): make_model must be a callable that returns a fresh model, as lambda: Net(...) is; found "
            f"{type(make_model).__name__}"
        )
    if make_optimizer is not None and (
        not callable(make_optimizer) or isinstance(make_optimizer, torch.optim.Optimizer)
    ):
        raise TypeError(
            "preflight(): make_optimizer must be a callable that makes an optimizer from parameters, as "
            f"lambda p: torch.optim.Adam(p, 3e-4) is; found {type(make_optimizer).__name__}"
        )
    if num_classes is not None and (
        isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 2
    ):
        raise ValueError(f"preflight(): num_classes= expects 2 or more, found {num_classes!r}")
    if batch_dim not in (None, 0, 1) or isinstance(batch_dim, bool):
        raise ValueError(f"preflight(): batch_dim= expects 0 or 1, found {batch_dim!r}")
    if writer is not None and not hasattr(writer, "add_preflight"):
        raise TypeError(
            f"preflight(): writer= expects a SummaryWriter or Recorder of tb_nnhealth, found {type(writer).__name__}"
        )
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not math.isfinite(seconds) or seconds <= 0:
        raise ValueError(f"preflight(): seconds= expects a positive number, found {seconds!r}")
