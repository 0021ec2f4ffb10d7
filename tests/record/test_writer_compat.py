"""Every method of PyTorch's SummaryWriter, through ours: the same events in the same files, the same errors."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import event_logs
import numpy as np
import pytest
import torch
from torch.utils.tensorboard import SummaryWriter as TorchSummaryWriter

from tb_nnhealth import SummaryWriter


def _image(*shape: int) -> torch.Tensor:
    return torch.linspace(0, 1, int(np.prod(shape))).reshape(shape)


def _graph(w: Any) -> None:
    torch.manual_seed(0)
    w.add_graph(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()), torch.zeros(1, 3))


def _figure(w: Any) -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    figure = plt.figure()
    plt.plot([1, 2, 3])
    w.add_figure("figure", figure, 3)


def _video(w: Any) -> None:
    pytest.importorskip("moviepy")
    w.add_video("video", torch.zeros(1, 2, 3, 8, 8), 1)


def _raw_histogram(w: Any) -> None:
    w.add_histogram_raw("raw", 0.0, 2.0, 3, 3.0, 5.0, [0.5, 1.5, 2.5], [1, 1, 1], 4)


def _embedding(w: Any) -> None:
    w.add_embedding(_image(4, 3), metadata=["a", "b", "c", "d"], label_img=_image(4, 3, 8, 8), global_step=2, tag="e")
    w.add_embedding(_image(4, 3))


def _raw_pr_curve(w: Any) -> None:
    w.add_pr_curve_raw("raw", [2, 1], [2, 0], [0, 2], [0, 1], [0.5, 1.0], [1.0, 0.5], 3, num_thresholds=2)


CALLS: dict[str, Callable[[Any], Any]] = {
    "add_scalar": lambda w: [w.add_scalar("loss/train", 1 / (i + 1), i) for i in range(50)],
    "add_scalar_of_a_tensor": lambda w: w.add_scalar("x", torch.tensor(2.5), 1, 12.5),
    "add_scalar_new_style": lambda w: w.add_scalar("x", 2.5, 1, new_style=True, double_precision=True),
    "add_scalar_without_step": lambda w: w.add_scalar("x", 1),
    "add_scalar_odd": lambda w: [
        w.add_scalar("nan", float("nan"), 0),
        w.add_scalar("inf", float("inf"), np.int64(7)),
        w.add_scalar("ünïcode\0<b>", -1, -5),
        w.add_scalar("float step", 1, 2.7),
        w.add_scalar("", 1, 1),
        w.add_scalar("x" * 100_000, True, 1),
    ],
    "add_scalars": lambda w: [w.add_scalars("run/14h", {"a": i, "b/c": -i}, i) for i in range(3)],
    "add_histogram": lambda w: w.add_histogram("h", np.arange(100.0), 2),
    "add_histogram_bins": lambda w: w.add_histogram("h", torch.arange(100.0), 2, bins="auto", max_bins=5),
    "add_histogram_raw": _raw_histogram,
    "add_image": lambda w: w.add_image("i", _image(3, 4, 5), 1),
    "add_image_hwc": lambda w: w.add_image("i", _image(4, 5, 3).numpy(), 1, dataformats="HWC"),
    "add_images": lambda w: w.add_images("i", _image(2, 3, 4, 5), 1),
    "add_image_with_boxes": lambda w: w.add_image_with_boxes(
        "i", _image(3, 16, 16), torch.tensor([[1.0, 1, 8, 8]]), 1, labels="cat"
    ),
    "add_figure": _figure,
    "add_video": _video,
    "add_audio": lambda w: w.add_audio("a", _image(1, 100), 3, sample_rate=8000),
    "add_text": lambda w: w.add_text("t", "**text** <b>", 9),
    "add_graph": _graph,
    "add_embedding": _embedding,
    "add_pr_curve": lambda w: w.add_pr_curve("pr", np.array([0, 1, 1]), np.array([0.2, 0.6, 0.9]), 2),
    "add_pr_curve_raw": _raw_pr_curve,
    "add_custom_scalars": lambda w: w.add_custom_scalars({"c": {"t": ["Multiline", ["a", "b"]]}}),
    "add_custom_scalars_multilinechart": lambda w: w.add_custom_scalars_multilinechart(["a", "b"]),
    "add_custom_scalars_marginchart": lambda w: w.add_custom_scalars_marginchart(["a", "b", "c"]),
    "add_mesh": lambda w: w.add_mesh("m", _image(1, 4, 3), colors=torch.zeros(1, 4, 3, dtype=torch.uint8)),
    "add_tensor": lambda w: w.add_tensor("t", torch.arange(6.0).reshape(2, 3), 5),
    "add_hparams": lambda w: w.add_hparams(
        {"lr": 0.1, "name": "x", "flag": True, "none": None},
        {"m": 1.5},
        {"lr": [0.1, 0.2]},
        run_name="trial",
        global_step=4,
    ),
    "file_writer": lambda w: w.file_writer.add_summary(_summary(), 3),
    "flush_and_close_and_add": lambda w: [
        w.add_scalar("x", 1, 1),
        w.flush(),
        w.close(),
        w.close(),
        w.add_scalar("x", 2, 2),
    ],
}


def _summary() -> Any:
    from torch.utils.tensorboard.summary import scalar

    return scalar("direct", 4.0)


@pytest.mark.parametrize("call", CALLS)
def test_method_writes_what_pytorch_writes(call: str, tmp_path: Path) -> None:
    found = {}
    for name, kind in (("theirs", TorchSummaryWriter), ("ours", SummaryWriter)):
        with kind(str(tmp_path / name)) as writer:
            CALLS[call](writer)
        found[name] = {
            "events": _events(tmp_path / name),
            "other files": sorted(
                (str(p.relative_to(tmp_path / name)), p.read_bytes())
                for p in (tmp_path / name).rglob("*")
                if p.is_file() and "tfevents" not in p.name
            ),
        }
    assert found["ours"] == found["theirs"]
    assert sum(map(len, found["ours"]["events"].values())) > 1 or call == "add_embedding"


def _events(directory: Path) -> dict[str, list[str]]:
    """``comparable``, without the times that ``add_hparams`` writes inside a string of bytes."""
    return {
        where: [re.sub(r'content: ".*"', "content", event) if "hparams" in event else event for event in found]
        for where, found in event_logs.comparable(directory).items()
    }


def test_every_method_is_tried() -> None:
    methods = {
        name for name, _ in inspect.getmembers(TorchSummaryWriter, inspect.isfunction) if name.startswith("add_")
    }
    assert methods - {name for name in CALLS if name in methods} == {"add_onnx_graph"}  # needs the onnx package


def test_signatures_take_what_pytorchs_take() -> None:
    for name, theirs in inspect.getmembers(TorchSummaryWriter, inspect.isfunction):
        if name.startswith("__") and name != "__init__":
            continue
        ours = inspect.signature(getattr(SummaryWriter, name)).parameters
        if name == "add_embedding":  # passes all on
            continue
        wanted = inspect.signature(theirs).parameters
        assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in wanted.values()], name


@pytest.mark.parametrize(
    "misuse",
    [
        lambda w: w.add_scalar("x", None, 1),
        lambda w: w.add_scalar("x", torch.zeros(2), 1),
        lambda w: w.add_scalar("x", "no number", 1),
        lambda w: w.add_scalar("\ud800", 1.0, 1),
        lambda w: w.add_scalar("x", 1.0, 2**63),
        lambda w: w.add_scalar("x", 1.0, "step"),
        lambda w: w.add_scalars("x", {"a": None}, 1),
        lambda w: w.add_histogram("h", torch.tensor([]), 1),
        lambda w: w.add_hparams([], {}),
        lambda w: w.add_hparams({"a": object()}, {}),
        lambda w: w.add_hparams({"a": 1}, {"m": None}),
        lambda w: w.add_image("i", torch.zeros(2), 1),
        lambda w: w.add_embedding(torch.zeros(3)),
        lambda w: w.add_custom_scalars_marginchart(["a"]),
        lambda w: w.file_writer.event_writer.add_event("no event"),
    ],
)
def test_misuse_raises_at_once_as_pytorchs(misuse: Callable[[Any], Any], tmp_path: Path) -> None:
    with TorchSummaryWriter(str(tmp_path / "theirs")) as theirs, pytest.raises(Exception) as expected:  # noqa: PT011
        misuse(theirs)
    with SummaryWriter(str(tmp_path / "ours")) as ours, pytest.raises(expected.type):
        misuse(ours)


def test_complex_scalar_is_taken_or_refused_alike(tmp_path: Path) -> None:
    outcomes = []
    for kind in (TorchSummaryWriter, SummaryWriter):
        with kind(str(tmp_path / kind.__module__)) as writer:
            try:
                writer.add_scalar("x", 1j, 1)
                outcomes.append(None)
            except Exception as error:
                outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]


def test_default_directory_is_named_as_pytorchs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SummaryWriter(comment="_lr0.1") as writer:
        writer.add_scalar("x", 1, 1)
    assert re.fullmatch(r"runs/\w{3}\d\d_\d\d-\d\d-\d\d_.+_lr0\.1", writer.log_dir)
    assert event_logs.values(tmp_path / writer.log_dir, "x") == [(1, 1.0)]


def test_directory_may_be_a_path(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path / "run") as writer:
        writer.add_scalars("x", {"a": 1.0}, 1)
        assert writer.get_logdir() == tmp_path / "run"
        assert writer.file_writer.get_logdir() == str(tmp_path / "run")
    assert event_logs.values(tmp_path / "run" / "x_a", "x") == [(1, 1.0)]


def test_file_is_named_as_pytorchs_and_there_at_once(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path, filename_suffix=".suffix", max_queue=1, flush_secs=1):
        (path,) = event_logs.event_files(tmp_path)
        assert re.fullmatch(rf"events\.out\.tfevents\.\d{{10}}\..+\.{os.getpid()}\.\d+\.suffix", path.name)
        assert [event.file_version for event in event_logs.events(path)] == ["brain.Event:2"]


def test_suffix_is_on_the_files_of_add_scalars(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path, filename_suffix=".s") as writer:
        writer.add_scalars("m", {"a": 1.0}, 1)
    assert [path.suffix for path in event_logs.event_files(tmp_path)] == [".s", ".s"]


@pytest.mark.parametrize("purge_step", [0, 7])
def test_purge_step_is_written_as_pytorchs(purge_step: int, tmp_path: Path) -> None:
    for name, kind in (("theirs", TorchSummaryWriter), ("ours", SummaryWriter)):
        with kind(str(tmp_path / name), purge_step=purge_step) as writer:
            writer.add_scalar("x", 1.0, purge_step)
            writer.close()
            writer.add_scalar("x", 2.0, purge_step + 1)
    assert event_logs.comparable(tmp_path / "ours") == event_logs.comparable(tmp_path / "theirs")


def test_a_subclass_is_still_ours(tmp_path: Path) -> None:
    class Mine(SummaryWriter):
        def __init__(self, directory: Path) -> None:
            super().__init__(directory)
            self.count = 0

        def add_scalar(self, *args: Any, **kwargs: Any) -> None:
            self.count += 1
            super().add_scalar(*args, **kwargs)

    with Mine(tmp_path) as writer:
        writer.add_scalar("x", 1, 1)
    assert writer.count == 1
    assert isinstance(writer, TorchSummaryWriter)
    assert event_logs.values(tmp_path, "x") == [(1, 1.0)]
