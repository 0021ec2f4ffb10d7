"""The bounded queue: what makes room, and that nothing is miscounted."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tb_nnhealth.record.entries import BoundedQueue, Serialized


def _names(entries: Any) -> list[bytes]:
    return [entry.data for entry in entries]


def test_oldest_makes_room_but_never_what_is_kept() -> None:
    queue = BoundedQueue(3, 1000)
    for name, keep in ((b"layout", True), (b"1", False), (b"2", False), (b"3", False), (b"4", False)):
        queue.append(Serialized(name, keep=keep))
    assert _names(queue.take(10, 1000)) == [b"layout", b"3", b"4"]
    assert (queue.counts["event"].produced, queue.counts["event"].dropped) == (5, 2)


def test_bytes_are_bounded_and_the_newest_is_taken_whatever_its_size() -> None:
    queue = BoundedQueue(100, 10)
    for data in (b"12345", b"67890", b"x", b"y" * 50):
        queue.append(Serialized(data))
    assert _names(queue.take(10, 1000)) == [b"y" * 50]
    assert queue.counts["event"].dropped == 3


def test_only_kept_entries_are_bounded_too() -> None:
    queue = BoundedQueue(2, 1000)
    for name in (b"1", b"2", b"3"):
        queue.append(Serialized(name, keep=True))
    assert _names(queue.take(10, 1000)) == [b"2", b"3"]


def test_take_is_bounded_in_bytes_beyond_the_first() -> None:
    queue = BoundedQueue(10, 1000)
    for data in (b"x" * 100, b"1", b"2"):
        queue.append(Serialized(data))
    assert _names(queue.take(10, 50)) == [b"x" * 100]
    assert _names(queue.take(10, 1)) == [b"1"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from("pppptbc"), st.integers(0, 30), st.booleans())), st.integers(1, 6))
def test_written_dropped_and_waiting_are_all_that_was_produced(actions: list[Any], most: int) -> None:
    queue = BoundedQueue(most, 60)
    taken: list[Any] = []
    for action, size, keep in actions:
        if action == "p":
            queue.append(Serialized(b"x" * size, keep=keep))
        elif action == "t":
            taken = list(queue.take(2, size))
            queue.counts["event"].written += len(taken)
        elif action == "b":
            queue.counts["event"].written -= len(taken)
            queue.put_back(taken)
            taken = []
        else:
            queue.clear()
        tally = queue.counts["event"]
        assert tally.written + tally.dropped + len(queue) == tally.produced
        assert len(queue) <= most
        assert min(tally.written, tally.dropped) >= 0
    everything = queue.take(100, 10**6)
    assert [entry.number for entry in everything] == sorted(entry.number for entry in everything)
