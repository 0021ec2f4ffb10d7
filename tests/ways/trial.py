"""One training, with a watch or without: what must be the same, and what the records must say, worked out by hand."""

from __future__ import annotations

import gc
import math
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module

from tb_nnhealth import schema
from tb_nnhealth.record.layout_names import clean_name
from tb_nnhealth.record.watch import Watch
from tests.record.memory_recorder import MemoryRecorder, MemoryStream

COMPARED = (schema.MEAN, schema.RMS, schema.MIN, schema.MAX)
RELATIVE = 1e-5


@dataclass
class Trained:
    """A model and its optimizers, with the stream of their watch where there is one."""

    model: nn.Module
    optimizers: tuple[Any, ...]
    stream: MemoryStream | None
    watch: Watch | None
    records: int = 0
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    gradients: dict[str, torch.Tensor] = field(default_factory=dict)

    def parameters(self) -> dict[str, nn.Parameter]:
        """By the name that a record has for it, those that an optimizer holds."""
        held = {id(p) for o in self.optimizers for group in o.param_groups for p in group["params"]}
        named = {clean_name(name): p for name, p in self.model.named_parameters()}
        return {name: p for name, p in named.items() if id(p) in held or not self.optimizers}


class Trial:
    """What a way of training is given. Everything it does is done the same way with a watch and without."""

    def __init__(self, *, watching: bool) -> None:
        self.watching = watching
        self.recorder = MemoryRecorder()
        self.trained: list[Trained] = []
        self.values: list[Any] = []
        """Losses, outputs and whatever else must be the same."""
        self.wrong: list[str] = []
        """Where a record is not what was worked out by hand."""
        self.checked: set[str] = set()
        self._seen: dict[str, list[torch.Tensor]] = {}
        self._retained: dict[str, list[torch.Tensor]] = {}

    # --- what a training calls ----------------------------------------------------------------------------------

    def watch(self, model: nn.Module, optimizer: Any = None, **options: Any) -> Watch | None:
        """Watches every step."""
        optimizers = tuple(optimizer) if isinstance(optimizer, (list, tuple)) else (optimizer,) if optimizer else ()
        hooked = tuple(getattr(o, "optimizer", o) for o in optimizers)
        watch = stream = None
        if self.watching:
            watch = Watch(self.recorder, model, optimizer, **{"every": 1, **options})
            stream = self.recorder.streams[watch.name]
        self.trained.append(Trained(model, hooked, stream, watch))
        return watch

    def same(self, *values: Any) -> None:
        """Must be the same bit for bit with a watch and without: numbers and tensors."""
        self.values += [v.detach().clone() if isinstance(v, torch.Tensor) else v for v in values]

    def saw(self, name: str, tensor: torch.Tensor, *, gradient: bool = False) -> None:
        """The layer ``name`` gave ``tensor`` in this step; with ``gradient`` its gradient is to be right as well."""
        self._seen.setdefault(name, []).append(tensor.detach().clone())
        if gradient:
            tensor.retain_grad()
            self._retained.setdefault(name, []).append(tensor)

    def note(self, of: int = 0, *, scale: float = 1.0) -> None:
        """Weights and gradients as they are just before the step; ``scale`` is that of the gradients."""
        trained = self.trained[of]
        trained.weights = {name: _copied(p) for name, p in trained.parameters().items()}
        self.note_gradients(of, scale=scale)

    def note_gradients(self, of: int = 0, *, scale: float = 1.0) -> None:
        trained = self.trained[of]
        trained.gradients = {
            name: _copied(p.grad) / scale for name, p in trained.parameters().items() if p.grad is not None
        }

    def step(self, optimizer: Any, closure: Callable[[], Any] | None = None, of: int = 0) -> Any:
        """The optimizer's step, and whether its record is right."""
        self.note(of)
        result = optimizer.step() if closure is None else optimizer.step(closure)
        if closure is not None:
            self.note_gradients(of)
        self.check(of)
        return result

    def check(self, of: int = 0, *, updates: bool = True, records: int = 1) -> None:
        """Compares the newest record with what was noted and seen; ``records`` is how many are new."""
        trained, seen, retained = self.trained[of], self._seen, self._retained
        self._seen, self._retained = {}, {}
        if trained.stream is None:
            return
        new, trained.records = len(trained.stream.records) - trained.records, len(trained.stream.records)
        if new != records:
            self.wrong.append(f"{new} new records instead of {records}")
        if not new:
            return
        for name, parameter in trained.parameters().items():
            if name not in trained.weights:
                continue
            self._compare(trained, schema.WEIGHT, name, [trained.weights[name]])
            if name in trained.gradients:
                self._compare(trained, schema.GRADIENT, name, [trained.gradients[name]])
                if updates:
                    self._compare(trained, schema.UPDATE, name, [_copied(parameter) - trained.weights[name]])
                else:
                    self.absent(schema.UPDATE, name, of)
        for name, tensors in seen.items():
            self._compare(trained, schema.ACTIVATION, name, tensors)
        for name, tensors in retained.items():
            self._compare(trained, schema.ACTIVATION_GRADIENT, name, [t.grad for t in tensors if t.grad is not None])

    def absent(self, kind: str, name: str, of: int = 0) -> None:
        """The newest record does not say this."""
        stream = self.trained[of].stream
        if stream is not None:
            self.checked.add(f"no {kind}")
            if stream.has(kind, name) and not math.isnan(stream.value(kind, name, schema.RMS)):
                self.wrong.append(f"{kind} of {name} is there")

    def gave(self, kind: str, name: str, tensor: torch.Tensor, of: int = 0) -> None:
        """The newest record has the statistics of ``tensor``."""
        if self.trained[of].stream is not None:
            self._compare(self.trained[of], kind, name, [tensor])

    def value(self, expected: float, kind: str, name: str, statistic: str = schema.MEAN, of: int = 0) -> None:
        """The newest record has this number."""
        stream = self.trained[of].stream
        if stream is not None:
            self._close(stream, kind, name, statistic, expected, abs(expected))

    # --- how it is judged ---------------------------------------------------------------------------------------

    def _compare(self, trained: Trained, kind: str, name: str, tensors: list[torch.Tensor]) -> None:
        stream = trained.stream
        assert stream is not None
        values = torch.cat([_plain(tensor).reshape(-1) for tensor in tensors]).numpy()
        size = math.sqrt(np.mean(values**2)) if len(values) else 0.0
        expected = {schema.MEAN: values.mean(), schema.RMS: size, schema.MIN: values.min(), schema.MAX: values.max()}
        for statistic in COMPARED:
            self._close(stream, kind, name, statistic, float(expected[statistic]), size)

    def _close(self, stream: MemoryStream, kind: str, name: str, statistic: str, expected: float, size: float) -> None:
        self.checked.add(kind)
        found = stream.value(kind, name, statistic) if stream.has(kind, name) else math.nan
        if not abs(found - expected) <= RELATIVE * max(abs(expected), size) + 1e-30:
            self.wrong.append(
                f"{kind} of {name}, {statistic}, record {len(stream.records) - 1}: {found} instead of {expected}"
            )


def _copied(tensor: torch.Tensor) -> torch.Tensor:
    """A dense copy in a format in which differences are exact."""
    tensor = tensor.detach()
    dense = tensor.to_dense() if tensor.layout is not torch.strided else tensor
    if dense.is_complex():
        return dense.to(torch.complex128, copy=True)
    return (dense if dense.dtype.itemsize > 1 else dense.to(torch.float32)).to(torch.float64, copy=True)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.abs().double() if tensor.is_complex() else tensor.double()


# --- what must be the same --------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """``state`` must be equal with a watch and without; ``warned`` must not grow with one."""

    state: dict[str, Any]
    warned: set[str]


def train(run: Callable[[Trial], None], trial: Trial) -> Outcome:
    torch.manual_seed(7)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run(trial)
    models = [trained.model for trained in trial.trained]
    return Outcome(
        {
            "values": [_bits(v) if isinstance(v, torch.Tensor) else v for v in trial.values],
            "random state": _bits(torch.get_rng_state()),
            "keys": [list(model.state_dict()) for model in models],
            "buffers": [[name for name, _ in model.named_buffers()] for model in models],
            "weights": [_bits(value) for model in models for value in model.state_dict().values()],
            "gradients": [None if p.grad is None else _bits(p.grad) for model in models for p in model.parameters()],
            "optimizers": [_bits(t) for trained in trial.trained for o in trained.optimizers for t in _state(o)],
            "modes": [part.training for model in models for part in model.modules()],
        },
        {f"{type(w.message).__name__}: {w.message}" for w in told},
    )


def _state(optimizer: Any) -> list[torch.Tensor]:
    return [t for state in optimizer.state.values() for t in state.values() if isinstance(t, torch.Tensor)]


def _bits(tensor: Any) -> Any:
    if not isinstance(tensor, torch.Tensor):  # an extra state
        return repr(tensor)
    tensor = tensor.detach()
    tensor = tensor.to_dense() if tensor.layout is not torch.strided else tensor
    return str(tensor.dtype), tuple(tensor.shape), tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


# --- what is left behind ----------------------------------------------------------------------------------------


def remains(trial: Trial) -> list[str]:
    """What of ours is found on models and optimizers once their watches were removed, and what is kept alive."""
    for watch in [trained.watch for trained in trial.trained if trained.watch is not None]:
        watch.remove()
    found = [hook for trained in trial.trained for hook in _left_hooks(trained)]
    if module._has_any_global_hook():
        found.append("a global module hook")
    found += ["a hook on registrations" for h in module._global_module_registration_hooks.values() if _ours(h)]
    references = [weakref.ref(thing) for t in trial.trained for thing in (t.model, *t.optimizers)]
    trial.trained.clear()
    trial.values.clear()
    gc.collect()
    return found + [f"{type(r()).__name__} is not collected" for r in references if r() is not None]


def _left_hooks(trained: Trained) -> list[str]:
    found = []
    for name, part in trained.model.named_modules():
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            found += [f"{kind} of {name or 'the model'}" for hook in getattr(part, kind).values() if _ours(hook)]
    for optimizer in trained.optimizers:
        hooks = *optimizer._optimizer_step_pre_hooks.values(), *optimizer._optimizer_step_post_hooks.values()
        found += [f"step hook of {type(optimizer).__name__}" for hook in hooks if _ours(hook)]
    return found


def _ours(hook: Any) -> bool:
    return type(hook).__module__.startswith("tb_nnhealth")
