from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tb_nnhealth.follow.sent import Sent, StateError

KEY = "webhook", "abc"


def reopened(path: Path) -> Sent:
    return Sent(path)


def test_what_was_begun_counts_as_sent_even_after_a_crash(tmp_path: Path) -> None:
    sent = Sent(tmp_path / "state")
    sent.begin(KEY)  # and then nothing: the process was killed
    sent.close()
    again = Sent(tmp_path / "state")
    assert again.has(KEY)
    assert not again.has(("exec", "abc"))


def test_what_surely_did_not_arrive_may_be_sent_after_a_restart(tmp_path: Path) -> None:
    sent = Sent(tmp_path / "deep" / "state")
    sent.begin(KEY)
    sent.take_back(KEY)
    sent.close()
    assert not Sent(tmp_path / "deep" / "state").has(KEY)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400), noise=st.binary(max_size=40))
def test_a_damaged_state_file_loses_no_more_than_its_damaged_line(tmp_path: Path, cut: int, noise: bytes) -> None:
    path = tmp_path / "state"
    path.unlink(missing_ok=True)
    sent = Sent(path)
    for i in range(5):
        sent.begin(("exec", str(i)))
    sent.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:cut] + noise)
    again = Sent(path)
    lines = whole[:cut].count(b"\n")
    assert all(again.has(("exec", str(i))) for i in range(lines))
    again.begin(("exec", "new"))
    again.close()
    last = Sent(path)
    assert last.has(("exec", "new"))
    last.close()


def test_one_state_file_is_for_one_process(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    first = Sent(tmp_path / "state")
    with pytest.raises(StateError, match="another nnhealth"):
        Sent(tmp_path / "state")
    first.close()
    Sent(tmp_path / "state").close()


def test_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot be used as the state file"):
        Sent(tmp_path / "file" / "state")
