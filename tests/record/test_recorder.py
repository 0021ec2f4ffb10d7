"""The recorder: what stands in the log, in which order, and that readers and judge see the same."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import event_logs
import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator, plugin_event_accumulator

from tb_nnhealth import Recorder, messages, schema
from tb_nnhealth.history import Run
from tb_nnhealth.record import health_log, judge, rotation
from tb_nnhealth.source.files import FileSource

COLUMNS = (schema.RMS, schema.NAN_COUNT)


def layout(*subjects: str) -> Any:
    rows = [messages.Row(kind=schema.WEIGHT, subject=subject) for subject in subjects]
    return messages.Layout(columns=COLUMNS, rows=rows)


def table(*values: float) -> np.ndarray:
    return np.array([[value, 0] for value in values], np.float32)


def read(directory: Path) -> Run:
    source = FileSource([directory])
    source.refresh()
    return source.run(".")


def texts(directory: Path, tag: str) -> list[bytes]:
    return [v.tensor.string_val[0] for e in event_logs.events(directory) for v in e.summary.value if v.tag == tag]


def captures(directory: Path) -> list[Any]:
    return [messages.Capture.FromString(text) for text in texts(directory, schema.CAPTURE_TAG)]


def assert_same_run(live: Run, offline: Run) -> None:
    assert list(live.watches) == list(offline.watches)
    for name, history in live.watches.items():
        other = offline.watches[name]
        assert history.layout == other.layout
        assert (history.steps == other.steps).all()
        assert (history.walls == other.walls).all()
        for kind in schema.KINDS:
            for statistic in schema.STATISTICS:
                ours, theirs = history.table(kind, statistic), other.table(kind, statistic)
                assert ours.subjects == theirs.subjects
                np.testing.assert_array_equal(ours.values, theirs.values)
            for subject in history.subjects(kind):
                for mine, read_back in zip(
                    history.histograms(kind, subject), other.histograms(kind, subject), strict=True
                ):
                    np.testing.assert_array_equal(mine, read_back)
    assert sorted(live.scalars) == sorted(offline.scalars)
    for tag, series in live.scalars.items():
        assert (series.steps == offline.scalars[tag].steps).all()
        np.testing.assert_array_equal(series.values, offline.scalars[tag].values)
    assert live.capture == offline.capture


# --- record(), without any framework --------------------------------------------------------------------------------


def test_records_are_read_back(tmp_path: Path) -> None:
    with Recorder(tmp_path, framework="jax 0.4") as recorder:
        recorder.record(0, {"dense.weight": {"rms": 0.5, "mean": 0.1}, "dense:activation": {"zero_share": 0.25}})
        recorder.record(5, {"dense.weight:gradient": {"rms": np.float64(1e300)}, "loss": {"mean": 2}})
        recorder.record(9, {"dense/bias:0": {"rms": True}})
    history = read(tmp_path).watches["model"]
    assert history.layout.framework == "jax 0.4"
    assert history.steps.tolist() == [0, 5, 9]
    weights = history.table(schema.WEIGHT, schema.RMS)
    assert weights.subjects == ("dense.weight", "dense/bias:0")
    np.testing.assert_array_equal(weights.values, [[0.5, np.nan], [np.nan, np.nan], [np.nan, 1.0]])
    assert history.table(schema.GRADIENT, schema.RMS).values[1].tolist() == [np.inf]
    assert history.table(schema.LOSS, schema.MEAN).subjects == ("",)
    assert [p.name for p in history.layout.parameters] == ["dense.weight", "dense/bias:0"]
    assert [m.name for m in history.layout.modules] == ["dense"]


@pytest.mark.parametrize(
    ("statistics", "error", "says"),
    [
        ({"w": {"norm": 1.0}}, ValueError, "'norm' of 'w' is not a statistic; statistics are mean, std, rms"),
        ({"w:gradiant": {"rms": 1.0}}, ValueError, "'w:gradiant' ends in no kind; kinds are weight, gradient"),
        ({"w": {"rms": "big"}}, TypeError, "expected a number for 'rms' of 'w', found 'big'"),
        ({"w": 1.0}, TypeError, "expected {statistic: value} for 'w', found float"),
        ({3: {"rms": 1.0}}, TypeError, "names to be strings, found 3"),
        ([1], TypeError, "expected {name: {statistic: value}}, found list"),
    ],
)
def test_misuse_is_told_and_writes_nothing(statistics: Any, error: type, says: str, tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        with pytest.raises(error) as raised:
            recorder.record(0, statistics)
        assert says in str(raised.value)
        recorder.record(1, {"a": {"rms": 1.0}})
    assert event_logs.record_steps(tmp_path) == [1]
    assert read(tmp_path).watches["model"].subjects(schema.WEIGHT) == ("a",)


@pytest.mark.parametrize("step", [1.5, "1", None, 2**63, float("nan")])
def test_a_step_that_is_none_is_told_and_writes_nothing(step: Any, tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        with pytest.raises((TypeError, ValueError), match=r"record: expected a (whole number as the step|step of 64)"):
            recorder.record(step, {"a": {"rms": 1.0}})
        recorder.record(np.int64(3), {"a": {"rms": 1.0}})
    assert event_logs.record_steps(tmp_path) == [3]


def test_recorder_needs_no_torch(tmp_path: Path) -> None:
    program = """
        import sys
        sys.modules["torch"] = None
        from tb_nnhealth import Recorder
        with Recorder(sys.argv[1]) as recorder:
            recorder.record(3, {"w": {"rms": 1.0}})
            print(recorder.findings())
    """
    subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(program), str(tmp_path)], check=True)
    assert event_logs.record_steps(tmp_path) == [3]


def test_rules_are_checked_and_recorded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rule 'nonsense'"):
        Recorder(tmp_path, rules={"nonsense": False})
    with Recorder(tmp_path / "b") as recorder, pytest.raises(ValueError, match="no rule 'nonsense'"):
        recorder.open_watch("w", rules={"nonsense": False})


# --- streams --------------------------------------------------------------------------------------------------------


def test_names_of_watches(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        for name in ("", "a/b", "a b", "ü", 3):
            with pytest.raises(ValueError, match="expected a name of letters"):
                recorder.open_watch(name)  # type: ignore[arg-type]
        first = recorder.open_watch("gen.v-1_x")
        with pytest.raises(ValueError, match=r"already a watch named 'gen.v-1_x'.*another name="):
            recorder.open_watch("gen.v-1_x")
        first.close()
        recorder.open_watch("gen.v-1_x")


def test_first_event_of_a_tag_carries_the_metadata_and_the_layout_comes_first(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        stream = recorder.open_watch()
        stream.layout(layout("a"))
        for step in (10, 11):
            stream.stats(step, table(step))
            recorder.flush()
        stream.layout(layout("a", "b"))
        stream.stats(12, lambda: table(1, 2))
        stream.histograms(12, np.ones((2, schema.HISTOGRAM_BINS), np.int32))
    in_order = [(e.step, v) for e in event_logs.events(tmp_path) for v in e.summary.value]
    apart = (schema.CAPTURE_TAG, *map(schema.open_findings_tag, schema.OPEN_SEVERITIES))
    seen = [(step, v) for step, v in in_order if v.tag not in apart]
    assert [(step, v.tag.removeprefix("nnhealth/model/")) for step, v in seen] == [
        (10, "layout"), (10, "stats/0"), (11, "stats/0"), (12, "layout"), (12, "stats/0"), (12, "histograms"),
    ]  # fmt: skip
    for tag in {v.tag for _, v in seen}:
        mine = [v for _, v in seen if v.tag == tag]
        assert mine[0].metadata.plugin_data.plugin_name == schema.PLUGIN_NAME
        assert all(not v.HasField("metadata") for v in mine[1:])


def test_a_layout_that_grows_within_a_step_keeps_the_steps_record(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        stream = recorder.open_watch()
        stream.layout(layout("a"))
        stream.stats(1, table(1))
        for names in (("a", "b"), ("a", "b", "c")):
            stream.layout(layout(*names))
            stream.histograms(1, np.ones((len(names), schema.HISTOGRAM_BINS), np.int32))
    history = read(tmp_path).watches["model"]
    assert history.steps.tolist() == [1]
    assert len(history.layout.rows) == 3


def test_coarser_levels_are_written_as_they_complete(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        stream = recorder.open_watch()
        stream.layout(layout("a"))
        for step in range(2 * schema.LEVEL_FACTOR**2 + 3):
            stream.stats(step, table(step))
    assert event_logs.record_steps(tmp_path, level=1) == list(range(15, 512, 16))
    assert event_logs.record_steps(tmp_path, level=2) == [255, 511]
    assert event_logs.record_steps(tmp_path, level=3) == []


def test_levels_begin_anew_where_the_steps_go_back(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        stream = recorder.open_watch()
        stream.layout(layout("a"))
        for step in [*range(10), *range(5, 25)]:
            stream.stats(step, table(step))
    (planes,) = [
        np.frombuffer(v.tensor.tensor_content, np.float32).reshape(3, 1, 2)
        for e in event_logs.events(tmp_path)
        for v in e.summary.value
        if v.tag == schema.stats_tag("model", 1)
    ]
    assert planes[:, 0, 0].tolist() == [5, 20, 12.5]


def test_a_name_used_again_goes_on_in_the_same_table(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        first = recorder.open_watch()
        first.layout(layout("a", "b"))
        first.stats(0, table(1, 2))
        first.close()
        assert not first.active
        first.stats(1, table(9, 9))
        second = recorder.open_watch()
        second.layout(layout("b", "c"))
        second.stats(2, lambda: table(3, 4))
        second.histograms(2, np.ones((2, schema.HISTOGRAM_BINS), np.int32))
        second.layout(layout("b", "c", "a"))
        second.stats(3, table(5, 6, 7))
        assert recorder._file.flush()
        live = copy.deepcopy(recorder._health.judge._run)
    history = read(tmp_path).watches["model"]
    values = history.table(schema.WEIGHT, schema.RMS)
    assert values.subjects == ("a", "b", "c")
    np.testing.assert_array_equal(values.values, [[1, 2, np.nan], [np.nan, 3, 4], [7, 5, 6]])
    np.testing.assert_array_equal(live.watches["model"].table(schema.WEIGHT, schema.RMS).values, values.values)


def test_errors_of_a_watch_are_told_once_and_recorded(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        stream = recorder.open_watch("gan")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            stream.error(KeyError("x"))
            stream.error(KeyError("x"))
            stream.error("two")
        assert [str(w.message) for w in told] == ["watch 'gan': KeyError: 'x'", "watch 'gan': two"]
        stream.layout(layout("a"))
        with event_logs.told("expected the shape"):
            stream.stats(1, np.zeros(3, np.float32))
            recorder.flush()
    capture = captures(tmp_path)[-1]
    assert capture.errors[:2] == ["watch 'gan': KeyError: 'x'", "watch 'gan': two"]
    assert (capture.written, capture.dropped) == (0, 1)


def test_capture_is_written_at_the_first_record_and_at_close(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        slow, quick = recorder.open_watch("slow"), recorder.open_watch("quick")
        for stream, every in ((slow, 10), (quick, 2)):
            stream.capture.overhead, stream.capture.budget = 0.01, 0.02
            stream.capture.every, stream.capture.reason = every, f"every {every}"
            stream.layout(layout("a"))
        slow.stats(1, table(1))
        recorder.flush()
        for step in range(2, 50):
            slow.stats(step, table(step))
            recorder.flush()
    first, *_, last = captures(tmp_path)
    assert len(captures(tmp_path)) <= 3
    assert (first.written, first.closed) == (1, False)
    assert (last.written, last.dropped, last.closed) == (49, 0, True)
    assert last.overhead == pytest.approx(0.02)
    assert (last.budget, last.every, last.reason) == (0.02, 10, "slow: every 10; quick: every 2")
    steps = event_logs.steps(tmp_path, schema.CAPTURE_TAG)
    assert all(a < b for a, b in pairwise(steps))


def test_watches_rest_while_the_writer_is_closed(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    stream = recorder.open_watch()
    stream.layout(layout("a"))
    stream.stats(1, table(1))
    recorder.close()
    assert not stream.active
    stream.stats(2, table(2))
    recorder.reopen()
    stream.stats(3, table(3))
    recorder.close()
    assert event_logs.record_steps(tmp_path) == [1, 3]
    assert len(event_logs.event_files(tmp_path)) == 2
    assert recorder.counts["record"].produced == 2
    assert read(tmp_path).watches["model"].steps.tolist() == [1, 3]


def test_a_log_whose_first_file_is_lost_is_complete_again(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with Recorder(directory) as recorder:
        stream = recorder.open_watch()
        stream.layout(layout("a"))
        for step in range(20):
            stream.stats(step, table(step))
        recorder.flush()
        shutil.rmtree(directory)
        with event_logs.told("was deleted"):
            stream.stats(20, table(20))
            recorder.flush()
        stream.stats(21, table(21))
    run = read(directory)
    assert run.watches["model"].steps.tolist() == [20, 21]
    assert not run.problems
    assert "was deleted" in run.capture.errors[0]
    assert run.capture.written == 22
    starts = [e.session_log.status for e in event_logs.events(directory) if e.HasField("session_log")]
    assert starts == [1]


# --- session starts -------------------------------------------------------------------------------------------------


def _accumulated(directory: Path, tag: str) -> dict[str, list[int]]:
    legacy = event_accumulator.EventAccumulator(str(directory))
    legacy.Reload()
    plugin = plugin_event_accumulator.EventAccumulator(str(directory))
    plugin.Reload()
    found = {"plugin": plugin.Tensors(tag)}
    if not tag.startswith(schema.TAG_PREFIX):  # the legacy one purges no tensors, whoever wrote them
        found["legacy"] = legacy.Scalars(tag)
    return {name: [point.step for point in points] for name, points in found.items()}


def _session(directory: Path, steps: range, purge_step: int | None = None) -> None:
    from tb_nnhealth import SummaryWriter

    writer = SummaryWriter(directory, purge_step=purge_step)
    writer.add_scalar("epochs", 1.0, 10**6)  # another axis
    assert writer._recorder is not None
    stream = writer._recorder.open_watch()
    stream.layout(layout("a"))
    for step in steps:
        writer.add_scalar("loss", 1.0, step)
        stream.stats(step, table(step))
    writer.close()


def test_restart_with_purge_step_purges_in_every_reader(tmp_path: Path) -> None:
    _session(tmp_path, range(8))
    _session(tmp_path, range(5, 7), purge_step=5)
    for tag in ("loss", schema.stats_tag("model")):
        for reader, found in _accumulated(tmp_path, tag).items():
            assert found == [0, 1, 2, 3, 4, 5, 6], reader
    run = read(tmp_path)
    assert run.scalars["loss"].steps.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert run.watches["model"].steps.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_marker_of_a_resumed_run_without_purge_step_hides_nothing(tmp_path: Path) -> None:
    _session(tmp_path, range(4))
    _session(tmp_path, range(4, 8))
    for tag in ("loss", schema.stats_tag("model")):
        for reader, found in _accumulated(tmp_path, tag).items():
            assert found == list(range(8)), reader
    assert _accumulated(tmp_path, "epochs") == {"legacy": [10**6, 10**6], "plugin": [10**6, 10**6]}
    assert read(tmp_path).watches["model"].steps.tolist() == list(range(8))


def test_one_marker_where_there_is_a_watch_and_none_where_there_is_not(tmp_path: Path) -> None:
    for name, watches, purge_step in (("none", 0, None), ("two", 2, None), ("purged", 1, 3)):
        with Recorder(tmp_path / name, purge_step=purge_step) as recorder:
            for k in range(watches):
                recorder.open_watch(f"w{k}")
    found = {
        path.name: [e.step for e in event_logs.events(path) if e.HasField("session_log")] for path in tmp_path.iterdir()
    }
    assert found == {"none": [], "two": [health_log_start()], "purged": [3]}


def health_log_start() -> int:
    from tb_nnhealth.record.health_entries import NOTHING_OBSOLETE

    return NOTHING_OBSOLETE


# --- the live judge -------------------------------------------------------------------------------------------------


def _train(recorder: Recorder, steps: int = 40) -> None:
    from tensorboard.compat.proto import event_pb2, summary_pb2

    stream = recorder.open_watch("net")
    stream.layout(layout("a"))
    for step in range(steps):
        if step == 20:
            stream.layout(layout("a", "b"))
        stream.stats(step, lambda step=step: table(*([step] if step < 20 else [step, -step])))  # type: ignore[misc]
        stream.histograms(step, np.full((1, schema.HISTOGRAM_BINS), step, np.int32))
        value = summary_pb2.Summary.Value(tag="loss/train", simple_value=1 / (step + 3))
        summary = summary_pb2.Summary(value=[value])
        recorder.add_event(event_pb2.Event(step=step, wall_time=100.0 + step, summary=summary))


def test_judge_and_reader_see_the_same_run(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    _train(recorder)
    recorder.close()
    assert_same_run(recorder._health.judge._run, read(tmp_path))


def test_what_was_dropped_is_not_judged(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    stream = recorder.open_watch()
    stream.layout(layout("a"))
    with event_logs.told():
        for step in range(20):
            stream.stats(step, (lambda: 1 / 0) if step % 3 else table(step))  # type: ignore[arg-type,return-value]
        recorder.close()
    live = recorder._health.judge._run
    assert live.watches["model"].steps.tolist() == [0, 3, 6, 9, 12, 15, 18]
    assert_same_run(live, read(tmp_path))
    assert (live.capture.written, live.capture.dropped) == (7, 13)


def test_findings_are_those_of_the_rules_and_written_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tb_nnhealth.rules import engine

    asked: list[Run] = []
    found: list[Any] = []
    monkeypatch.setattr(judge, "SHORTEST_INTERVAL", 0.0)
    monkeypatch.setattr(judge, "SHARE_OF_BUDGET", 1e9)
    monkeypatch.setattr(health_log, "CAPTURE_SECONDS", 0.0)

    def answer(run: Run) -> engine.Judgement:
        asked.append(run)
        return engine.Judgement(tuple(found), {})

    monkeypatch.setattr(engine, "judge", answer)
    recorder = Recorder(tmp_path)
    first, second = recorder.open_watch("one"), recorder.open_watch("two")
    for step in range(6):
        for stream in (first, second):
            stream.layout(layout("a"))
            stream.stats(step, table(step))
        if step == 3:
            found.append(_Finding())
        recorder.flush()
        assert len(recorder.findings()) == (step >= 3)
    assert list(asked[-1].watches) == ["one", "two"]
    first.findings()
    assert list(asked[-1].watches) == ["one"]
    recorder.close()
    written = [json.loads(text) for text in texts(tmp_path, schema.FINDINGS_TAG)]
    assert written == [{"findings": [{"rule": "made-up", "severity": "info", "active": False}]}]


class _Finding:
    def to_json(self) -> dict[str, Any]:
        return {"rule": "made-up", "severity": "info", "active": False}


def test_a_judge_that_raises_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tb_nnhealth.rules import engine

    def raises(run: Run) -> None:
        raise ZeroDivisionError("in a rule")

    monkeypatch.setattr(engine, "judge", raises)
    recorder = Recorder(tmp_path)
    with event_logs.told("in a rule"):
        _train(recorder)
        assert recorder.findings() == []
        recorder.close()
    assert event_logs.record_steps(tmp_path, "net") == list(range(40))


def test_judging_keeps_to_its_share_of_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(judge.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(judge.time, "thread_time", lambda: clock[0])
    from tb_nnhealth.rules import engine

    def takes_two_seconds(run: Run) -> engine.Judgement:
        clock[0] += 2.0
        return engine.Judgement((), {})

    monkeypatch.setattr(engine, "judge", takes_two_seconds)
    live = judge.LiveJudge("run")
    assert live.seconds_to_due() is None
    live.layout("w", layout("a"))
    assert live.seconds_to_due() == judge.SHORTEST_INTERVAL
    clock[0] += judge.SHORTEST_INTERVAL
    assert live.seconds_to_due() == 0
    live.findings(budget=0.02)
    assert live.seconds_to_due() is None
    live.stats("w", 1, 1.0, table(1))
    assert live.seconds_to_due() == pytest.approx(2.0 / 0.005)


def test_a_training_that_rests_earns_no_judgement_until_it_has_rested_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, trained = [100.0], [5.0]
    monkeypatch.setattr(judge.time, "monotonic", lambda: clock[0])
    live = judge.LiveJudge("run", lambda: trained[0])
    live.layout("w", layout("a"))
    clock[0] += 20.0
    assert live.seconds_to_due() == judge.IDLE_SECONDS - 20.0
    trained[0] += judge.SHORTEST_INTERVAL
    assert live.seconds_to_due() == 0
    trained[0] -= judge.SHORTEST_INTERVAL / 2
    live.stats("w", 1, 1.0, table(1))
    assert live.seconds_to_due() == judge.IDLE_SECONDS
    clock[0] += judge.IDLE_SECONDS
    assert live.seconds_to_due() == 0


def test_deep_networks_are_judged_first_when_the_budget_has_room_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge.time, "monotonic", lambda: 100.0)
    shallow, deep = judge.LiveJudge("shallow"), judge.LiveJudge("deep")
    shallow.layout("w", layout(*map(str, range(100))))
    deep.layout("w", layout(*map(str, range(10_000))))
    assert shallow.seconds_to_due() == judge.SHORTEST_INTERVAL
    assert deep.seconds_to_due() == pytest.approx(10_000 * judge.ROW_SECONDS / 0.02)


# --- copies ---------------------------------------------------------------------------------------------------------


def test_pickled_and_copied_recorders_do_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for other in (pickle.loads(pickle.dumps(recorder)), copy.deepcopy(recorder)):
        other.record(1, {"w": {"rms": 1.0}})
        assert other.findings() == []
        assert other.flush()
        assert other.close()
        assert other.log_dir == str(tmp_path)
    recorder.record(2, {"w": {"rms": 1.0}})
    recorder.close()
    assert event_logs.record_steps(tmp_path) == [2]
    assert len(event_logs.event_files(tmp_path)) == 1


# --- faults within ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
@pytest.mark.parametrize("function", ["write", "_encoded", "_append"])
def test_what_a_fault_of_the_writing_itself_takes_along_is_counted(
    function: str, nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(rotation.RotatingFile, function)
    calls = iter(range(1, 1_000_000))

    def failing(*args: Any) -> Any:
        if next(calls) == nth:
            raise KeyError("ours")
        return real(*args)

    monkeypatch.setattr(rotation.RotatingFile, function, failing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recorder = Recorder(tmp_path)
        stream = recorder.open_watch()
        stream.layout(layout("a"))
        for step in range(40):
            stream.stats(step, table(1.0))
            if step % 10 == 5:
                recorder.flush(timeout=20)
        assert recorder.close(timeout=20)
    assert next(calls) > nth, "the fault happened"
    for tally in recorder.counts.values():
        assert tally.written + tally.dropped == tally.produced
    found = event_logs.record_steps(tmp_path)
    assert len(found) == recorder.counts["record"].written >= 20
    assert found == sorted(set(found))


@pytest.mark.parametrize("fault", [OSError("disk"), MemoryError("memory"), RuntimeError("else"), SystemExit("thread")])
@pytest.mark.parametrize(
    "function",
    [
        "health_entries.encode.stats",
        "health_entries.encode.text",
        "health_entries.encode.session_start",
        "health_entries.np.asarray",
        "health_log.Levels.add",
        "health_log.messages.Capture",
        "health_log.LiveJudge.stats",
        "health_log.LiveJudge.layout",
        "health_log.LiveJudge.findings",
        "health_log.LiveJudge.last_step",
        "health_log.HealthLog.seconds_to_due",
        "watch_stream.StatsRecord.__init__",
        "watch_stream.LayoutNote.__init__",
        "recorder.RowOrder.note",
    ],
)
def test_nth_call_of_anything_may_fail_without_a_word_to_training(
    function: str, fault: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tb_nnhealth.record.recorder  # noqa: F401 - the modules whose names are looked up below

    path, _, name = function.rpartition(".")
    first, *rest = path.split(".")
    holder = sys.modules[f"tb_nnhealth.record.{first}"]
    for part in rest:
        holder = getattr(holder, part)
    real = vars(holder)[name] if isinstance(holder, type) else getattr(holder, name)
    if isinstance(fault, SystemExit) and first == "recorder":
        pytest.skip("a SystemExit of the training thread's own is the user's")
    for nth in (1, 2, 3, 20):
        recorder = Recorder(tmp_path / str(nth))
        calls = iter(range(1, 1_000_000))

        def failing(*args: Any, _calls: Any = calls, _nth: int = nth, **kwargs: Any) -> Any:
            mine = first == "recorder" or threading.current_thread() is not threading.main_thread()
            if mine and next(_calls) == _nth:
                raise fault
            return (real.fget if isinstance(real, property) else real)(*args, **kwargs)

        with warnings.catch_warnings(record=True) as told, monkeypatch.context() as patch:
            warnings.simplefilter("always")
            patch.setattr(holder, name, property(failing) if isinstance(real, property) else failing)
            stream = recorder.open_watch()
            for step in range(40):
                if step in (0, 10):
                    stream.layout(layout(*"ab"[: 1 + step // 10]))
                stream.stats(step, table(*[1.0] * (1 + (step >= 10))))
                if step % 10 == 5:
                    recorder.flush(timeout=20)
                    recorder.findings(timeout=20)
            assert recorder.close(timeout=20)
        for tally in recorder.counts.values():
            assert tally.written + tally.dropped == tally.produced
        assert recorder.counts["record"].produced >= 39
        assert recorder.counts["record"].written >= 38
        assert len(told) <= 1
        found = event_logs.record_steps(tmp_path / str(nth))
        assert len(found) == recorder.counts["record"].written
        assert found == sorted(set(found))
