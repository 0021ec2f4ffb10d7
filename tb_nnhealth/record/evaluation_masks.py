"""Random masks at work in evaluation mode: dropout as a function that was not told of the mode, or written by hand.

What a layer is given is compared with what the layer before it returned, in one forward pass or two for each record. A
mask leaves exact zeros where there were none, one element here and one there, and has drawn random numbers since.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook

from tb_nnhealth import schema
from tb_nnhealth.record.hooks_module import has_compiled_part
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.reduce_gather import tensors_in
from tb_nnhealth.record.reduce_quiet import quiet
from tb_nnhealth.record.reduce_table import Record

FORWARDS = 2
"""Forward passes looked at for each record."""
IN_VAIN = 12
"""Forward passes without such a mask after which none is looked for any more."""
FEWEST = 64
"""Elements by which a mask is told."""
LEAST = 0.03
"""Share of elements masked."""
WHOLE_ROWS = 0.5
"""Share of the zeros in rows of zeros alone from which it is no mask of single elements (of tokens, of padding)."""
ALIKE = 1e-3
"""Spread of what is left, in its own size, below which it is a code of zeros and ones rather than what was there."""
RECTIFYING = ("relu", "relu6", "threshold", "hardswish", "hardtanh", "hardsigmoid", "softshrink", "hardshrink")


class MaskHook:
    """Registered globally while one forward pass in evaluation mode runs."""

    def __init__(self, masks: EvaluationMasks) -> None:
        self._masks = masks

    def __call__(self, module: Any, args: Any, output: Any) -> None:
        if torch.compiler.is_compiling():
            return
        try:
            with quiet():
                self._masks.forwarded(module, args, output)
        except Exception as error:
            self._masks.failed(error)


class EvaluationMasks:
    """Of one watch: for each layer whose input was masked in evaluation, the share of its elements. CPU only."""

    def __init__(self, model: Any, catalog: Catalog, fail: Any) -> None:
        self._model, self._catalog, self._fail = weakref.ref(model), catalog, fail
        self._left, self._in_vain = FORWARDS, 0
        self._handle: Any = None
        self._state: Any = None
        self._before: tuple[str, tuple[int, ...], float] | None = None
        self._masked: dict[str, float] = {}

    @property
    def wanted(self) -> bool:
        return self._left > 0 and self._in_vain < IN_VAIN

    def begin(self) -> None:
        """A forward pass in evaluation mode, without gradients, is about to run."""
        self.close()  # one that raised never came to its end
        self._left -= 1
        model = self._model()
        if model is None or not _seen_by_us(model):
            self._in_vain += 1
            return
        self._before, self._state = None, torch.get_rng_state()
        self._handle = register_module_forward_hook(MaskHook(self))

    def close(self) -> None:
        if self._handle is not None:
            self._handle.remove()
        self._handle = self._state = self._before = None

    def failed(self, error: Exception) -> None:
        self.close()
        self._in_vain = IN_VAIN
        self._fail("masks in evaluation", error)

    def forwarded(self, module: Any, args: Any, output: Any) -> None:
        if module is self._model():
            self._in_vain = 0 if self._masked else self._in_vain + 1
            self.close()
            return
        entry = self._catalog.known_module(module)
        if entry is None or entry.leaves:
            return
        state = torch.get_rng_state()
        if self._before is not None and not torch.equal(state, self._state):
            share = _masked(args, *self._before[1:])
            if share > LEAST:
                self._masked[entry.name] = max(share, self._masked.get(entry.name, 0.0))
        self._state, self._before = state, None
        returned = tensors_in(output)
        if returned and returned[0].is_floating_point() and returned[0].numel() >= FEWEST:
            tensor = returned[0].detach()
            rectified = entry.nonlinearity in RECTIFYING
            zeros = (tensor <= 0 if rectified else tensor == 0).float().mean()
            self._before = entry.name, tuple(tensor.shape), float(zeros)

    def write(self, record: Record) -> None:
        masked, self._masked, self._left = self._masked, {}, FORWARDS
        for name, share in masked.items():
            record.share(self._catalog.row(schema.EVALUATION_MASK, name), schema.MEAN, share)


def _seen_by_us(model: Any) -> bool:
    """Whether all of the model is in evaluation mode, on the CPU and not compiled."""
    if any(module.training for module in model.modules()) or has_compiled_part(model):
        return False
    return all(parameter.device.type == "cpu" for parameter in model.parameters())


def _masked(args: Any, shape: tuple[int, ...], zeros: float) -> float:
    """Share of the elements that were set to zero on the way from a tensor of ``shape`` with that share of ``zeros``.

    0 where what is given can be no masked part of that tensor, or is masked in whole rows.
    """
    given = tensors_in(args)
    if not given or not given[0].is_floating_point() or given[0].numel() < FEWEST or given[0].dim() < 2:
        return 0.0
    tensor = given[0].detach()
    if tensor.numel() != torch.Size(shape).numel() and tensor.shape[-1] != shape[-1]:
        return 0.0
    zero = tensor == 0
    share = float(zero.float().mean())
    rows = float(zero.all(-1).float().mean())
    if not zeros < share < 1 or rows > WHOLE_ROWS * share:
        return 0.0
    rest = tensor[~zero].float().abs()
    if float(rest.std()) <= ALIKE * float(rest.mean()):
        return 0.0
    return (share - zeros) / (1 - zeros)
