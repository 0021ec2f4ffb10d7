"""``writer.watch(model, optimizer)``: what the user holds of a capture."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from numbers import Integral, Real
from typing import Any

import torch

from tb_nnhealth import schema
from tb_nnhealth.record.cadence import Cadence
from tb_nnhealth.record.faults import describe, warn
from tb_nnhealth.record.layout_entries import module_name
from tb_nnhealth.record.layout_names import Selection, patterns
from tb_nnhealth.record.rank_cadence import SharedCadence
from tb_nnhealth.record.rank_exchange import Exchange
from tb_nnhealth.record.rank_store import job
from tb_nnhealth.record.ranks import RankStream, directory_of
from tb_nnhealth.record.shard_reduce import AllReduceRoute
from tb_nnhealth.record.shard_routes import Route, StoreRoute
from tb_nnhealth.record.step import Capture

SHARDS = ("store", "all-reduce", "local")


class Watch:
    """Records the health of one model while it trains, until the model is gone or ``remove`` is called.

    ``recorder`` gives the stream to write to. ``model`` is an ``nn.Module`` with parameters; ``optimizer`` one
    optimizer, a sequence of them, or None, in which case a health step ends with each backward pass instead of each
    ``optimizer.step()``. ``criterion`` is the loss module; where the loss is a function, ``observe`` tells of it.
    ``scaler`` is the ``GradScaler`` of a training in mixed precision, whose scale is recorded; it is
    found without it in the first step that it makes.
    ``every=N`` measures every N-th step; without it the cadence is chosen so that measuring costs at most the share
    ``budget`` of the bare step time. ``step`` is a callable giving the user's own step number. ``include`` and
    ``exclude`` are glob patterns on module names (without the parts that wrappers add), which stand for all that lies
    beneath; ``rules`` tunes or silences rules, ``scalars`` says what scalar tags hold. ``updates`` are "exact", by a
    copy of the weights, or "sampled", by one of a sample of each. ``shards`` is how the parts of parameters that are
    spread over the ranks of a job come together: through the job's key-value store ("store"), by a collective beside
    the training's own ("all-reduce"), or not at all ("local"): then rank 0's part is recorded. ``compiled`` sees the
    layers' outputs and their gradients in code that ``torch.compile`` takes after this call, which is else not looked
    into.

    Raises TypeError or ValueError for arguments that cannot be meant; afterwards nothing here raises into the training.
    An optimizer that holds none of the model's parameters, which trains nothing, is only warned of.
    """

    def __init__(
        self,
        recorder: Any,
        model: Any,
        optimizer: Any = None,
        *,
        criterion: Any = None,
        scaler: Any = None,
        name: str | None = None,
        every: int | None = None,
        budget: float = 0.02,
        step: Callable[[], int] | None = None,
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        rules: Mapping[str, Any] | None = None,
        scalars: Mapping[str, Any] | None = None,
        shards: str = "store",
        updates: str = "exact",
        compiled: bool = False,
    ) -> None:
        self.name = schema.DEFAULT_WATCH if name is None else name
        self._stream: Any = None
        self._capture: Capture | None = None
        self._exchange: Exchange | None = None
        self._removed = False
        with self._surviving(TypeError, ValueError):
            _check_model(model)
            self._model = weakref.ref(model)
            optimizers = _hookable_optimizers(optimizer)
            _check_criterion(criterion)
            _check_scaler(scaler)
            _check_cadence(every, budget, step)
            every, budget = None if every is None else int(every), float(budget)
            _check_shards(shards)
            _check_updates(updates)
            selection = Selection(patterns("include", include), patterns("exclude", exclude))
            _check_selection(model, selection)
            _warn_of_strangers(model, optimizers)
            rank, ranks = job()
            if rank:
                self._stream = RankStream(recorder, self.name, rules, scalars)
            else:
                self._stream = recorder.open_watch(self.name, rules, scalars)
        if self._stream is None:
            return
        with self._surviving():
            if ranks > 1:
                self._exchange = self._exchanging(recorder, model, rank, ranks)
            exchange = self._exchange
            self._stream.capture.budget = 0.0 if every is not None else budget
            asynchronous = any(not p.is_cpu for p in model.parameters())
            route: Route | None = None
            if exchange is None:
                cadence = Cadence(every, budget, asynchronous=asynchronous)
            else:
                cadence = SharedCadence(every, budget, exchange, asynchronous=asynchronous)
                route = _route(shards, exchange, every)
            self._capture = Capture(
                self._stream, model, optimizers, criterion, cadence, step, selection, scaler, exchange, route, updates,
                compiled=compiled, first_step=recorder.first_step,
            )  # fmt: skip
            self._capture.attach()
            weakref.finalize(model, self._capture.detach).atexit = False

    def _exchanging(self, recorder: Any, model: Any, rank: int, ranks: int) -> Exchange:
        exchange = Exchange(self.name, rank, ranks, directory_of(recorder), self._stream.error)
        weakref.finalize(model, exchange.stop).atexit = False
        if rank:
            self._stream.exchange = exchange
        return exchange

    @contextmanager
    def _surviving(self, *told: type[Exception]) -> Iterator[None]:
        """What goes wrong inside leaves a watch that records nothing, and says so; ``told`` are the caller's faults."""
        try:
            yield
        except told:
            raise
        except Exception as error:
            warn(f"watch(): could not begin, and records nothing ({describe(error)}); the training goes on")
            with suppress(Exception):
                self.remove()
            self._capture = None

    def observe(
        self,
        inputs: Any = None,
        targets: Any = None,
        outputs: Any = None,
        loss: Any = None,
        *,
        probe: Any = None,
        unclipped: bool = False,
    ) -> None:
        """Hands over the batch of the step under way, before its ``optimizer.step()``.

        Each may be a tensor or tensors nested in tuples, lists, mappings or dataclasses; ``loss`` a number as well.
        What is given replaces what the hooks saw; on steps that are not measured the call costs nothing. Targets of one
        integer for each sample are taken for class indices, unless ``outputs`` has a single column.

        ``probe`` is the model's predictions on a batch that you keep the same for the whole run, made in evaluation
        mode without gradients, at steps of your choice, say every fifty. Recorded is how far they have moved since the
        last time, relative to their standard deviation::

            with torch.no_grad():
                model.eval()
                watch.observe(probe=model(fixed_batch))
                model.train()

        ``unclipped=True`` records the gradients as they are now, between the backward pass and clipping (and after the
        scaler's ``unscale_``), beside those that the optimizer applies::

            loss.backward()
            watch.observe(unclipped=True)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        """
        if self._capture is None:
            return
        try:
            self._capture.observe(inputs, targets, outputs, loss, probe, unclipped)
        except Exception as error:
            self._capture.fail("observe()", error)

    def findings(self) -> list[Any]:
        """The findings of this watch so far."""
        return list(self._stream.findings()) if self._stream is not None else []

    def settle(self, timeout: float = 2.0) -> None:
        """Says what is to be said before the writer closes.

        On a rank other than 0 it waits, at most ``timeout`` seconds, until what rank 0 is to know has been sent.
        """
        try:
            self._tell_of_unseen_steps()
            if self._exchange is not None and self._exchange.rank:
                self._exchange.settle(timeout)
        except Exception as error:
            warn(f"watch {self.name!r}: its last words were lost ({describe(error)})")

    def _tell_of_unseen_steps(self) -> None:
        sentence = None if self._capture is None else self._capture.unseen.sentence()
        if sentence is not None:
            self._stream.error(sentence)

    def holds_name_from(self, model: torch.nn.Module) -> bool:
        """Whether this watch still goes by its name and is of another model than ``model``."""
        return not self._removed and not self.is_of(model)

    def is_of(self, model: torch.nn.Module) -> bool:
        """Whether ``model`` is the one that is watched."""
        return self._model() is model

    def remove(self) -> None:
        """Takes every hook away, for good."""
        self._removed = True
        if self._capture is not None:
            self._capture.detach()
        if self._stream is not None:
            self._stream.close()
        if self._exchange is not None:
            self._exchange.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Takes every hook away for a while: to script, pickle or export the model as if it had never been watched."""
        capture = self._capture
        attached = capture is not None and capture.attached
        if capture is not None:
            capture.detach()
        try:
            yield
        finally:
            if capture is not None and attached:
                capture.attach()


def _check_model(model: Any) -> None:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"watch() expects a torch.nn.Module as its model, found {type(model).__name__}")
    if next(iter(model.parameters()), None) is None:
        raise ValueError(f"watch(): {type(model).__name__} has no parameters, so there is no training to watch")


def _check_criterion(criterion: Any) -> None:
    if criterion is not None and not isinstance(criterion, torch.nn.Module):
        raise TypeError(
            f"watch(): criterion= expects a loss module such as nn.CrossEntropyLoss(), found {criterion!r}; "
            "hand the batch of a loss function over by observe(targets=..., outputs=..., loss=...)"
        )


def _check_scaler(scaler: Any) -> None:
    if scaler is not None and not isinstance(scaler, torch.amp.GradScaler):
        raise TypeError(f"watch(): scaler= expects a torch.amp.GradScaler, found {type(scaler).__name__}")


def _check_cadence(every: Any, budget: Any, step: Any) -> None:
    if every is not None and (isinstance(every, bool) or not isinstance(every, Integral)):
        raise TypeError(f"watch(): every= expects a number of optimizer steps, found {every!r}")
    if every is not None and every < 1:
        raise ValueError(f"watch(): every= expects 1 or more, found {every}")
    if isinstance(budget, bool) or not isinstance(budget, Real):
        raise TypeError(f"watch(): budget= expects a share of the step time such as 0.02, found {budget!r}")
    if not 0 < float(budget) <= 1:
        raise ValueError(f"watch(): budget= expects a share of the step time in (0, 1], found {budget}")
    if step is not None and not callable(step):
        raise TypeError(f"watch(): step= expects a callable that returns the step, found {step!r}")


def _check_shards(shards: Any) -> None:
    if shards not in SHARDS:
        raise ValueError(f"watch(): shards= expects one of {', '.join(map(repr, SHARDS))}, found {shards!r}")


def _route(shards: str, exchange: Exchange, every: int | None) -> Route | None:
    if shards == "local":
        return None
    return StoreRoute(exchange) if shards == "store" else AllReduceRoute(exchange, every)


def _check_updates(updates: Any) -> None:
    if updates not in ("exact", "sampled"):
        raise ValueError(f"watch(): updates= expects 'exact' or 'sampled', found {updates!r}")


def _check_selection(model: Any, selection: Selection) -> None:
    names = [module_name(name, model) for name, module in model.named_modules()]
    if not any(name in selection for name in names):
        there = ", ".join(names[1:9]) + (", ..." if len(names) > 9 else "")
        raise ValueError(
            f"watch(): include= and exclude= leave nothing of {type(model).__name__}; its modules are {there}"
        )


def _hookable_optimizers(optimizer: Any) -> list[Any]:
    """The optimizers whose step can be seen; wrappers that do not see it themselves give the one that they wrap."""
    if optimizer is None:
        return []
    given = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]
    return [_hookable(item) for item in given]


def _warn_of_strangers(model: Any, optimizers: Sequence[Any]) -> None:
    own = {id(parameter) for parameter in model.parameters()}
    if optimizers and not any(id(p) in own for o in optimizers for group in o.param_groups for p in group["params"]):
        warn(
            f"watch(): {', '.join(type(o).__name__ for o in optimizers)} holds no parameter of {type(model).__name__}, "
            "so its steps do not train it; build the optimizer from this model's parameters()"
        )


def _hookable(optimizer: Any) -> Any:
    inner, seen = optimizer, 0
    while inner is not None and seen < 8:
        if isinstance(inner, torch.optim.Optimizer) and "_optimizer_step_pre_hooks" in vars(inner):
            return inner
        inner, seen = _wrapped(inner), seen + 1
    raise ValueError(
        f"watch() expects a torch.optim.Optimizer or a wrapper of one in its attribute 'optimizer', "
        f"found {type(optimizer).__name__}, whose steps cannot be seen"
    )


def _wrapped(optimizer: Any) -> Any:
    """What a wrapper holds in its attribute or property ``optimizer``, or None."""
    try:
        return getattr(optimizer, "optimizer", None)
    except Exception:
        return None
