"""``make bench-gpu``, ``python -m benchmarks.gpu``: what recording costs on an NVIDIA GPU, and whether it is right.

Four things are shown: that every statistic agrees with the CPU's; that a recorded step makes no call that waits for the
GPU; what recording adds to the time of a step; and what memory it takes. Results go to benchmarks/results/gpu.json.

Exit status: 0 where all was measured and is right, 1 where a statistic is wrong or a call of ours waits, 3 where there
is no GPU and nothing was run.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_check import disagreements
from benchmarks.gpu_trainings import PRECISIONS, SIZES, training
from benchmarks.machine import machine
from benchmarks.trainings import Training
from tb_nnhealth import SummaryWriter
from tb_nnhealth.record import device_reduce

RESULT = Path(__file__).parent / "results" / "gpu.json"
NOT_RUN = 3
WAITING = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
"""Calls of the CUDA runtime that wait for the device."""
OPENING = 12
"""Steps that every way takes first: kernels are compiled, and the default cadence measures each of the first ten."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="124m", help="of the GPT (default: %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="autocast", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="blocks of each way (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of bare training in a block (default: %(default)s)")
    parser.add_argument("--tensors", type=int, default=2000, help="compared with the CPU's (default: %(default)s)")
    parser.add_argument("--device", default="cuda", help="cpu shows that the benchmark runs, and measures no GPU")
    parser.add_argument("--json", type=Path, metavar="FILE", default=RESULT, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        parser.error(f"--rounds: expected 2 or more, found {options.rounds}")
    device = torch.device(options.device)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            print("bench-gpu: not run, since PyTorch finds no GPU here.")
            return NOT_RUN
        device = torch.device("cuda", torch.cuda.current_device())
    wrong = disagreements(device, options.tensors)
    trained = training(SIZES[options.size], options.precision, device)
    found = {
        "machine": {**machine(), **_gpu(device)},
        "triton": device.type == "cuda" and device_reduce.kernels() is not None,
        "size": options.size,
        "precision": options.precision,
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "tokens": trained.x.numel(),
        "tensors_compared": options.tensors,
        "wrong": wrong,
        **_measured(trained, device, options.rounds, options.seconds),
    }
    print(_table(found))
    if device.type == "cuda":
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return 1 if wrong or found["waiting"] or found["errors"] else 0


def _gpu(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {}
    there = torch.cuda.get_device_properties(device)
    return {"gpu": there.name, "gpu_memory": there.total_memory, "cuda": torch.version.cuda}


def _measured(trained: Training, device: torch.device, rounds: int, seconds: float) -> dict[str, Any]:
    for _ in range(OPENING):
        trained.step()
    memory, bare_waiting = {"bare": _peak(trained, device)}, _waiting(trained, device)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as open_writers:
        watches: dict[str, Any] = {}
        writers: dict[str, SummaryWriter] = {}
        for way, every in (("watch, defaults", None), ("watch, every=1", 1)):
            writer = writers[way] = open_writers.enter_context(closing(SummaryWriter(f"{directory}/{every}")))
            with _only(way, watches):
                watches[way] = writer.watch(trained.model, trained.optimizer, criterion=trained.criterion, every=every)
                for _ in range(OPENING):
                    trained.step()
        with _only("watch, every=1", watches):
            memory["watch, every=1"] = _peak(trained, device)
            waiting = _waiting(trained, device)
            forbidden = _forbidden(trained, device)
        with _only("bare", watches):
            count = max(3, round(seconds / _block(trained.step, device, 5)))
        times: dict[str, list[float]] = {way: [] for way in ("bare", "A/A", *watches)}
        for _ in range(rounds):
            for way in random.sample(list(times), len(times)):
                with _only(way, watches):
                    times[way].append(_block(trained.step, device, count))
        recorders = [writer._recorder for writer in writers.values() if writer._recorder is not None]
        errors = [message for recorder in recorders for message in recorder._faults.messages]
        every_steps = watches["watch, defaults"]._capture._cadence.every
    return {
        "bare_ms": 1000 * statistics.median(times["bare"]),
        "steps_in_a_block": count,
        "added": {way: _quartiles(times[way], times["bare"]) for way in times if way != "bare"},
        "defaults_measure_one_step_in": every_steps,
        "waiting": dict((waiting - bare_waiting) + forbidden),
        "errors": errors,
        "peak_memory": memory,
    }


@contextmanager
def _only(way: str, watches: dict[str, Any]) -> Iterator[None]:
    """All watches but ``way`` rest."""
    with ExitStack() as stack:
        for name, watch in watches.items():
            if name != way:
                stack.enter_context(watch.paused())
        yield


def _block(step: Callable[[], None], device: torch.device, count: int) -> float:
    """Seconds per step, from an idle device to an idle device."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(count):
        step()
    _wait(device)
    return (time.perf_counter() - start) / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(trained: Training, device: torch.device) -> int:
    """Most bytes allocated on the GPU over three steps."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    for _ in range(3):
        trained.step()
    _wait(device)
    return int(torch.cuda.max_memory_allocated(device))


def _waiting(trained: Training, device: torch.device) -> Counter[str]:
    """How often each call of WAITING was made in five steps, by the profiler."""
    if device.type != "cuda":
        return Counter()
    _wait(device)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(5):
            trained.step()
    return Counter(event.name for event in profile.events() if event.name in WAITING)


def _forbidden(trained: Training, device: torch.device) -> Counter[str]:
    """Whether five steps run where PyTorch makes an error of every operation that waits.

    What fails inside our hooks is told as an error of the watch, and not raised.
    """
    if device.type != "cuda":
        return Counter()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            trained.step()
    except RuntimeError as error:
        return Counter({f"set_sync_debug_mode: {error}": 1})
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return Counter()


def _quartiles(times: list[float], bare: list[float]) -> tuple[float, float, float]:
    """Of what was added to the bare step of the same round, as a share of it."""
    low, middle, high = statistics.quantiles([own / other - 1 for own, other in zip(times, bare, strict=True)], n=4)
    return low, middle, high


def _table(found: dict[str, Any]) -> str:
    memory = found["peak_memory"]
    lines = [
        f"GPT of {found['parameters'] / 1e6:,.0f} M parameters, {found['tokens']:,} tokens a step, "
        f"{found['precision']}, "
        f"on {found['machine'].get('gpu', 'the CPU: no GPU was measured')}; bare step {found['bare_ms']:.1f} ms",
        "",
        "| recording | added to the step |",
        "| --- | ---: |",
        *(f"| {way} | {m:+.2%} ({low:+.2%} to {high:+.2%}) |" for way, (low, m, high) in found["added"].items()),
        "",
        f"Measured by {'our kernels' if found['triton'] else 'operations of PyTorch'}; "
        f"defaults measure one step in {found['defaults_measure_one_step_in']}.",
        f"Statistics that disagree with the CPU's: {len(found['wrong'])}, of {found['tensors_compared']} tensors.",
        f"Calls of ours that wait for the GPU: {found['waiting'] or 'none'}. Errors: {found['errors'] or 'none'}.",
        f"Peak memory, MB: bare {memory['bare'] / 1e6:,.0f}, every step {memory['watch, every=1'] / 1e6:,.0f}.",
    ]
    return "\n".join([*lines, *found["wrong"][:10]])


if __name__ == "__main__":
    sys.exit(main())
