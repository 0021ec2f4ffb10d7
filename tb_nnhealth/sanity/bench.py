"""What every check works on: fresh models, the batch, the user's criterion and optimizer, the time left."""

from __future__ import annotations

import copy
import inspect
import math
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from tb_nnhealth.sanity import isolation, nested
from tb_nnhealth.sanity.base import OutOfTimeError, described
from tb_nnhealth.sanity.batch import Batch

ADAM_RATE = 1e-3


@dataclass
class Clock:
    """Time for all checks, in seconds."""

    seconds: float
    begun: float = field(default_factory=time.monotonic)
    until: float = math.inf
    """When the check under way has to end."""
    tell: Callable[[], None] = lambda: None
    """Called often, for the progress to be shown."""

    def start(self) -> None:
        """Begins anew: what PyTorch imports for its first optimizer may take seconds, and is not counted."""
        self.begun = time.monotonic()

    @property
    def left(self) -> float:
        return self.begun + self.seconds - time.monotonic()

    @property
    def spent(self) -> bool:
        self.tell()
        return time.monotonic() > self.until

    def check(self) -> None:
        """Raises OutOfTimeError where the check's time is spent."""
        if self.spent:
            raise OutOfTimeError


class Bench:
    """Makes models and runs them. Whatever it makes is its own; the user's objects are read alone."""

    def __init__(
        self,
        make_model: Callable[[], Any],
        criterion: Any,
        batch: Batch,
        make_optimizer: Callable[[Any], Any] | None,
        *,
        num_classes: int | None,
        causal: bool,
        clock: Clock,
    ) -> None:
        self._make_model = make_model
        self._criterion = _own(criterion)
        self.batch = batch
        self.make_optimizer = make_optimizer
        self.num_classes, self.causal, self.clock = num_classes, causal, clock
        self.device = nested.named_tensors(batch.inputs)[0][1].device
        self._made: list[weakref.ref[nn.Module]] = []
        self._shares = False
        self._pick: Callable[[Any], Any] | None = None
        self.kept: dict[str, Any] = {}
        """What one check found out and another can use."""
        self._compare_two()

    # --- models -----------------------------------------------------------------------------------------------------

    def fresh(self, seed: int = 0) -> nn.Module:
        """A model as the factory makes it, on the batch's device, its lazy modules filled."""
        isolation.seed(seed)
        model = self._made_model()
        if self._shares:
            model = copy.deepcopy(model)
        devices = {p.device for p in model.parameters()}
        if len(devices) == 1 and devices != {self.device} and torch.device("meta") not in devices:
            model = model.to(self.device)
        if any(nn.parameter.is_lazy(p) for p in [*model.parameters(), *model.buffers()]):
            with torch.no_grad():
                self.forward(model, self.batch)
        for parameter in model.parameters():
            parameter.grad = None
        return model

    def _made_model(self) -> nn.Module:
        model = self._make_model()
        if not isinstance(model, nn.Module):
            raise TypeError(f"preflight(): make_model must return a torch.nn.Module, found {type(model).__name__}")
        if any(made() is model for made in self._made):
            raise ValueError(
                "preflight(): make_model returned the same model twice; it must make a fresh one at each call, as "
                "lambda: Net(...) does"
            )
        self._made.append(weakref.ref(model))
        return model

    def _compare_two(self) -> None:
        """Two products must be two models; where they share tensors with each other, copies are trained."""
        isolation.seed(0)
        one = self._made_model()
        isolation.seed(1)
        other = self._made_model()
        tensors = [{id(x) for x in [*model.parameters(), *model.buffers()]} for model in (one, other)]
        self._shares = bool(tensors[0] & tensors[1])
        pairs = list(zip(one.parameters(), other.parameters(), strict=False))
        lazy = any(nn.parameter.is_lazy(p) for pair in pairs for p in pair)
        self.same_weights = not lazy and all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)
        """Each product has the same weights: they come from a file, or the factory seeds the generator."""

    # --- forward and loss -------------------------------------------------------------------------------------------

    def forward(self, model: nn.Module, batch: Batch) -> Any:
        """The model's output on copies of the inputs. A compiled model is run as it is written.

        Each of many fresh models would be compiled anew, and what hooks see would break its graph.
        """
        with isolation.uncompiled():
            return self._forwarded(model, batch)

    def _forwarded(self, model: nn.Module, batch: Batch) -> Any:
        inputs = nested.copied(batch.inputs)
        if isinstance(inputs, Mapping):
            named = dict(inputs)
            if batch.label and _accepts(model, {**named, batch.label: None}):
                return model(**named, **{batch.label: nested.copied(batch.targets)})
            if all(isinstance(name, str) for name in named) and _accepts(model, named):
                return model(**named)
        elif isinstance(inputs, (tuple, list)) and not hasattr(inputs, "_fields") and _accepts(model, inputs):
            return model(*inputs)
        return model(inputs)

    def loss_of(self, outputs: Any, targets: Any) -> Tensor:
        """The criterion's value, a scalar.

        An ``nn`` criterion wants a tensor; of an output that is none it is given ``.logits``, or the first part.
        """
        if self._pick is None:
            self._pick = self._first_that_works(outputs, targets)
        loss = self._applied(self._pick, outputs, targets)
        if not isinstance(loss, Tensor):
            raise TypeError(f"the criterion returned {type(loss).__name__}, expected a tensor")
        if loss.numel() != 1:
            raise ValueError(f"the criterion returned a tensor of shape {tuple(loss.shape)}, expected one number")
        return loss.reshape(())

    def predicted(self, outputs: Any) -> Any:
        """What of the outputs the criterion is given."""
        return outputs if self._pick is None else self._pick(outputs)

    def run(self, model: nn.Module, batch: Batch) -> tuple[Any, Tensor]:
        """Outputs and loss."""
        outputs = self.forward(model, batch)
        return outputs, self.loss_of(outputs, batch.targets)

    @property
    def own_loss(self) -> bool:
        """The model computes its loss itself; there is no criterion to be asked."""
        return self._criterion is None

    def in_double(self) -> Bench:
        """A bench on the same model and batch in float64."""
        twin = copy.copy(self)
        inputs, targets = nested.in_double(self.batch.inputs), nested.in_double(self.batch.targets)
        twin.batch = replace(self.batch, inputs=inputs, targets=targets)
        if isinstance(self._criterion, nn.Module):
            twin._criterion = copy.deepcopy(self._criterion).double()
        return twin

    def _applied(self, pick: Callable[[Any], Any], outputs: Any, targets: Any) -> Any:
        if self._criterion is None:
            found = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
            if found is None:
                raise TypeError("without a criterion the model's output needs a loss, and it has none")
            return found
        return self._criterion(pick(outputs), nested.copied(targets))

    def _first_that_works(self, outputs: Any, targets: Any) -> Callable[[Any], Any]:
        first: Exception | None = None
        for pick in (_whole, _logits, _first_part):
            try:
                if pick is _whole or pick(outputs) is not outputs:
                    self._applied(pick, outputs, targets)
                    return pick
            except (TypeError, AttributeError) as error:
                first = first or error
        assert first is not None
        raise first

    # --- optimizers -------------------------------------------------------------------------------------------------

    def optimizer(self, model: nn.Module, factor: float | None = 1.0, rate: float = ADAM_RATE) -> Any:
        """The user's optimizer with its learning rates times ``factor``; Adam at ``rate`` where that is None."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        if factor is None or self.make_optimizer is None:
            return torch.optim.Adam(parameters, rate)
        made = self.make_optimizer(parameters)
        if not hasattr(made, "step") or not hasattr(made, "param_groups"):
            raise TypeError(
                f"preflight(): make_optimizer must return a torch.optim.Optimizer, found {type(made).__name__}"
            )
        held = {id(p) for group in made.param_groups for p in group["params"]}
        if parameters and not held & {id(p) for p in parameters}:
            raise ValueError(
                "preflight(): make_optimizer returned an optimizer that holds other parameters than those it was "
                "given; build it from its argument, as lambda p: torch.optim.Adam(p, 3e-4) does"
            )
        for group in made.param_groups:
            group["lr"] = group["lr"] * factor
        return made


def _own(criterion: Any) -> Any:
    """A copy of a criterion that is a module, so that what it learns or counts is not the user's."""
    if not isinstance(criterion, nn.Module):
        return criterion
    try:
        return copy.deepcopy(criterion)
    except Exception as error:
        raise ValueError(
            f"preflight(): the criterion {type(criterion).__name__} cannot be copied ({described(error)}); give a "
            "function that makes its own, as lambda outputs, targets: Loss()(outputs, targets) does"
        ) from error


def _accepts(model: nn.Module, arguments: Any) -> bool:
    try:
        signature = inspect.signature(model.forward)
        if isinstance(arguments, Mapping):
            signature.bind(**arguments)
        else:
            signature.bind(*arguments)
    except (TypeError, ValueError):
        return False
    return True


def _whole(outputs: Any) -> Any:
    return outputs


def _logits(outputs: Any) -> Any:
    found = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    return outputs if found is None else found


def _first_part(outputs: Any) -> Any:
    tensors = nested.named_tensors(outputs)
    return tensors[0][1] if tensors and not isinstance(outputs, Tensor) else outputs
