from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from alerted import change

from tb_nnhealth.follow import alerts as module
from tb_nnhealth.follow.alerts import Alerts
from tb_nnhealth.follow.changes import Change
from tb_nnhealth.follow.sent import Sent
from tb_nnhealth.follow.way import Delivery


class Way:
    """Keeps what it is sent; ``deliveries`` are its answers in turn, then all is well."""

    name = "test"

    def __init__(self, *deliveries: Delivery) -> None:
        self.got: list[str] = []
        self._deliveries = list(deliveries)
        self.go = threading.Event()
        self.go.set()

    def send(self, change: Change) -> Delivery:
        self.go.wait(10)
        self.got.append(change.identity.subject)
        return self._deliveries.pop(0) if self._deliveries else Delivery("", True)


def ended(alerts: Alerts) -> None:
    assert alerts.close(10) == 0


def test_a_finding_is_told_once_however_often_it_appears() -> None:
    way = Way()
    alerts = Alerts([way], "warning", Sent(), pytest.fail)
    for _ in range(3):
        alerts.add([change("a"), change("b")])
    alerts.add([change("a")])
    ended(alerts)
    assert way.got == ["a", "b"]


def test_what_was_told_is_told_to_have_cleared_once_and_nothing_else_is(tmp_path: Path) -> None:
    way, lost = Way(), Way(Delivery("nobody there", False))
    lost.name = "lost"
    gone = change("a")._replace(what="cleared"), change("never told")._replace(what="cleared")
    for _ in range(2):
        sent = Sent(tmp_path / "state")
        alerts = Alerts([way, lost], "warning", sent, lambda _: None)
        alerts.add([change("a"), *gone, change("a"), *gone])
        ended(alerts)
        sent.close()
    assert way.got == ["a", "a"]
    assert lost.got == ["a", "a", "a"], "the first did not arrive: it is neither told nor cleared until the next start"


def test_what_is_less_severe_than_asked_for_is_not_told() -> None:
    way = Way()
    alerts = Alerts([way], "warning", Sent(), pytest.fail)
    alerts.add([change("a", severity="info"), change("b", severity="warning"), change("c", severity="critical")])
    ended(alerts)
    assert way.got == ["b", "c"]


def test_not_twice_after_a_restart_and_again_what_did_not_arrive(tmp_path: Path) -> None:
    told: list[str] = []
    way = Way(Delivery("", True), Delivery("nobody there", False), Delivery("no answer", True))
    for _ in range(3):
        sent = Sent(tmp_path / "state")
        alerts = Alerts([way], "warning", sent, told.append)
        alerts.add([change("well"), change("lost"), change("perhaps")])
        ended(alerts)
        sent.close()
    assert way.got == ["well", "lost", "perhaps", "lost"]
    assert [text for text in told if "nobody there" in text]
    assert [text for text in told if "no answer" in text]


def test_each_way_is_told_though_another_fails() -> None:
    bad, good = Way(Delivery("broken", True)), Way()
    good.name = "other"
    alerts = Alerts([bad, good], "warning", Sent(), lambda _: None)
    alerts.add([change("a")])
    ended(alerts)
    assert (bad.got, good.got) == (["a"], ["a"])


def test_a_slow_way_holds_nothing_up_and_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 5)
    told: list[str] = []
    way = Way()
    way.go.clear()
    alerts = Alerts([way], "warning", Sent(), told.append)
    began = time.monotonic()
    alerts.add([change(str(i)) for i in range(50)])
    assert time.monotonic() - began < 5
    assert len([text for text in told if "dropped" in text]) == 1
    left = alerts.close(0.1)
    assert left >= 50 - 2
    way.go.set()


def test_a_state_file_that_cannot_be_written_costs_the_alert_and_not_the_thread() -> None:
    class Full(Sent):
        def begin(self, key: tuple[str, str]) -> None:
            if key[1] == change("a").identity.fingerprint:
                raise OSError(28, "No space left on device")

    told: list[str] = []
    way = Way()
    alerts = Alerts([way], "warning", Full(), told.append)
    alerts.add([change("a"), change("b")])
    ended(alerts)
    assert way.got == ["b"], "sent without a note it might go out twice"
    assert "No space left" in told[0]
