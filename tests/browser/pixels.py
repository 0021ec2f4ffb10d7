"""Two pictures of a page compared with an allowance: for antialiasing and a palette, not for what a person would see.

A pixel is off where its colour lies beyond those of the expected picture's pixels around it, on either side, by more
than ``TOLERANCE``. So an edge that is drawn half a pixel further passes; a word that moved, a card that is missing, or
another palette do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

TOLERANCE = 40
"""Of 255, in any channel."""
REACH = 1
"""Pixels in each direction whose colours are allowed."""
COLOURS = 128
"""Of a reference's palette, the most frequent ones, which stay exact."""
BLOCK = 24
BLOCK_SHARE = 0.06
"""Share of a block's pixels off from which something there differs: a word, a mark, a number."""
BLOCK_MEAN = 5.0
"""By how much a block's mean colour may differ, in any channel: a card's ground is ten lighter than the page's."""
WHOLE_SHARE = 0.004
"""Share of all pixels off from which the page differs, though no block does."""


@dataclass(frozen=True)
class Difference:
    """``off``: bool (height, width), None for pictures of unlike size; ``why``: a sentence, empty where they agree."""

    why: str
    off: NDArray[np.bool_] | None = None

    def picture(self, expected: Image.Image) -> Image.Image:
        """The expected picture, pale, with what is off in red."""
        pale = 255 - (255 - np.asarray(expected.convert("RGB"), np.int16)) // 4
        if self.off is not None:
            pale[self.off] = (200, 0, 0)
        return Image.fromarray(pale.astype(np.uint8))


def compare(expected: Image.Image, actual: Image.Image) -> Difference:
    if expected.size != actual.size:
        return Difference(f"expected a picture of {expected.size}, found one of {actual.size}")
    wanted = np.asarray(expected.convert("RGB"), np.int16)
    found = np.asarray(actual.convert("RGB"), np.int16)
    low, high = _around(wanted)
    off = ((found < low - TOLERANCE) | (found > high + TOLERANCE)).any(axis=-1)
    # What is there and was not expected lies beyond its neighbours; what is missing, the other way round.
    low, high = _around(found)
    off |= ((wanted < low - TOLERANCE) | (wanted > high + TOLERANCE)).any(axis=-1)
    share = float(off.mean())
    shifted = np.stack([_blocks((found - wanted)[..., channel]) for channel in range(3)])
    blocks = np.maximum(_blocks(off), np.abs(shifted).max(axis=0) > BLOCK_MEAN)
    y, x = np.unravel_index(int(blocks.argmax()), blocks.shape)
    if blocks[y, x] > BLOCK_SHARE:
        where = f"x {x * BLOCK} to {(x + 1) * BLOCK}, y {y * BLOCK} to {(y + 1) * BLOCK}"
        off |= np.kron(blocks > BLOCK_SHARE, np.ones((BLOCK, BLOCK), bool))[: off.shape[0], : off.shape[1]]
        return Difference(
            f"the picture at {where} is off, and {int((blocks > BLOCK_SHARE).sum()) - 1} more places", off
        )
    if share > WHOLE_SHARE:
        return Difference(f"{share:.2%} of all pixels are off, at most {WHOLE_SHARE:.1%} may be", off)
    return Difference("", off)


def reduced(picture: Image.Image) -> Image.Image:
    """With a palette, as references are kept."""
    pixels = np.asarray(picture.convert("RGB"))
    colours, place, count = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-count)
    palette = colours[order[:COLOURS]].astype(np.int32)
    if len(colours) > COLOURS:  # ramps and the edges of letters
        rest = Image.fromarray(colours[order[COLOURS:]][None]).quantize(256 - COLOURS, dither=Image.Dither.NONE)
        palette = np.concatenate([palette, np.asarray(rest.getpalette(), np.int32).reshape(-1, 3)])
    nearest = [np.square(palette - colour).sum(axis=1).argmin() for colour in colours.astype(np.int32)]
    small = Image.fromarray(np.asarray(nearest, np.uint8)[place].reshape(pixels.shape[:2]))
    small.putpalette(palette.astype(np.uint8).tobytes())
    return small


def _around(pixels: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Least and greatest of each pixel and those around it, by channel."""
    low, high = pixels, pixels
    for axis in (0, 1):
        pad = [(REACH, REACH) if i == axis else (0, 0) for i in range(3)]
        for reduce_, name in ((np.minimum, "low"), (np.maximum, "high")):
            source = low if name == "low" else high
            wide = np.pad(source, pad, mode="edge")
            windows = [np.take(wide, range(i, i + source.shape[axis]), axis=axis) for i in range(2 * REACH + 1)]
            result = reduce_.reduce(windows)
            low, high = (result, high) if name == "low" else (low, result)
    return low, high


def _blocks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over each block; beyond the edges of the picture is nothing."""
    height, width = values.shape
    wide = np.zeros((-(-height // BLOCK) * BLOCK, -(-width // BLOCK) * BLOCK))
    wide[:height, :width] = values
    shares: NDArray[np.float64] = wide.reshape(wide.shape[0] // BLOCK, BLOCK, -1, BLOCK).mean(axis=(1, 3))
    return shares
