"""Trainings of one rank of a job, run by ``rank_job``: each way to spread a model, watched and unwatched.

They also compute what the records should say, from whole tensors: a test may call collectives as ``full_tensor()`` is.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed
from rank_job import member
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, SequenceParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from tb_nnhealth import SummaryWriter
from tb_nnhealth.record import rank_exchange
from tb_nnhealth.record.shard_merge import Merge

STEPS, BATCH = 6, 8
STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": torch.mean,
    "std": lambda x: x.std(correction=0),
    "rms": lambda x: x.square().mean().sqrt(),
    "min": torch.min,
    "max": torch.max,
    "zero_share": lambda x: (x == 0).double().mean(),
    "nan_count": lambda x: x.isnan().sum(),
    "inf_count": lambda x: x.isinf().sum(),
}


class Net(nn.Module):
    """Sizes that two and four ranks share unevenly, and of which some ranks get nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.first = nn.Linear(6, 8)
        self.second = nn.Linear(8, 6)
        self.head = nn.Linear(6, 3)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.second(torch.relu(self.first(self.norm(x))))) * self.scale
        return out


def model() -> Net:
    torch.manual_seed(0)
    net = Net()
    with torch.no_grad():
        net.first.weight[:, 2] = 0.0  # so that zero shares are not all 0
    return net


def batches(rank: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(100 + rank)
    while True:
        x = torch.randn(BATCH, 5, 6, generator=generator)
        yield x, (x[:, 0, 0] > 0).long()


def loss_of(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(net(x).mean(1), y)


def sgd(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)


# --- ways to spread a model ------------------------------------------------------------------------------------------


def mesh(*shape: int) -> Any:
    return init_device_mesh("cpu", shape, mesh_dim_names=("data", "model")[: len(shape)])


def sharded(net: Net, **options: Any) -> Net:
    fully_shard(net.first, mesh=mesh(distributed.get_world_size()), **options)
    fully_shard(net, mesh=mesh(distributed.get_world_size()), **options)
    return net


def unsharded_after_backward(net: Net) -> Net:
    sharded(net).set_reshard_after_backward(False)  # type: ignore[operator]
    return net


def parallel(net: Net, tensor_mesh: Any) -> Net:
    return parallelize_module(net, tensor_mesh, {"first": ColwiseParallel(), "second": RowwiseParallel()})  # type: ignore[return-value]


def sequence_parallel(net: Net, tensor_mesh: Any) -> Net:
    plan = {
        "norm": SequenceParallel(),
        "first": ColwiseParallel(input_layouts=Shard(1)),
        "second": RowwiseParallel(),
    }
    return parallelize_module(net, tensor_mesh, plan)  # type: ignore[return-value]


def two_dimensional(net: Net) -> Net:
    both = mesh(2, distributed.get_world_size() // 2)
    parallel(net, both["model"])
    fully_shard(net, mesh=both["data"])
    return net


def sharded_in_halves(net: Net) -> Net:
    """Two jobs in one, each of half of the ranks."""
    fully_shard(net, mesh=mesh(2, distributed.get_world_size() // 2)["model"])
    return net


def hybrid(net: Net) -> Net:
    fully_shard(net, mesh=mesh(2, distributed.get_world_size() // 2))
    return net


WAYS: dict[str, Callable[[Net], nn.Module]] = {
    "fsdp2": sharded,
    "fsdp2-keeps-unsharded": lambda net: sharded(net, reshard_after_forward=False),
    "fsdp2-mixed-precision": lambda net: sharded(
        net, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    ),
    "fsdp2-cpu-offload": lambda net: sharded(net, offload_policy=CPUOffloadPolicy(pin_memory=False)),
    "fsdp2-clipped": sharded,
    "fsdp2-accumulating": sharded,
    "fsdp2-all-reduce": sharded,
    "fsdp2-unsharded-after-backward": unsharded_after_backward,
    "fsdp2-without-optimizer": sharded,
    "hybrid-fsdp2": hybrid,
    "hybrid-fsdp2-all-reduce": hybrid,
    "fsdp2-of-half-the-ranks": sharded_in_halves,
    "tensor-parallel": lambda net: parallel(net, mesh(distributed.get_world_size())),
    "sequence-parallel": lambda net: sequence_parallel(net, mesh(distributed.get_world_size())),
    "tensor-parallel-all-reduce": lambda net: parallel(net, mesh(distributed.get_world_size())),
    "tensor-parallel-late": lambda net: parallel(net, mesh(distributed.get_world_size())),
    "fsdp2-and-tensor-parallel": two_dimensional,
    "fsdp2-and-tensor-parallel-all-reduce": two_dimensional,
    "ddp": DistributedDataParallel,
    "ddp-accumulating": DistributedDataParallel,
    "ddp-static-graph": lambda net: DistributedDataParallel(net, static_graph=True),
    "ddp-unused-parameters": lambda net: DistributedDataParallel(net, find_unused_parameters=True),
    "ddp-zero-redundancy": DistributedDataParallel,
}


def batch_of(rank: int, case: str) -> int:
    """The stream of batches that a rank reads: ranks that share one computation read the same."""
    if case.startswith(("tensor", "sequence")):
        return 0
    return rank // (distributed.get_world_size() // 2) if case.startswith("fsdp2-and") else rank


def whole(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().double().clone()


def statistics(tensor: Tensor) -> list[float]:
    return [float(function(tensor)) for function in STATISTICS.values()]


def exponents(tensor: Tensor) -> dict[int, int]:
    """How many elements have which floor(log2 |x|); -1000 stands for zeros."""
    found: dict[int, int] = {}
    for value in tensor.reshape(-1).tolist():
        exponent = math.frexp(value)[1] - 1 if value else -1000
        found[exponent] = found.get(exponent, 0) + 1
    return found


def train(rank: int, directory: Path, case: str, *, watched: bool) -> dict[str, Any]:
    """Losses, random state and weights in the end; and, where it is watched, what the records should say."""
    net = WAYS[case](model())
    named = [(name.removeprefix("module."), p) for name, p in net.named_parameters()]
    optimizer = (
        ZeroRedundancyOptimizer(net.parameters(), torch.optim.SGD, lr=0.1, momentum=0.9)
        if case == "ddp-zero-redundancy"
        else sgd(net)
    )
    losses, truth = [], []
    stream = batches(batch_of(rank, case))
    writer = SummaryWriter(directory / case / "run") if watched else None
    if writer is not None:
        shards = "all-reduce" if case.endswith("all-reduce") else "store"
        trainer = None if case == "fsdp2-without-optimizer" else optimizer
        writer.watch(net, trainer, every=1, name=case, shards=shards)
    may_merge = held_back() if watched and case.endswith("late") else None
    for step in range(STEPS):
        optimizer.zero_grad()
        for part in range(2 if case.endswith("accumulating") else 1):
            with halted(net, part == 0 and case.endswith("accumulating")):
                loss = loss_of(net, *next(stream))
                loss.backward()
            losses.append(loss.detach().clone())
        if case == "fsdp2-clipped":
            nn.utils.clip_grad_norm_(net.parameters(), 0.05)
        before = [whole(p) for _, p in named]
        gradients = [None if p.grad is None else whole(p.grad) for _, p in named]
        optimizer.step()
        for (name, p), weight, gradient in zip(named, before, gradients, strict=True):
            truth.append((step, "weight", name, statistics(weight)))
            if gradient is not None:
                truth.append((step, "gradient", name, statistics(gradient)))
                if case != "fsdp2-without-optimizer":
                    truth.append((step, "update", name, statistics(whole(p) - weight)))
        if step == 0:
            histograms = {name: exponents(weight) for (name, _), weight in zip(named, before, strict=True)}
    if may_merge is not None:
        may_merge.set()
    if writer is not None:
        writer.close()
    return {
        "losses": torch.stack([whole(loss) for loss in losses]),
        "random": torch.get_rng_state(),
        "weights": {name: whole(p) for name, p in named},
        "gradients": {name: whole(p.grad) for name, p in named if p.grad is not None},
        "truth": truth,
        "histograms": histograms,
    }


def held_back() -> threading.Event:
    """Holds back the writer's thread, as where other ranks lag, until the event is set, after the training."""
    event, merged = threading.Event(), Merge.table

    def table(*arguments: Any) -> None:
        event.wait()
        merged(*arguments)

    Merge.table = table  # type: ignore[method-assign]
    return event


def halted(net: nn.Module, halts: bool) -> AbstractContextManager[Any]:
    """Without the exchange of gradients, for all but the last part of an accumulated batch."""
    if isinstance(net, DistributedDataParallel):
        return net.no_sync() if halts else nullcontext()
    if halts or hasattr(net, "set_requires_gradient_sync"):
        net.set_requires_gradient_sync(not halts)  # type: ignore[operator]
    return nullcontext()


def case(rank: int, directory: Path, name: str) -> None:
    for watched in (True, False):
        result = train(rank, directory, name, watched=watched)
        torch.save(result, directory / f"{name}-{'watched' if watched else 'alone'}-{rank}.pt")


if __name__ == "__main__":
    np.seterr(all="raise")
    rank_exchange.PATIENCE = rank_exchange.FIRST_PATIENCE = 60.0  # a busy machine is waited for
    member(case)
