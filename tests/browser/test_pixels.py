"""The comparison of pictures finds what a person would see, and lets pass what nobody would."""

from __future__ import annotations

import pytest

pytest.importorskip("PIL")

from PIL import Image, ImageDraw, ImageFilter
from pixels import compare, reduced


def page(
    *, card: bool = True, colour: str = "#b3261e", text: tuple[int, int] = (40, 40), more: str = ""
) -> Image.Image:
    picture = Image.new("RGB", (640, 400), "#f5f6f7")
    draw = ImageDraw.Draw(picture)
    if card:
        draw.rectangle((20, 20, 300, 180), fill="white", outline="#d8dadc")
        draw.text(text, "Updates in blocks.3.mlp are too large", fill="#212121")
    draw.rectangle((340, 60, 600, 72), fill=colour)
    if more:
        draw.text((text[0] + 30, text[1]), more, fill="#212121")
    return picture


def test_the_same_page_in_a_palette_agrees() -> None:
    assert compare(reduced(page()), page()).why == ""


def test_half_a_pixel_of_antialiasing_agrees() -> None:
    assert compare(page(), page().filter(ImageFilter.GaussianBlur(0.4))).why == ""


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(page(card=False), id="missing-card"),
        pytest.param(page(colour="#2b6cb0"), id="wrong-colour"),
        pytest.param(page(text=(40, 46)), id="moved-text"),
        pytest.param(page(more="step 398"), id="overlapping-text"),
    ],
)
def test_what_a_person_would_see_does_not_agree(other: Image.Image) -> None:
    found = compare(reduced(page()), other)
    assert "off" in found.why
    assert found.picture(page()).getpixel((0, 0)) != (200, 0, 0)


def test_another_size_is_said() -> None:
    assert "expected a picture of (640, 400)" in compare(page(), Image.new("RGB", (10, 10))).why
