"""What the fuzzers found once is found no more, and what they begin with passes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fuzz import files, native, seeds

FILES = sorted(path for check in files.CHECKS for path in (native.FOUND / check).glob("*"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_files_that_were_found(path: Path) -> None:
    files.bounded(files.CHECKS[path.parent.name], path.read_bytes())


@pytest.mark.parametrize("check", sorted(files.CHECKS))
def test_what_must_hold_of_any_file_holds_of_sound_ones(check: str) -> None:
    for whole in seeds.event_files()[::10]:
        files.bounded(files.CHECKS[check], whole)


def test_a_check_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = seeds.event_files()[-1]
    monkeypatch.setattr(files, "valid_bytes", lambda _: len(whole) - 1)
    with pytest.raises(files.Wrong, match="valid bytes"):
        files.read(whole)
    monkeypatch.setattr(files, "LONGEST_SECONDS", -1.0)
    with pytest.raises(files.Wrong, match="of the processor"):
        files.bounded(lambda _: None, whole)


def sanitizes(compiler: str, directory: Path) -> bool:
    source = directory / "nothing.c"
    source.write_text("int main(void) { return 0; }")
    command = [compiler, f"-fsanitize={native.SANITIZERS}", str(source), "-o", str(directory / "nothing")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("target", sorted(native.TARGETS))
def test_the_native_core_under_sanitizers(target: str, tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sanitizes(compiler, tmp_path):
        pytest.skip("no compiler with sanitizers")
    program = tmp_path / target
    native.build(target, program, compiler, fuzzer=False)
    native.seeded(target, tmp_path / "seeds")
    inputs = sorted([*(tmp_path / "seeds").iterdir(), *(native.FOUND / target).glob("*")])
    done = subprocess.run([str(program), *map(str, inputs)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("\n") == len(inputs) > 10
