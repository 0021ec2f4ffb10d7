"""Whether a GPU gives the statistics that the CPU gives: of generated tensors, and of a training's parameters."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch import nn

from tb_nnhealth import SummaryWriter, schema
from tb_nnhealth.record.reduce_gather import Gathered
from tb_nnhealth.record.reduce_table import Record
from tb_nnhealth.source.files import FileSource

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
TOLERANCE = 1e-5
"""Relative; of a mean, whose terms may cancel, to the root mean square."""


def disagreements(device: torch.device, tensors: int) -> list[str]:
    """One line for each statistic or histogram on ``device`` that is not the CPU's."""
    return [*_of_tensors(device, tensors), *_of_parameters(device)]


def _tensors(count: int) -> Iterator[torch.Tensor]:
    random = np.random.default_rng(0)
    sizes = (1, 2, 17, 255, 4095, 4096, 4097, 60_000, 3_000_000)
    for i in range(count):
        numel, dtype = sizes[i % len(sizes) if i % 50 == 0 else i % (len(sizes) - 1)], DTYPES[i % len(DTYPES)]
        spread = 10.0 ** random.uniform(-6, 4)
        values = random.standard_normal(numel) * spread + (random.uniform(-3, 3) if i % 3 else 100 * spread)
        if i % 5 == 0:
            values[random.random(numel) < 0.1] = 0
        if i % 7 == 0:
            values[random.random(numel) < 0.01] = random.choice([math.nan, math.inf, -math.inf])
        tensor = torch.from_numpy(values).to(dtype)
        yield tensor.view(-1, 8).t() if i % 11 == 0 and numel % 8 == 0 else tensor


def _read(tensor: torch.Tensor) -> tuple[Any, Any]:
    gathered, record = Gathered(), Record()
    gathered.take(tensor, counted=True)
    gathered.write(record, 0)
    return record.stats(1)()[0], record.histograms(1)()[0]


def _of_tensors(device: torch.device, count: int) -> list[str]:
    wrong = []
    for i, tensor in enumerate(_tensors(count)):
        found, counts = _read(tensor.to(device))
        expected, right = _read(tensor)
        name = f"tensor {i}, {tensor.dtype}, {tuple(tensor.shape)}"
        wrong += _unlike(name, found, expected)
        if (counts != right).any():
            wrong.append(f"{name}: the histogram")
    return wrong


def _unlike(name: str, found: Any, expected: Any) -> list[str]:
    rms = float(np.nan_to_num(expected[schema.STATISTICS.index(schema.RMS)]))
    wrong = []
    for statistic, one, other in zip(schema.STATISTICS[:8], found[:8].tolist(), expected[:8].tolist(), strict=True):
        scale = rms if statistic == schema.MEAN else abs(other)
        if one != other and not (math.isnan(one) and math.isnan(other)) and not abs(one - other) <= TOLERANCE * scale:
            wrong.append(f"{name}, {statistic}: expected {other}, found {one}")
    return wrong


def _of_parameters(device: torch.device) -> list[str]:
    """Weights, gradients and updates of recorded steps, beside copies of the same tensors read on the CPU."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(100, 300), nn.Tanh(), nn.Linear(300, 7)).to(device)
    model[2].to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    expected: list[dict[tuple[str, str], torch.Tensor]] = []
    with tempfile.TemporaryDirectory() as directory:
        with closing(SummaryWriter(directory)) as writer:
            writer.watch(model, optimizer, every=1)
            for _ in range(3):
                optimizer.zero_grad()
                hidden = model[1](model[0](torch.randn(50, 100, device=device)))
                model[2](hidden.to(torch.bfloat16)).float().square().mean().backward()
                kept = {}
                for name, parameter in model.named_parameters():
                    assert parameter.grad is not None
                    kept[schema.WEIGHT, name] = parameter.detach().cpu().clone()
                    kept[schema.GRADIENT, name] = parameter.grad.cpu().clone()
                optimizer.step()
                for name, parameter in model.named_parameters():
                    before = kept[schema.WEIGHT, name].float()
                    kept[schema.UPDATE, name] = parameter.detach().cpu().float() - before
                expected.append(kept)
        source = FileSource([directory])
        source.refresh()
        history = source.run(source.runs()[0]).watches[schema.DEFAULT_WATCH]
    wrong = []
    tables = {kind: [history.table(kind, name) for name in schema.STATISTICS] for kind in schema.PARAMETER_KINDS}
    for step, kept in enumerate(expected):
        for (kind, name), tensor in kept.items():
            column = tables[kind][0].subjects.index(name)
            found = np.array([table.values[step, column] for table in tables[kind]])
            wrong += _unlike(f"step {step}, {kind} of {name}", found, _read(tensor)[0])
    return wrong
