"""Event files as disks and other programs leave them, as hypothesis strategies."""

from __future__ import annotations

from hypothesis import strategies as st

from tb_nnhealth.events.framing import frame_in_python


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """``data`` with bits flipped, bytes written over, and parts cut out, repeated or moved."""
    out = bytearray(data)
    for _ in range(draw(st.integers(0, 3))):
        if not out:
            break
        at = draw(st.integers(0, len(out) - 1))
        kind = draw(st.sampled_from(["flip", "write", "cut", "repeat", "tail"]))
        if kind == "flip":
            out[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "write":
            some = draw(st.binary(min_size=1, max_size=9))
            out[at : at + len(some)] = some
        elif kind == "tail":
            del out[at:]
        else:
            end = draw(st.integers(at, min(len(out), at + 80)))
            part = out[at:end]
            if kind == "cut":
                del out[at:end]
            else:
                to = draw(st.integers(0, len(out)))
                out[to:to] = part
    return bytes(out)


@st.composite
def damaged(draw: st.DrawFn, payloads: st.SearchStrategy[list[bytes]]) -> bytes:
    """A file of these records, their data damaged before it was framed, or the file afterwards."""
    records = [draw(mutated(data)) if draw(st.integers(0, 3)) == 0 else data for data in draw(payloads)]
    whole = b"".join(frame_in_python(data) for data in records)
    return draw(mutated(whole)) if draw(st.booleans()) else whole
