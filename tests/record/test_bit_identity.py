"""A training with a watch is bit for bit the training without one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from bit_identity_cases import CASES, STEPS, Result
from memory_recorder import MemoryRecorder

from tb_nnhealth.record.cadence import OPENING
from tb_nnhealth.record.watch import Watch


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def run(case: Callable[..., Result], watch: Callable[..., Any]) -> tuple[Result, dict[str, Any]]:
    torch.manual_seed(7)
    torch._dynamo.reset()
    result = case(watch)
    state = {
        "losses": np.array(result.losses).tobytes(),
        "rng": bits(torch.get_rng_state()),
        "keys": [list(module.state_dict()) for module in result.modules],
        "values": [bits(value) for module in result.modules for value in module.state_dict().values()],
        "gradients": [
            None if p.grad is None else bits(p.grad.to_dense())
            for module in result.modules
            for p in module.parameters()
        ],
        "modes": [m.training for module in result.modules for m in module.modules()],
    }
    return result, state


@pytest.mark.parametrize("options", [{"every": 1}, {"every": 3}, {}], ids=["every step", "every third", "by budget"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_training_is_the_same(case: Callable[..., Result], options: dict[str, Any]) -> None:
    _, expected = run(case, lambda *args, **kwargs: None)
    recorder = MemoryRecorder()
    watches = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "(?s).*(Lazy modules|TypedStorage|non-differentiable|lr_scheduler)")
        result, found = run(
            case, lambda *args, **kwargs: watches.append(Watch(recorder, *args, **{**kwargs, **options}))
        )
    assert found == expected
    assert watches
    for stream in recorder.streams.values():
        assert stream.errors == []
        surely = math.ceil((STEPS - 1) / options["every"]) if options else OPENING - 1  # more depends on the machine
        assert len(stream.records) >= surely
    for watch in watches:
        watch.remove()
    for module in result.modules:
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules() if not _weight_norm(m))
    assert not torch.nn.modules.module._global_forward_hooks


def _weight_norm(module: torch.nn.Module) -> bool:
    return any(type(hook).__name__ == "SpectralNorm" for hook in module._forward_pre_hooks.values())
