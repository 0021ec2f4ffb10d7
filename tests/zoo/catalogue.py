"""All specimens: importing this module imports every module of the zoo that registers some."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.zoo.registry import SPECIMENS, Specimen

PARTS = ("tuned", "held-out")
KINDS = ("ill", "healthy")

for _path in sorted(Path(__file__).parent.glob("**/*.py")):
    if _path.stem.startswith(tuple(f"{kind}_" for kind in KINDS)):
        import_module(".".join(("tests", "zoo", *_path.relative_to(Path(__file__).parent).with_suffix("").parts)))


def part(specimen: Specimen) -> str:
    return PARTS[specimen.held_out]


def folder(specimen: Specimen) -> str:
    """Where its log lies below the log directory: its run's name."""
    return f"{part(specimen)}/{KINDS[not specimen.ill]}/{specimen.kind}/{specimen.name}"


__all__ = ["KINDS", "PARTS", "SPECIMENS", "folder", "part"]
