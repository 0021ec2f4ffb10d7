from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tb_nnhealth.checks import CheckResult, PreflightReport
from tb_nnhealth.history import Problem, Run, Series
from tb_nnhealth.plugin import experiment as experiments
from tb_nnhealth.plugin import judged as judgements
from tb_nnhealth.plugin.experiment import Experiment, UnknownRunError
from tb_nnhealth.plugin.judged import UnreadableRunError
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.base import Glimpse


class Runs:
    """A source of given runs, each made anew by its function when it is first asked for."""

    def __init__(self, **make: Callable[[], Run]) -> None:
        self.make, self.made = make, dict[str, Run]()
        self.asked: list[str] = []
        self.refreshes = 0
        self.problems: list[Problem] = []
        self.yet_unread: set[str] = set()
        self.growth = dict.fromkeys(make, 0)

    def grown_to(self, name: str) -> object:
        return self.growth.get(name, 0)

    def glimpse(self, name: str) -> Glimpse:
        return Glimpse(7, 1.7e9, True)

    def unread(self, name: str) -> bool:
        return name in self.yet_unread

    def forget(self, name: str) -> None:
        self.made.pop(name, None)

    def runs(self) -> list[str]:
        return list(self.make)

    def refresh(self) -> None:
        self.refreshes += 1

    def run(self, name: str) -> Run:
        self.asked.append(name)
        if name not in self.made:
            self.made[name] = self.make[name]()
            self.made[name].name = name
        return self.made[name]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request looks at the log anew."""
    monkeypatch.setattr(experiments, "REFRESH_SECONDS", 0.0)


def healthy() -> Run:
    return Network(steps=20).run()


def broken() -> Run:
    raise OSError("disk on fire")


def judged_rows(experiment: Experiment, seconds: float = 10) -> list[dict[str, Any]]:
    experiment.judge(seconds)
    return experiment.rows()


def judged_count(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    judged: list[str] = []
    original = judgements.judge

    def counting(run: Run, **asked: Any) -> object:
        judged.append(run.name)
        return original(run, **asked)

    monkeypatch.setattr(judgements, "judge", counting)
    return judged


@pytest.mark.usefixtures("at_once")
def test_a_run_is_judged_again_only_when_it_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = judged_count(monkeypatch)
    source = Runs(a=healthy)
    experiment = Experiment(source)
    for _ in range(3):
        judged_rows(experiment)
    assert judged == ["a"]
    source.growth["a"] += 1
    source.made["a"] = Network(steps=30).run()
    source.made["a"].name = "a"
    with experiment.open("a") as opened:
        assert opened.report["steps"] == 19, "as it was judged, at once"
        assert experiment.awaited() == 1
        version = opened.version
        assert judged_rows(experiment)[0]["steps"] == 29, "while an answer about the older state is made"
        assert opened.report["steps"] == 19
    with experiment.open("a") as opened:
        assert opened.report["steps"] == 29
        assert opened.version == experiment.version_of("a") == experiment.rows()[0]["version"] > version
    assert judged == ["a", "a"]


@pytest.mark.usefixtures("at_once")
def test_the_run_opened_last_is_judged_anew_before_the_others() -> None:
    source = Runs(a=healthy, b=healthy, c=healthy)
    experiment = Experiment(source)
    judged_rows(experiment)
    with experiment.open("b"):
        pass
    source.growth = dict.fromkeys("abc", 1)
    source.asked.clear()
    judged_rows(experiment, 0.0)
    assert source.asked == ["b"]


def test_who_answers_does_not_wait_for_the_judging_of_what_has_grown(
    at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Runs(a=healthy)
    experiment = Experiment(source)
    judged_rows(experiment)
    entered, leave = threading.Event(), threading.Event()
    original = judgements.judge

    def dawdling(run: Run, **asked: Any) -> object:
        entered.set()
        leave.wait(30)
        return original(run, **asked)

    monkeypatch.setattr(judgements, "judge", dawdling)
    source.made["a"] = Network(steps=30).run()
    source.growth["a"] += 1
    thread = threading.Thread(target=judged_rows, args=(experiment,))
    thread.start()
    try:
        assert entered.wait(30)
        with experiment.open("a") as opened:
            assert opened.report["steps"] == 19
    finally:
        leave.set()
        thread.join()
    with experiment.open("a") as opened:
        assert opened.report["steps"] == 29


@pytest.mark.usefixtures("at_once")
def test_a_preflight_report_that_comes_later_is_seen() -> None:
    source = Runs(a=lambda: Run("a"))
    experiment = Experiment(source)
    assert [row["preflight"] for row in judged_rows(experiment)] == [False]
    source.made["a"].preflight = PreflightReport((CheckResult("causality", "pass", "m"),)).to_json()
    source.growth["a"] += 1
    assert [row["preflight"] for row in judged_rows(experiment)] == [True]
    with experiment.open("a") as opened:
        assert opened.report["preflight"]["ok"]


@pytest.mark.usefixtures("at_once")
def test_only_runs_opened_lately_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "BYTES_KEPT", 2 * healthy().nbytes)
    source = Runs(a=healthy, b=healthy, c=healthy)
    experiment = Experiment(source)
    assert len(judged_rows(experiment)) == 3
    assert source.made.keys() == {"a", "b"}
    for name in "abca":
        with experiment.open(name) as opened:
            assert opened.run.name == opened.report["run"] == name
    assert source.made.keys() == {"c", "a"}
    judged_rows(experiment)
    assert source.made.keys() == {"c", "a"}


@pytest.mark.usefixtures("at_once")
def test_a_run_that_was_read_in_part_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def partial() -> Run:
        run = healthy()
        run.problems = [Problem("tag", "did not come")]
        return run

    judged = judged_count(monkeypatch)
    source = Runs(a=partial)
    experiment = Experiment(source)
    judged_rows(experiment)
    judged_rows(experiment)
    assert judged == ["a"], "as long as nothing more could be read"
    source.made["a"].scalars["loss"] = Series([(40, 0.0, 1.0)])
    source.made["a"].problems = []
    judged_rows(experiment)
    judged_rows(experiment)
    assert judged == ["a", "a"]
    assert source.asked == ["a", "a", "a"]


def test_the_log_is_looked_at_once_for_many_requests() -> None:
    source = Runs(a=healthy)
    experiment = Experiment(source)
    for _ in range(5):
        with experiment.open("a"):
            pass
    assert source.refreshes == 1
    assert source.asked == ["a"]


def test_without_time_each_request_judges_one_run_more() -> None:
    experiment = Experiment(Runs(a=healthy, b=healthy, c=healthy))
    pending = [[row["run"] for row in judged_rows(experiment, 0.0) if row["verdict"] == "pending"] for _ in range(4)]
    assert pending == [["b", "c"], ["c"], [], []]


@pytest.mark.usefixtures("at_once")
def test_new_runs_come_before_those_that_grew() -> None:
    source = Runs(a=healthy)
    experiment = Experiment(source)
    judged_rows(experiment, 0.0)
    source.make["b"] = healthy
    source.growth["a"] += 1
    judged_rows(experiment, 0.0)
    assert source.asked == ["a", "b"]


@pytest.mark.usefixtures("at_once")
def test_a_run_that_fails_spoils_no_other() -> None:
    source = Runs(a=broken, b=healthy)
    experiment = Experiment(source)
    failed, fine = judged_rows(experiment)
    assert "disk on fire" in failed["error"]
    assert failed["verdict"] == "no-data"
    assert fine["error"] is None
    with pytest.raises(UnreadableRunError, match="disk on fire"), experiment.open("a"):
        pass
    source.make["a"] = healthy
    assert judged_rows(experiment)[0]["error"] is None


def test_a_deleted_run_is_unknown(at_once: None) -> None:
    source = Runs(a=healthy, b=healthy)
    experiment = Experiment(source)
    assert len(judged_rows(experiment)) == 2
    del source.make["a"]
    with pytest.raises(UnknownRunError), experiment.open("a"):
        pass
    assert [row["run"] for row in judged_rows(experiment)] == ["b"]


def test_a_slow_run_holds_up_neither_the_list_nor_the_others() -> None:
    entered, leave = threading.Event(), threading.Event()
    experiment = Experiment(Runs(a=healthy, b=healthy))
    judged_rows(experiment)

    def dawdle() -> None:
        with experiment.open("a"):
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=dawdle)
    thread.start()
    try:
        assert entered.wait(30)
        with experiment.open("b"):
            assert len(judged_rows(experiment, 0.05)) == 2
    finally:
        leave.set()
        thread.join()


def test_many_threads_judge_each_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = judged_count(monkeypatch)
    names = [f"run{i}" for i in range(12)]
    experiment = Experiment(Runs(**dict.fromkeys(names, healthy)))
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            judged_rows(experiment, 30)
            for name in names:
                with experiment.open(name) as opened:
                    assert opened.report["run"] == opened.run.name == name
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(judged) == sorted(names)


def test_rows_stop_judging_when_their_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow() -> Run:
        clock[0] += 10.0
        return healthy()

    clock = [time.monotonic()]
    monkeypatch.setattr(experiments.time, "monotonic", lambda: clock[0])
    rows = judged_rows(Experiment(Runs(a=slow, b=slow, c=slow)), 15.0)
    assert [row["verdict"] == "pending" for row in rows] == [False, False, True]


def test_scalar_tags_are_counted_over_all_runs() -> None:
    experiment = Experiment(Runs(a=lambda: Network(steps=5).loss(_curve()).run(), b=healthy))
    judged_rows(experiment)
    assert experiment.scalar_tags() == 1


def _curve():  # type: ignore[no-untyped-def]
    import numpy as np

    return np.linspace(2, 1, 5)


def test_an_answer_about_another_option_is_kept_until_the_log_grows(at_once: None) -> None:
    source = Runs(a=healthy)
    experiment = Experiment(source)
    answers = []

    def ask() -> None:
        with experiment.open("a") as opened:
            opened.once("key", lambda: answers.append({}) or {})  # type: ignore[func-returns-value]

    ask()
    ask()
    assert len(answers) == 1
    source.made["a"].scalars["loss"] = Series([(40, 0.0, 1.0)])
    source.growth["a"] += 1
    judged_rows(experiment)
    ask()
    assert len(answers) == 2


def test_while_it_stands_aside_only_what_is_asked_for_is_judged() -> None:
    experiment = Experiment(Runs(a=healthy, b=healthy))
    experiment.names()
    experiment.stand_aside(60)
    thread = threading.Thread(target=experiment.judge, args=(0.0, 0.5), daemon=True)
    thread.start()
    with experiment.open("b") as opened:
        assert opened.report["run"] == "b"
    assert [row["verdict"] for row in experiment.rows()] == ["pending", "healthy"]
    experiment.stand_aside(0)
    thread.join(30)
    assert experiment.rows()[0]["verdict"] == "healthy"


def test_a_log_is_steady_when_two_looks_found_the_same(at_once: None) -> None:
    runs = Runs(a=healthy)
    experiment = Experiment(runs)
    steady = []
    for growth in (0, 0, 1, 1):
        runs.growth["a"] = growth
        experiment.names()
        steady.append(experiment.steady)
    assert steady == [False, True, False, True]


def test_who_is_in_a_hurry_does_not_wait_for_a_look_at_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(a=healthy)
    experiment = Experiment(runs)
    experiment.judge(10)
    looks = runs.refreshes
    experiment._refreshed_at -= 2 * experiments.REFRESH_SECONDS
    assert experiment.names(experiments.PATIENT) == ["a"]
    with experiment.open("a"):
        pass
    assert (runs.refreshes, experiment.awaited()) == (looks, 0)
    experiment.look_soon()
    assert experiment.awaited() == 1
    runs.make["b"] = healthy
    with experiment.open("b"):
        pass
    assert (runs.refreshes, experiment.awaited()) == (looks + 1, 0)


def test_runs_that_tensorboard_has_yet_to_read_are_judged_last(at_once: None) -> None:
    source = Runs(a=healthy, b=healthy, c=healthy)
    source.yet_unread = {"a", "b"}
    experiment = Experiment(source)
    for _ in range(3):
        experiment.judge(0.0)
    assert source.asked == ["c", "a", "b"]
