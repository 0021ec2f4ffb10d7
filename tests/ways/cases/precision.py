"""Mixed precision: gradients are told without the scale, skipped steps are steps skipped."""

from __future__ import annotations

from typing import Any

import torch

from tb_nnhealth import schema
from tests.ways.cases.small import STEPS, batch, loss_of, mlp
from tests.ways.registry import way
from tests.ways.trial import Trial

FORMATS = {"bfloat16": {"dtype": torch.bfloat16}, "float16": {"dtype": torch.float16}}
KINDS = {
    "for_loop": {"options": {"foreach": False}},
    "foreach": {"options": {"foreach": True}},
    "fused": {"options": {"fused": True}},
}


@way("mixed precision", **FORMATS)
def autocast(trial: Trial, dtype: torch.dtype) -> None:
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype):
            output = model(batch())
            loss = loss_of(output)
        trial.saw("2", output, gradient=True)
        loss.backward()
        trial.step(optimizer)


@way("mixed precision", **FORMATS)
def weights_in(trial: Trial, dtype: torch.dtype) -> None:
    model = mlp().to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        output = model(batch().to(dtype))
        trial.saw("2", output)
        loss_of(output).backward()
        trial.step(optimizer)


@way("mixed precision", **KINDS)
def scaler_with_a_step_skipped(trial: Trial, options: dict[str, Any]) -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2, **options)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    trial.watch(model, optimizer, scaler=scaler)
    fused = bool(options.get("fused"))
    for step in range(STEPS):
        skipped = step == 2
        optimizer.zero_grad()
        loss = loss_of(model(batch())) * (float("inf") if skipped else 1.0)
        scaler.scale(loss).backward()
        scale = scaler.get_scale()
        trial.note(scale=scale)
        scaler.step(optimizer)
        scaler.update()
        trial.same(scaler.get_scale())
        if not skipped:
            trial.check(records=2 if step == 3 and not fused else 1)  # one is that of the step skipped
            trial.value(scale, schema.LOSS_SCALE, "")
        elif fused:  # an optimizer that looks itself runs its hooks, and leaves the weights alone
            trial.trained[0].gradients.clear()
            trial.check(updates=False)
            trial.absent(schema.UPDATE, "0.weight")
        else:
            trial.check(records=0)  # seen when the model is next called


@way("mixed precision")
def unscaled_and_clipped(trial: Trial) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = loss_of(model(batch()))
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        trial.same(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01))
        trial.note()
        scaler.step(optimizer)
        scaler.update()
        trial.check()


@way("mixed precision", **KINDS)
def scaler_with_accumulation(trial: Trial, options: dict[str, Any]) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, **options)
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    trial.watch(model, optimizer)
    for _ in range(STEPS):
        optimizer.zero_grad()
        for _ in range(3):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                output = model(batch())
            trial.saw("2", output)
            scaler.scale(loss_of(output.float()) / 3).backward()
        trial.note(scale=scaler.get_scale())
        scaler.step(optimizer)
        scaler.update()
        trial.check()
