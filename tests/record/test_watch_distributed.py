"""Sharded tensors and data parallelism in a job of one process, which holds every shard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_recorder import MemoryRecorder
from torch import nn

from tb_nnhealth import schema
from tb_nnhealth.record.layout import Catalog
from tb_nnhealth.record.layout_names import Selection
from tb_nnhealth.record.reduce_readable import readable
from tb_nnhealth.record.shards import Shards
from tb_nnhealth.record.watch import Watch

distributed = pytest.importorskip("torch.distributed")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    store: Path = tmp_path_factory.mktemp("store") / "store"
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield distributed.device_mesh.init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def test_shard_is_read_without_communication(mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed.tensor import Shard, distribute_tensor

    whole = torch.randn(4, 3)
    tensor = distribute_tensor(whole, mesh, [Shard(0)])
    monkeypatch.setattr(type(tensor), "full_tensor", lambda self: pytest.fail("a collective was called"))
    values = readable(tensor)
    assert values is not None
    assert values.dtype == "float32"
    assert torch.equal(values.tensor, whole)


def test_fully_sharded_model(mesh: Any) -> None:
    fsdp = pytest.importorskip("torch.distributed.fsdp")
    if not hasattr(fsdp, "fully_shard"):
        pytest.skip("this torch has no fully_shard in torch.distributed.fsdp")
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    recorder = MemoryRecorder()
    fsdp.fully_shard(model, mesh=mesh)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Watch(recorder, model, optimizer, every=1)
    for _ in range(2):
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    stream = recorder.stream
    assert stream.errors == []
    assert stream.parameter("0.weight").dtype == "float32"
    assert stream.value(schema.GRADIENT, "2.bias", schema.MEAN) == 2.0
    assert stream.value(schema.UPDATE, "2.bias", schema.MEAN) == pytest.approx(-0.2)
    assert stream.value(schema.ACTIVATION, "0", schema.RMS) > 0


def test_distributed_data_parallel_model_keeps_its_names(mesh: Any) -> None:
    model = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(3, 1)))
    recorder = MemoryRecorder()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Watch(recorder, model, optimizer, every=1)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    assert recorder.stream.subjects(schema.WEIGHT) == ["0.weight", "0.bias"]
    assert recorder.stream.subjects(schema.ACTIVATION) == ["0"]
    assert recorder.stream.errors == []


def test_flattened_parameters_are_labelled_as_pieces(mesh: Any) -> None:
    """Those of FullyShardedDataParallel, which takes no CPU; made and marked as it does."""
    flat = pytest.importorskip("torch.distributed.fsdp._flat_param")
    model = nn.Linear(2, 2)
    model.weight = flat.FlatParameter(torch.ones(4))
    flat._set_fsdp_flattened(model.bias)
    catalog = Catalog(model, [], Selection(None, None))
    shards = Shards(catalog, 0)
    plan = shards.plan()
    assert plan is not None
    assert plan.holders == frozenset()
    shards.label(plan, "")
    assert [p.dtype for p in catalog.message().parameters] == ["float32 (shard)"] * 2
