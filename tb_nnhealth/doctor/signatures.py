"""What a file is that is no event file, where its first bytes tell; and zeros where records should be."""

from __future__ import annotations

from tb_nnhealth.doctor.spans import Span
from tb_nnhealth.doctor.window import Window
from tb_nnhealth.events.framing import FOOTER_BYTES, HEADER_BYTES

LOOKED_AT = 64
_KNOWN = (
    (b"\x1f\x8b", "compressed by gzip", "Unpack it: gunzip FILE."),
    (b"PK\x03\x04", "a zip archive, as torch.save writes one too", "Unpack it, or move it out of the log directory."),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "Unpack it: unzstd FILE."),
    (b"BZh", "compressed by bzip2", "Unpack it: bunzip2 FILE."),
    (b"\xfd7zXZ\x00", "compressed by xz", "Unpack it: unxz FILE."),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "Fetch the file: git lfs pull."),
    (b"\x89PNG", "a PNG picture", "Move it out of the log directory."),
    (b"<!DOCTYPE", "an HTML page, perhaps a server's answer in the file's place", "Download the file again."),
    (b"<html", "an HTML page, perhaps a server's answer in the file's place", "Download the file again."),
    (b"<?xml", "XML, perhaps a storage's answer in the file's place", "Download the file again."),
)
_LITTLE_ENDIAN = "Write it by TensorBoard's or PyTorch's writer: lengths and checksums are little-endian."
_BIG_ENDIAN = "records whose numbers stand in big-endian order"


def known(window: Window) -> tuple[str, str] | None:
    """What the file is and what to do, where its first bytes are those of something else than an event file."""
    begin = bytes(window.at(0, LOOKED_AT))
    for signature, what, advice in _KNOWN:
        if begin.lower().startswith(signature.lower()):
            return what, advice
    first = int.from_bytes(begin[:8], "big")
    if 0 < first < 2**32 and HEADER_BYTES + first + FOOTER_BYTES <= window.size:
        return _BIG_ENDIAN, _LITTLE_ENDIAN
    if len(begin) > 8 and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in begin):
        return "text", "Move it out of the log directory, or give it a name without tfevents."
    return None


def all_zero(window: Window, span: Span) -> bool:
    """Whether a span holds zeros alone."""
    return not any(bytes(piece).strip(b"\0") for piece in window.pieces(span.offset, span.length))
