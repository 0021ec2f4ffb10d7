"""TensorBoard's DataProvider gives the run that the event files give, with and without its data server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from events.logs import Log
from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2, types_pb2

from tb_nnhealth import schema
from tb_nnhealth.history import Run
from tb_nnhealth.messages import PluginData
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.files import FileSource
from tb_nnhealth.source.provider import ProviderSource

from .backends import DONE, KEEP_ALL, PythonBackend, ServerBackend, has_server
from .compare import assert_same_run

Backend = PythonBackend | ServerBackend
Open = Callable[..., Backend]


@pytest.fixture(params=[PythonBackend, ServerBackend], ids=["python", "server"])
def open_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    opened: list[Backend] = []

    if request.param is ServerBackend and not has_server():
        pytest.skip("TensorBoard has no data server for this platform")

    def start(samples: dict[str, int] = KEEP_ALL) -> Backend:
        opened.append(request.param(str(tmp_path), samples))
        return opened[-1]

    yield start
    for backend in opened:
        backend.close()


def from_files(logdir: Path, name: str) -> Run:
    source = FileSource([logdir])
    source.refresh()
    return source.run(name)


def through(backend: Backend, name: str, **options: Any) -> Run:
    source = ProviderSource(backend.provider, **options)
    source.refresh()
    assert source.problems == []
    return source.run(name)


def picture_event(step: int) -> bytes:
    image = summary_pb2.Summary.Image(encoded_image_string=b"x" * (1 << 20))
    value = summary_pb2.Summary.Value(tag="picture", image=image)
    event = event_pb2.Event(wall_time=1.0, step=step, summary=summary_pb2.Summary(value=[value]))
    return bytes(event.SerializeToString())


def spiky_network(steps: int) -> Network:
    """A network with the numbers that are easily lost: NaN, infinity, spikes of one step."""
    network = Network(depth=2, width=8, steps=steps)
    network.loss(np.linspace(2, 1, steps))
    row = next(i for i, row in enumerate(network.layout.rows) if row.kind == schema.ACTIVATION)
    network.values[steps // 3, row, schema.STATISTICS.index(schema.NAN_COUNT)] = 7
    network.values[steps // 3, row, schema.STATISTICS.index(schema.RMS)] = np.inf
    network.values[steps // 2, row, schema.STATISTICS.index(schema.MAX)] = 1e30
    return network


@pytest.fixture
def long_log(tmp_path: Path) -> Log:
    """3,000 records, 5,000 points of one tag and 999 of another, in the run "exp/a"."""
    log = Log(tmp_path / "exp" / "a")
    log.start(0)
    log.network(spiky_network(3000))
    for step in range(5000):
        log.scalar("lr", step, 1.0 / (step + 1))
    for step in range(999):
        log.scalar("few", step, step)
    log.scalar(DONE, 0, 1)
    return log


def test_the_same_run_at_full_retention(tmp_path: Path, long_log: Log, open_backend: Open) -> None:
    backend = open_backend()
    backend.load(["exp/a"])
    run = through(backend, "exp/a", logdir=str(tmp_path))
    assert run.problems == []
    assert len(run.watches[schema.DEFAULT_WATCH]) == 3000
    assert len(run.scalars["lr"]) == 5000
    assert_same_run(run, from_files(tmp_path, "exp/a"))


def test_a_run_that_tensorboard_lists_and_has_not_read_is_read_from_its_files(tmp_path: Path, long_log: Log) -> None:
    backend = PythonBackend(str(tmp_path), KEEP_ALL)
    backend.find()
    source = ProviderSource(backend.provider, logdir=str(tmp_path))
    source.refresh()
    ahead = source.run("exp/a")
    assert_same_run(ahead, from_files(tmp_path, "exp/a"))
    assert source.run("exp/a").watches[schema.DEFAULT_WATCH] is ahead.watches[schema.DEFAULT_WATCH]
    backend.load(["exp/a"])
    source.refresh()
    assert_same_run(source.run("exp/a"), from_files(tmp_path, "exp/a"))


def test_a_run_half_read_by_tensorboard_is_not_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, network = Log(tmp_path / "a"), spiky_network(30)
    backend = PythonBackend(str(tmp_path), KEEP_ALL)
    source = ProviderSource(backend.provider, logdir=str(tmp_path))

    def write(first: int, end: int) -> None:
        for step in range(first, end):
            log.record(step, network.values[step])
        log.scalar(DONE, end, 1)

    def known() -> int:
        source.refresh()
        return len(source.run("a").watches[schema.DEFAULT_WATCH])

    log.layout(network.layout)
    write(0, 10)
    backend.load(["a"], 10)
    write(10, 20)
    with monkeypatch.context() as unread:
        for listed in ("list_tensors", "list_scalars"):
            unread.setattr(backend.provider, listed, lambda *args, **options: {})
        assert known() == 20
    assert known() == 20  # of which TensorBoard has 10
    backend.load(["a"], 20)
    assert known() == 20
    write(20, 30)
    backend.load(["a"], 30)
    assert known() == 30
    assert_same_run(source.run("a"), from_files(tmp_path, "a"))


def test_validation_beside_a_run_is_read_ahead_as_well(tmp_path: Path) -> None:
    for name, tag in (("train", "loss"), ("val", "loss")):
        Log(tmp_path / name).scalar(tag, 0, 1.0)
    backend = PythonBackend(str(tmp_path), KEEP_ALL)
    backend.find()
    source = ProviderSource(backend.provider, logdir=str(tmp_path))
    source.refresh()
    assert list(source.run("train").scalars) == list(from_files(tmp_path, "train").scalars)


def test_pictures_are_not_read_ahead(tmp_path: Path) -> None:
    pictures = Log(tmp_path / "pictures")
    for step in range(3):
        pictures.event(picture_event(step))
    pictures.scalar(DONE, 0, 1)
    Log(tmp_path / "begun")
    backend = PythonBackend(str(tmp_path), KEEP_ALL)
    backend.find()
    source = ProviderSource(backend.provider, logdir=str(tmp_path))
    source.refresh()
    assert [source.run(name).scalars for name in ("begun", "pictures")] == [{}, {}]
    backend.load(["pictures"])
    source.refresh()
    assert list(source.run("pictures").scalars) == [DONE]


def test_a_log_directory_elsewhere_leaves_a_sample_and_says_so(long_log: Log, open_backend: Open) -> None:
    backend = open_backend()
    backend.load(["exp/a"])
    for logdir in (None, "gs://bucket/logs", str(long_log.path.parent / "elsewhere")):
        run = through(backend, "exp/a", logdir=logdir)
        assert run.sampled == {"lr", "loss/train"}
        assert len(run.scalars["lr"]) == 1000
        assert len(run.scalars["few"]) == 999
        assert len(run.watches[schema.DEFAULT_WATCH]) == 3000


def test_tensorboard_told_to_keep_all_scalars(long_log: Log, open_backend: Open) -> None:
    backend = open_backend({**KEEP_ALL, "scalars": 0})
    backend.load(["exp/a"])
    run = through(backend, "exp/a", scalar_samples=0)
    assert run.sampled == frozenset()
    assert_same_run(run, from_files(long_log.path.parents[2], "exp/a"))


def test_a_sample_of_the_records_is_replaced_by_the_event_files(
    tmp_path: Path, long_log: Log, open_backend: Open
) -> None:
    backend = open_backend({"nnhealth": 100})
    backend.load(["exp/a"])
    run = through(backend, "exp/a", logdir=str(tmp_path))
    assert_same_run(run, from_files(tmp_path, "exp/a"))


@pytest.mark.parametrize(("kept", "level"), [(100, 2), (2000, 1)])
def test_without_the_event_files_a_complete_coarser_level_stands_in(
    long_log: Log, open_backend: Open, kept: int, level: int
) -> None:
    backend = open_backend({"nnhealth": kept})
    backend.load(["exp/a"])
    history = through(backend, "exp/a").watches[schema.DEFAULT_WATCH]
    covered = schema.LEVEL_FACTOR**level
    blocks = 3000 // covered
    assert history.resolution == covered
    assert history.steps.tolist() == [*(covered * (i + 1) - 1 for i in range(blocks)), 2999]
    network = spiky_network(3000)
    whole = network.values[: blocks * covered].reshape(blocks, covered, *network.values.shape[1:])
    subject = next(row.subject for row in network.layout.rows if row.kind == schema.ACTIVATION)
    row = next(i for i, row in enumerate(network.layout.rows) if row.kind == schema.ACTIVATION)

    def series(statistic: str) -> np.ndarray:
        table = history.table(schema.ACTIVATION, statistic)
        return table.values[:-1, table.subjects.index(subject)]

    def blocks_of(statistic: str) -> np.ndarray:
        return whole[:, :, row, schema.STATISTICS.index(statistic)]

    np.testing.assert_array_equal(series(schema.NAN_COUNT), blocks_of(schema.NAN_COUNT).max(axis=1))
    np.testing.assert_array_equal(series(schema.MAX), blocks_of(schema.MAX).max(axis=1))
    np.testing.assert_array_equal(series(schema.MIN), blocks_of(schema.MIN).min(axis=1))
    np.testing.assert_allclose(series(schema.STD), blocks_of(schema.STD).mean(axis=1), rtol=1e-5)
    assert series(schema.NAN_COUNT).max() == 7
    assert series(schema.MAX).max() == np.float32(1e30)


def test_runs_watches_and_tags_of_every_name(tmp_path: Path, open_backend: Open) -> None:
    names = [".", "plain", "deep/er", "a<b>x", "ü x"]
    for i, name in enumerate(names):
        log = Log(tmp_path / name)
        network = Network(depth=1, width=4, steps=20, seed=i)
        for watch in ("zeta", "gan/generator", schema.DEFAULT_WATCH):
            log.layout(network.layout, watch=watch)
            for t in range(20):
                log.record(t, network.values[t], watch=watch)
        log.scalar("ü/<b>", 0, np.nan)
        log.scalar("late", 10**12, np.inf)
        log.scalar(DONE, 0, 1)
    backend = open_backend()
    backend.load(names)
    source = ProviderSource(backend.provider, logdir=str(tmp_path))
    source.refresh()
    assert source.runs() == sorted(names)
    for name in names:
        assert_same_run(source.run(name), from_files(tmp_path, name))
    with pytest.raises(KeyError):
        source.run("../plain")


def test_a_growing_run_is_followed(tmp_path: Path, open_backend: Open) -> None:
    log, network = Log(tmp_path / "a"), Network(depth=1, width=4, steps=30)
    backend = open_backend()
    source = ProviderSource(backend.provider, logdir=str(tmp_path))
    files = FileSource([tmp_path])
    log.layout(network.layout)
    for i, end in enumerate((10, 10, 30)):
        for t in range([0, 10, 10][i], end):
            log.record(t, network.values[t])
        if i:
            log.scalar("loss", i, 1.0)
        log.scalar(DONE, i, 1)
        backend.load(["a"], i)
        source.refresh()
        files.refresh()
        run = source.run("a")
        assert_same_run(run, files.run("a"))
        assert source.run("a") is run
    assert len(run.watches[schema.DEFAULT_WATCH]) == 30


def test_a_resumed_run(tmp_path: Path, open_backend: Open) -> None:
    network = Network(depth=1, width=4, steps=60)
    first = Log(tmp_path / "a", "events.out.tfevents.1.host")
    first.start(0)
    first.layout(network.layout)
    for t in range(50):
        first.record(t, network.values[t], wall=100 + t)
        first.scalar("loss", t, t, wall=100 + t)
    second = Log(tmp_path / "a", "events.out.tfevents.2.host")
    second.start(20)
    second.layout(network.layout, 20, wall=200)
    for t in range(20, 40):
        second.record(t, -network.values[t], wall=200 + t)
        second.scalar("loss", t, -t, wall=200 + t)
    second.scalar(DONE, 0, 1)
    backend = open_backend()
    backend.load(["a"])
    run = through(backend, "a", logdir=str(tmp_path))
    history = run.watches[schema.DEFAULT_WATCH]
    assert history.resolution == 1
    assert history.steps.tolist() == list(range(40))
    assert run.scalars["loss"].values.tolist() == [*range(20), *range(-20, -40, -1)]
    assert_same_run(run, from_files(tmp_path, "a"))


def test_a_newer_format_is_refused_by_name(tmp_path: Path, open_backend: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    log, network = Log(tmp_path / "a"), Network(depth=1, width=4, steps=2)
    with monkeypatch.context() as newer:
        newer.setattr(schema, "FORMAT_VERSION", 9)
        log.layout(network.layout)
        log.record(0, network.values[0])
    log.scalar("loss", 0, 1.0)
    log.scalar(DONE, 0, 1)
    backend = open_backend()
    backend.load(["a"])
    for run in (through(backend, "a"), from_files(tmp_path, "a")):
        assert run.watches == {}
        assert list(run.scalars) == [DONE, "loss"]
        assert len(run.problems) == 2
        for problem in run.problems:
            assert "version 9" in problem.message
            assert "Upgrade tb-nnhealth" in problem.message


def test_one_bad_tag_leaves_the_others(tmp_path: Path, open_backend: Open) -> None:
    for name in ("bad", "good"):
        log, network = Log(tmp_path / name), Network(depth=1, width=4, steps=3)
        log.layout(network.layout, watch="sound")
        log.record(0, network.values[0], watch="sound")
        log.layout(network.layout, watch="odd")
        log.record(0, network.values[0] if name == "good" else np.zeros((1, 2, 3), np.float32), watch="odd")
        log.scalar(DONE, 0, 1)
    backend = open_backend()
    backend.load(["bad", "good"])
    bad, good = through(backend, "bad"), through(backend, "good")
    assert {name: len(history) for name, history in bad.watches.items()} == {"odd": 0, "sound": 1}
    assert {name: len(history) for name, history in good.watches.items()} == {"odd": 1, "sound": 1}
    (problem,) = bad.problems
    assert "run 'bad'" in problem.path
    assert schema.stats_tag("odd") in problem.message


def test_an_empty_log_directory(tmp_path: Path, open_backend: Open) -> None:
    source = ProviderSource(open_backend().provider, logdir=str(tmp_path))
    source.refresh()
    assert source.runs() == source.problems == []


class _Broken:
    """A provider in which some calls fail, as TensorBoard's do: by any exception."""

    def __init__(self, provider: Any, fails: Callable[[str, Any], bool]) -> None:
        self._provider, self.fails = provider, fails
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            wanted = kwargs.get("run_tag_filter")
            self.calls.append((name, wanted))
            if self.fails(name, wanted):
                raise RuntimeError("RESOURCE_EXHAUSTED\nmany details")
            return getattr(self._provider, name)(*args, **kwargs)

        return call


@pytest.fixture
def two_runs(tmp_path: Path) -> Any:
    for name in "ab":
        log = Log(tmp_path / name)
        log.network(Network(depth=1, width=4, steps=40).loss(np.ones(40)))
        log.scalar(DONE, 0, 1)
    backend = PythonBackend(str(tmp_path), KEEP_ALL)
    backend.load("ab")
    return backend.provider


@pytest.mark.parametrize("call", ["list_runs", "list_tensors", "list_scalars"])
def test_a_list_that_fails_leaves_what_was_known(two_runs: Any, call: str) -> None:
    broken = _Broken(two_runs, lambda name, _: False)
    source = ProviderSource(broken)
    source.refresh()
    broken.fails = lambda name, _: name == call
    source.refresh()
    assert source.runs() == ["a", "b"]
    (problem,) = source.problems
    assert "RuntimeError: RESOURCE_EXHAUSTED" in problem.message
    assert "details" not in problem.message
    assert len(source.run("a").watches[schema.DEFAULT_WATCH]) == 40
    broken.fails = lambda name, _: False
    source.refresh()
    assert source.problems == []


def test_a_list_that_fails_from_the_start_leaves_the_others(two_runs: Any) -> None:
    source = ProviderSource(_Broken(two_runs, lambda name, _: name == "list_tensors"))
    source.refresh()
    assert source.run("a").watches == {}
    assert len(source.run("a").scalars["loss/train"]) == 40


def test_a_reply_too_large_is_asked_for_tag_by_tag(two_runs: Any, tmp_path: Path) -> None:
    broken = _Broken(two_runs, lambda name, wanted: name == "read_scalars" and len(wanted.tags) > 1)
    source = ProviderSource(broken)
    source.refresh()
    assert_same_run(source.run("a"), from_files(tmp_path, "a"))
    assert source.run("a").problems == []


def test_records_too_large_for_a_reply_come_from_the_event_files(two_runs: Any, tmp_path: Path) -> None:
    broken = _Broken(two_runs, lambda name, wanted: name == "read_tensors" and schema.stats_tag("model") in wanted.tags)
    source = ProviderSource(broken, logdir=str(tmp_path))
    source.refresh()
    assert_same_run(source.run("a"), from_files(tmp_path, "a"))
    elsewhere = ProviderSource(broken)
    elsewhere.refresh()
    history = elsewhere.run("a").watches[schema.DEFAULT_WATCH]
    assert (history.resolution, history.steps.tolist()) == (16, [15, 31])
    assert "RESOURCE_EXHAUSTED" in elsewhere.run("a").problems[0].message


def test_a_failed_tag_is_tried_again(two_runs: Any, tmp_path: Path) -> None:
    broken = _Broken(two_runs, lambda name, wanted: name == "read_scalars" and "loss/train" in wanted.tags)
    source = ProviderSource(broken)
    source.refresh()
    run = source.run("a")
    assert list(run.scalars) == [DONE]
    assert "loss/train" in run.problems[0].message
    broken.fails = lambda name, wanted: False
    assert_same_run(source.run("a"), from_files(tmp_path, "a"))
    assert run.problems == []


def test_what_has_not_grown_is_not_read_again(two_runs: Any) -> None:
    provider = _Broken(two_runs, lambda name, _: False)
    source = ProviderSource(provider)
    source.refresh()
    source.run("a")
    read = len([name for name, _ in provider.calls if name.startswith("read")])
    for _ in range(3):
        source.refresh()
        source.run("a")
    assert len([name for name, _ in provider.calls if name.startswith("read")]) == read > 0


def test_a_deleted_run_is_forgotten(two_runs: Any) -> None:
    gone = _Broken(two_runs, lambda name, _: False)
    source = ProviderSource(gone)
    source.refresh()
    source.run("a")
    two_runs._multiplexer._accumulators.pop("a")
    source.refresh()
    assert source.runs() == ["b"]
    with pytest.raises(KeyError):
        source.run("a")


def test_plugin_data_is_not_trusted(tmp_path: Path) -> None:
    log, network = Log(tmp_path), Network(depth=1, width=4, steps=2)
    log.layout(network.layout)
    log.record(0, network.values[0])
    log.scalar(DONE, 0, 1)
    backend = PythonBackend(str(tmp_path), KEEP_ALL)
    backend.load(["."])
    for content in (b"\xff\xff", PluginData(version=2**32 - 1).SerializeToString()):
        for metadata in backend.provider._multiplexer.AllSummaryMetadata()["."].values():
            if metadata.plugin_data.plugin_name == schema.PLUGIN_NAME:
                metadata.plugin_data.content = content
        run = through(backend, ".")
        assert run.watches == {}
        assert len(run.problems) == 2


def test_a_scalar_that_is_no_number_leaves_the_others(tmp_path: Path) -> None:
    """TensorBoard hands on what a writer called a scalar: texts and complex numbers too."""
    log = Log(tmp_path / "a")
    for tag, tensor in {
        "complex": tensor_pb2.TensorProto(dtype=types_pb2.DT_COMPLEX64, tensor_content=np.complex64(1j).tobytes()),
        "text": tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=[b"0.5"]),
    }.items():
        tensor.tensor_shape.SetInParent()
        value = summary_pb2.Summary.Value(tag=tag, tensor=tensor)
        value.metadata.plugin_data.plugin_name = "scalars"
        value.metadata.data_class = summary_pb2.DATA_CLASS_SCALAR
        log.event(event_pb2.Event(step=0, summary=summary_pb2.Summary(value=[value])).SerializeToString())
    log.scalar(DONE, 0, 1)
    backend = PythonBackend(str(tmp_path), KEEP_ALL)
    backend.load(["a"])
    run = through(backend, "a")
    assert list(run.scalars) == [DONE]
    assert [problem.message for problem in run.problems] == [
        "tag 'complex': expected numbers, found complex",
        "tag 'text': expected numbers, found bytes",
    ]
