"""The writer across processes: exit without close, exceptions, forks, kills, pickles; and the watch through it."""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import event_logs
import pytest
import torch

from tb_nnhealth import Finding, SummaryWriter, schema
from tb_nnhealth.record.faults import ShimWarning
from tb_nnhealth.source.files import FileSource


def run(program: str, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs ``program``. Where it can do without torch, by ``recorder`` and ``record(step)``, it starts quickly."""
    head = """
        import os, sys
        from tb_nnhealth import Recorder
        record = lambda step: recorder.record(step, {"w": {"rms": step}})
    """
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(head) + textwrap.dedent(program), str(directory)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def steps(directory: Path, tag: str = "x") -> list[int]:
    return event_logs.steps(directory, tag)


# --- how a process ends ---------------------------------------------------------------------------------------------


def test_normal_exit_without_close_loses_nothing(tmp_path: Path) -> None:
    done = run(
        """
        import torch
        from tb_nnhealth import SummaryWriter
        writer = SummaryWriter(sys.argv[1])
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        writer.watch(model, optimizer, every=1)
        for i in range(200):
            model(torch.ones(3, 2)).square().mean().backward()
            optimizer.step()
            writer.add_scalar("x", i, i)
            writer.add_scalars("m", {"a": i}, i)
        """,
        tmp_path,
        "-W",
        "error",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert steps(tmp_path) == event_logs.record_steps(tmp_path) == list(range(200))
    assert event_logs.steps(tmp_path / "m_a", "m") == list(range(200))
    source = FileSource([tmp_path])
    source.refresh()
    capture = source.run(".").capture
    assert (capture.written, capture.closed) == (200, True)


def test_exit_by_an_exception_loses_nothing(tmp_path: Path) -> None:
    done = run(
        """
        recorder = Recorder(sys.argv[1])
        for i in range(500):
            record(i)
        raise RuntimeError("training died")
        """,
        tmp_path,
    )
    assert done.returncode == 1
    assert "training died" in done.stderr
    assert event_logs.record_steps(tmp_path) == list(range(500))


def test_what_is_added_by_exit_handlers_is_written(tmp_path: Path) -> None:
    done = run(
        """
        import atexit
        recorder = Recorder(sys.argv[1])
        record(0)
        atexit.register(lambda: [recorder.close(), record(1)])
        """,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert event_logs.record_steps(tmp_path) == [0, 1]


def test_exit_with_a_recorder_abandoned_in_a_thread(tmp_path: Path) -> None:
    done = run(
        """
        import threading
        def train():
            recorder = Recorder(sys.argv[1])
            for i in range(300):
                recorder.record(i, {"w": {"rms": i}})
        threading.Thread(target=train).start()
        """,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert event_logs.record_steps(tmp_path) == list(range(300))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_kill_loses_at_most_what_waited(tmp_path: Path) -> None:
    done = run(
        """
        import signal
        recorder = Recorder(sys.argv[1])
        for i in range(500):
            record(i)
        recorder.flush()
        record(500)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
    )
    assert done.returncode == -signal.SIGKILL
    assert event_logs.record_steps(tmp_path)[:500] == list(range(500))


def test_exit_does_not_wait_for_ever_for_a_stalled_disk(tmp_path: Path) -> None:
    done = run(
        """
        import threading
        from tb_nnhealth.record import event_file
        event_file.FLUSH_SECONDS = 0.2
        recorder = Recorder(sys.argv[1])
        real = os.write
        os.write = lambda fd, data: threading.Event().wait() if fd > 2 else real(fd, data)
        record(0)
        """,
        tmp_path,
    )
    assert done.returncode == 0
    assert "did not take all events within" in done.stderr


def test_dropped_writer_is_written_and_its_thread_ends(tmp_path: Path) -> None:
    before = threading.active_count()
    for i in range(5):
        writer = SummaryWriter(tmp_path / str(i))
        writer.add_scalar("x", i, i)
        writer.add_scalars("m", {"a": 1.0}, i)
        del writer
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith(f"tb_nnhealth:{tmp_path}"):
            thread.join(30)
    assert threading.active_count() <= before
    assert [steps(tmp_path / str(i)) for i in range(5)] == [[i] for i in range(5)]


# --- other processes ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forked_child_writes_nothing_and_does_not_hang(tmp_path: Path) -> None:
    done = run(
        """
        import warnings
        from tb_nnhealth import SummaryWriter
        warnings.simplefilter("ignore")
        writer = SummaryWriter(sys.argv[1])
        closed = SummaryWriter(sys.argv[1] + "/closed")
        closed.add_scalar("x", 0, 0)
        closed.close()
        for i in range(100):
            writer.add_scalar("x", i, i)
        child = os.fork()
        if child == 0:
            for i in range(100_000, 140_000):
                writer.add_scalar("x", i, i)
            writer.add_scalars("m", {"a": 1}, 1)
            writer.add_hparams({"a": 1}, {"m": 1})
            closed.add_scalar("x", 1, 1)
            import torch
            writer.add_embedding(torch.zeros(2, 2))
            assert writer.findings() == []
            writer.flush()
            writer.close()
            writer.add_scalar("x", 5, 5)
            mine = SummaryWriter(sys.argv[1] + "/child")  # one of the child's own works
            mine.add_scalar("x", 7, 7)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        writer.add_scalar("x", 100, 100)
        """,
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    own = [path for path in event_logs.event_files(tmp_path) if path.parent == tmp_path]
    assert len(own) == 1
    assert steps(own[0]) == list(range(101))
    assert steps(tmp_path / "closed") == [0]
    assert steps(tmp_path / "child") == [7]
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["child", "closed"]


class _Data(torch.utils.data.Dataset[int]):
    def __init__(self, writer: SummaryWriter) -> None:
        self.writer = writer

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        for i in range(100):
            self.writer.add_scalar("from a worker", i, i)
        self.writer.flush()
        return index


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_workers_of_a_data_loader_may_hold_the_writer(method: str, tmp_path: Path) -> None:
    if method not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    with SummaryWriter(tmp_path) as writer:
        writer.add_scalar("x", 0, 0)
        loader = torch.utils.data.DataLoader(
            _Data(writer), num_workers=1, batch_size=4, multiprocessing_context=method, timeout=60
        )
        assert sorted(int(i) for batch in loader for i in batch) == list(range(8))
        writer.add_scalar("x", 1, 1)
    assert steps(tmp_path) == [0, 1]
    assert steps(tmp_path, "from a worker") == []
    assert len(event_logs.event_files(tmp_path)) == 1


def test_copies_do_nothing(tmp_path: Path) -> None:
    writer = SummaryWriter(tmp_path, filename_suffix=".s")
    writer.add_scalar("x", 0, 0)
    for other in (pickle.loads(pickle.dumps(writer)), copy.deepcopy(writer)):
        other.add_scalar("x", 1, 1)
        other.add_scalars("m", {"a": 1.0}, 1)
        other.add_hparams({"a": 1}, {"m": 1.0})
        other.add_histogram("h", torch.ones(3), 1)
        other.flush()
        assert other.findings() == []
        other.close()
        other.add_scalar("x", 2, 2)
        assert (other.get_logdir(), other.filename_suffix) == (tmp_path, ".s")
    writer.close()
    assert len(event_logs.event_files(tmp_path)) == 1
    assert steps(tmp_path) == [0]


# --- faults of the disk, through the writer -------------------------------------------------------------------------


@pytest.fixture
def broken_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def broken(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        for name in ("open", "makedirs"):
            patch.setattr(os, name, broken)
        patch.setattr(os, "write", lambda fd, data, real=os.write: real(fd, data) if fd <= 2 else broken())
        yield


def test_broken_disk_never_reaches_training(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    writer = SummaryWriter(tmp_path)
    request.getfixturevalue("broken_disk")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for i in range(50):
            writer.add_scalar("x", i, i)
            writer.add_scalars("m", {"a": i, "b": i}, i)
        writer.add_hparams({"lr": 1}, {"m": 1.0}, run_name="trial")
        writer.add_image("i", torch.zeros(3, 2, 2), 0)
        writer.add_embedding(torch.zeros(3, 2))
        writer.flush()
        writer.close()
        writer.add_scalar("x", 1, 1)
        writer.close()
    assert {type(w.message) for w in told} == {ShimWarning}
    assert all("No space left" in str(w.message) for w in told)
    assert len(told) == 5  # the run's file, two of add_scalars, one trial, the embedding
    assert writer._recorder is not None
    tally = writer._recorder.counts["event"]
    assert (tally.produced, tally.dropped) == (52, 52)


def test_unwritable_directory_is_one_clear_error_at_construction(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        OSError, match=r"cannot write event files here.*a file, not a directory.*choose another log_dir"
    ):
        SummaryWriter(tmp_path / "file")


# --- watch ----------------------------------------------------------------------------------------------------------


def _train(writer: SummaryWriter, steps: int = 30, **watch: Any) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    criterion = torch.nn.CrossEntropyLoss()
    writer.watch(model, optimizer, criterion=criterion, **watch)
    for step in range(steps):
        x = torch.randn(16, 4)
        optimizer.zero_grad()
        loss = criterion(model(x), (x[:, 0] > 0).long())
        loss.backward()
        optimizer.step()
        writer.add_scalar("loss/train", loss, step)


def test_watched_run_is_the_same_live_and_read_back(tmp_path: Path) -> None:
    from test_recorder import assert_same_run

    from tb_nnhealth.rules.engine import judge

    writer = SummaryWriter(tmp_path)
    _train(writer, every=1)
    during = writer.findings()
    assert all(isinstance(finding, Finding) for finding in during)
    writer.close()
    source = FileSource([tmp_path])
    source.refresh()
    offline = source.run(".")
    assert offline.watches["model"].steps.tolist() == list(range(30))
    assert writer._recorder is not None
    assert_same_run(writer._recorder._health.judge._run, offline)
    assert writer.findings() == list(judge(offline).findings)
    assert offline.capture.closed
    assert not offline.capture.errors


def test_findings_of_plain_scalars_need_no_watch(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        for step in range(200):
            writer.add_scalar("loss/train", 2.0 if step < 20 else float("nan"), step)
    assert [finding.rule for finding in writer.findings()][:1] == ["non-finite"]
    assert all("nnhealth" not in v.tag for e in event_logs.events(tmp_path) for v in e.summary.value)


def test_watch_unwatch_observe(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        watch = writer.watch(model, optimizer, every=1)
        with pytest.raises(ValueError, match="already a watch named 'model'"):
            writer.watch(model, optimizer)
        with pytest.raises(ValueError, match=r"no watch named 'other'.*'model'"):
            writer.unwatch("other")
        x = torch.ones(3, 2)
        loss = model(x).square().mean()
        writer.observe(inputs=x, targets=torch.zeros(3, 1), loss=loss)
        loss.backward()
        optimizer.step()
        writer.unwatch()
        optimizer.step()
        writer.watch(model, optimizer, name="again", every=1)
        watch.remove()
        writer.unwatch("again")
        with pytest.raises(ValueError, match="there is none"):
            writer.unwatch("again")
    assert event_logs.record_steps(tmp_path) == [0]


def test_unwatch_takes_a_model(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        actor, critic, stranger = (torch.nn.Linear(2, 1) for _ in range(3))
        of_actor, of_critic = (torch.optim.SGD(model.parameters(), lr=0.1) for model in (actor, critic))
        writer.watch(actor, of_actor)
        writer.watch(critic, of_critic)
        writer.unwatch(actor)
        assert not of_actor._optimizer_step_post_hooks
        assert of_critic._optimizer_step_post_hooks
        with pytest.raises(ValueError, match=r"no watch of this Linear in .*; there is 'model-2'"):
            writer.unwatch(stranger)


def test_bad_arguments_of_watch_leave_nothing_behind(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        model = torch.nn.Linear(2, 1)
        for arguments in ({"rules": {"nonsense": False}}, {"name": "a b"}, {"every": 0}):
            with pytest.raises(ValueError, match=r"nonsense|a b|every"):
                writer.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), **arguments)  # type: ignore[arg-type]
        writer.watch(model)
    with SummaryWriter(tmp_path / "plain") as writer, pytest.raises(TypeError):
        writer.watch("no model")  # type: ignore[arg-type]
    assert [e.WhichOneof("what") for e in event_logs.events(tmp_path / "plain")] == ["file_version"]


def test_watch_of_a_closed_writer_opens_it(tmp_path: Path) -> None:
    writer = SummaryWriter(tmp_path)
    writer.close()
    _train(writer, steps=3, every=1)
    writer.close()
    assert event_logs.record_steps(tmp_path) == [0, 1, 2]
    assert schema.layout_tag("model") in {v.tag for e in event_logs.events(tmp_path) for v in e.summary.value}
