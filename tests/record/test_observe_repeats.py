"""Batches and samples that come again, known by their fingerprints."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from memory_recorder import MemoryRecorder, MemoryStream
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.observe_block import block_of
from tb_nnhealth.record.observe_repeats import DeviceMarks, Marks, find_on_device, fingerprint, joined
from tb_nnhealth.record.watch import Watch

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.uint8,
]  # fmt: skip


def prints(tensor: torch.Tensor) -> Any:
    return fingerprint(tensor, block_of(tensor))


def trained(batches: list[torch.Tensor], model: nn.Module | None = None, every: int = 1) -> MemoryStream:
    model, criterion, recorder = model or nn.Linear(4, 2), nn.MSELoss(), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Watch(recorder, model, optimizer, criterion=criterion, every=every)
    state = torch.get_rng_state()
    for x in batches:
        output = model(x)
        criterion(output, torch.zeros_like(output)).backward()
        optimizer.step()
    assert torch.equal(state, torch.get_rng_state())
    assert recorder.stream.errors == []
    return recorder.stream


def column(stream: MemoryStream, kind: str, subject: str, statistic: str) -> list[float]:
    return [stream.value(kind, subject, statistic, i) for i in range(len(stream.records))]


def test_batch_that_equals_an_earlier_one() -> None:
    a, b, c = torch.randn(3, 6, 4)
    a_with_nan = a.clone()
    a_with_nan[0, 0] = math.nan
    stream = trained([a, b, a.clone(), a, c, a[:4], a_with_nan, b, a_with_nan])
    assert column(stream, schema.REPEATED, "input", schema.MEAN) == [0, 0, 1, 1, 0, 0, 0, 1, 1]
    ago = column(stream, schema.REPEATED, "input", schema.MAX)
    np.testing.assert_array_equal(ago, [math.nan, math.nan, 2, 1, math.nan, math.nan, math.nan, 6, 2])
    assert column(stream, schema.REPEATED, "target", schema.MEAN) == [0, 1, 1, 1, 1, 0, 1, 1, 1]


def test_targets_that_were_read_back_are_not_compared() -> None:
    model, recorder = nn.Linear(4, 2), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Watch(recorder, model, optimizer, every=1)
    x, y = torch.randn(6, 4), torch.randn(6, 2)
    for _ in range(4):
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    assert column(recorder.stream, schema.REPEATED, "input", schema.MEAN) == [0, 1, 1, 1]
    assert recorder.stream.has(schema.TARGET, "")
    assert not recorder.stream.has(schema.REPEATED, "target")


def test_steps_back_are_steps_of_the_optimizer() -> None:
    stream = trained(list(torch.randn(3, 6, 4)[[0, 1, 2, 0, 1, 2, 1]]), every=3)
    assert column(stream, schema.REPEATED, "input", schema.MEAN) == [0, 1, 0]
    assert stream.value(schema.REPEATED, "input", schema.MAX, 1) == 3


def accumulated(steps: list[list[torch.Tensor]]) -> MemoryStream:
    """Trained on several batches in each step."""
    model, criterion, recorder = nn.Linear(4, 2), nn.MSELoss(), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Watch(recorder, model, optimizer, criterion=criterion, every=1)
    for batches in steps:
        for x in batches:
            criterion(model(x), torch.zeros(len(x), 2)).backward()
        optimizer.step()
    assert recorder.stream.errors == []
    return recorder.stream


def test_all_batches_of_a_step_that_accumulates_are_compared() -> None:
    a, b, c, d = torch.randn(4, 6, 4)
    stream = accumulated([[a, b], [a, c], [a, b], [b, a], [a], [a, c]])
    assert column(stream, schema.REPEATED, "input", schema.MEAN) == [0, 0, 1, 0, 0, 1]
    stream = accumulated([[a, b], [c, b], [d, a]])
    assert seen(stream) == ([0, 0.5, 0.5], [0, 12, 18])


def test_device_way_to_join_batches_is_that_of_the_host() -> None:
    one, other = (prints(x) for x in torch.randn(2, 6, 4))
    there = (p._replace(samples=torch.from_numpy(p.samples), whole=torch.tensor(p.whole)) for p in (one, other))
    host, device = joined(one, other), joined(*there)
    assert host.whole == int(device.whole) != joined(other, one).whole
    np.testing.assert_array_equal(host.samples, device.samples.numpy())


def test_what_a_model_is_given_of_its_own_answers_is_no_batch() -> None:
    model, recorder = nn.Linear(4, 4), MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Watch(recorder, model, optimizer, every=1)
    x = torch.randn(6, 4)
    for _ in range(3):
        model(model(x)).square().mean().backward()
        optimizer.step()
    assert column(recorder.stream, schema.REPEATED, "input", schema.MEAN) == [0, 1, 1]


def test_only_the_last_batches_are_remembered() -> None:
    first, *others = torch.randn(2 + schema.BATCHES_REMEMBERED, 6, 4)
    stream = trained([first, *others[: schema.BATCHES_REMEMBERED - 1], first, *others[:-1], others[-1], others[0]])
    repeated = column(stream, schema.REPEATED, "input", schema.MEAN)
    assert repeated[schema.BATCHES_REMEMBERED] == 1
    stream = trained([first, *others[: schema.BATCHES_REMEMBERED], first])
    assert column(stream, schema.REPEATED, "input", schema.MEAN)[-1] == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6,), (6, 5), (4, 3, 9, 9)])
def test_fingerprints_of_a_tensor_and_of_one_changed_in_one_place(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-100 if dtype.is_signed else 0, 100, shape, generator=generator).to(dtype)
    now = prints(x)
    assert (now.form, now.whole) == (prints(x.clone()).form, prints(x.clone()).whole)
    for place in range(x.numel()):
        for value in (x.view(-1)[place] + 1, -x.view(-1)[place] if dtype.is_signed else 7):
            changed = x.clone()
            changed.view(-1)[place] = value
            if torch.equal(changed, x):
                continue
            other = prints(changed)
            assert other.whole != now.whole
            sample = place // (x.numel() // len(x))
            assert [a != b for a, b in zip(other.samples, now.samples, strict=True)] == [
                i == sample for i in range(len(x))
            ]


def test_fingerprints_of_many_different_samples_differ() -> None:
    generator = torch.Generator().manual_seed(1)
    signs = torch.randint(0, 2, (256, 64), generator=generator) * 2.0 - 1
    for samples in (signs, torch.eye(200), torch.eye(200, dtype=torch.float64), torch.arange(256.0)):
        assert len(set(prints(samples).samples.tolist())) == len(samples)
    swapped = signs[0].flip(0)
    assert prints(torch.stack([signs[0], swapped])).samples[0] != prints(torch.stack([signs[0], swapped])).samples[1]


def test_a_sample_is_known_at_any_place_of_any_batch() -> None:
    x = torch.randn(10, 7, 3)
    assert prints(x[[3, 1, 5]]).samples.tolist() == prints(x).samples[[3, 1, 5]].tolist()


def test_weights_of_the_sums_are_splitmix64() -> None:
    def splitmix(index: int) -> int:
        state = index * 0x9E3779B97F4A7C15 % 2**64
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
        return (state ^ state >> 31) | 1

    x = torch.tensor([[3, -5, 2]])
    expected = sum(int(v) * splitmix(i + 1) for i, v in enumerate(x[0])) % 2**64
    assert int(prints(x).samples[0]) % 2**64 == expected


def seen(stream: MemoryStream) -> tuple[list[float], list[float]]:
    return tuple(column(stream, schema.SEEN, "samples", s) for s in (schema.MEAN, schema.MAX))  # type: ignore[return-value]


def test_share_of_samples_seen_in_earlier_batches() -> None:
    data = torch.randn(20, 4)
    order = [[0, 1, 2, 3], [4, 5, 0, 6], [6, 6, 7, 8], [0, 1, 6, 5], [9, 10, 11, 11]]
    mean, marked = seen(trained([data[i] for i in order]))
    assert mean == [0, 0.25, 0.5, 1, 0]
    assert marked == [0, 4, 7, 9, 9]


def test_only_the_first_samples_are_marked_and_the_size_can_be_told_from_them() -> None:
    generator = torch.Generator().manual_seed(3)
    data = torch.randn(5000, 4, generator=generator)
    batches = [data[torch.randint(0, 5000, (100,), generator=generator)] for _ in range(80)]
    mean, marked = seen(trained(batches))
    assert max(marked) == marked[-1] == schema.SAMPLES_MARKED
    full = [share for share, count in zip(mean, marked, strict=True) if count == schema.SAMPLES_MARKED]
    assert schema.SAMPLES_MARKED / np.mean(full) == pytest.approx(5000, rel=0.1)


def test_indices_are_not_samples() -> None:
    stream = trained([torch.arange(5)] * 2, nn.Sequential(nn.Embedding(9, 3), nn.Linear(3, 2)))
    assert not stream.has(schema.SEEN, "samples")
    assert column(stream, schema.REPEATED, "input", schema.MEAN) == [0, 1]


def test_device_way_to_mark_is_that_of_the_host() -> None:
    generator = torch.Generator().manual_seed(4)
    host, device = Marks(), DeviceMarks(torch.device("cpu"))
    for size in (200, 1, 256, 256, 200, 256, 256, 7, 256, 256):
        samples = torch.randint(0, 2000, (size,), generator=generator)
        expected = host.find(samples.numpy())
        assert [value.item() for value in device.find(samples)] == pytest.approx(expected)
    assert expected[1] > 0.9 * schema.SAMPLES_MARKED


def test_device_way_to_find_an_equal_batch() -> None:
    alike = [(5, torch.tensor(11)), (3, torch.tensor(12)), (1, torch.tensor(11))]
    for whole, expected in ((11, (1.0, 1.0)), (12, (1.0, 3.0)), (13, (0.0, math.nan))):
        found = [value.item() for value in find_on_device(torch.tensor(whole), alike)]
        np.testing.assert_array_equal(found, expected)
    assert find_on_device(torch.tensor(1), [])[0].item() == 0
