"""Coverage-guided fuzzing of the native core by libFuzzer, under AddressSanitizer and UndefinedBehaviorSanitizer.

    python -m tests.fuzz.native events|tensors [--seconds 600] [--corpus DIRECTORY] [--json FILE]

Needs ``clang`` with its runtime (Debian: ``apt-get install clang libclang-rt-14-dev``). An input that crashes, takes
longer than a second or more than 256 MB is written into ``tests/fuzz/found/TARGET``, where the test suite tries it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import console, seeds

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "tb_nnhealth" / "native"
FOUND = HERE / "found"
SANITIZERS = "address,undefined"
TARGETS: dict[str, tuple[tuple[str, ...], Callable[[], list[bytes]]]] = {
    "events": (("framing.c", "crc32c.c", "plain.c", "tags.c"), seeds.for_events),
    "tensors": (("tensors_*.c",), seeds.for_tensors),
}
"""Sources of the core that a target needs, and what it begins with."""
LONGEST_INPUT = 1 << 15
MEMORY_MB = 256


def build(target: str, program: Path, compiler: str, *, fuzzer: bool) -> None:
    """Compiles a target; without ``fuzzer``, one that runs once over the files it is given."""
    sources = [
        HERE / "native" / f"{target}.c",
        *(path for names in TARGETS[target][0] for path in sorted(SOURCES.glob(names))),
    ]
    if not fuzzer:
        sources.append(HERE / "native" / "replay.c")
    sanitizers = f"-fsanitize={SANITIZERS}{',fuzzer' if fuzzer else ''}"
    options = ["-std=gnu11", "-g", "-O2", sanitizers, "-fno-sanitize-recover=all", f"-I{SOURCES}"]
    subprocess.run([compiler, *options, *map(str, sources), "-lm", "-o", str(program)], check=True)


def seeded(target: str, corpus: Path) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[target][1]()):
        if len(seed) <= LONGEST_INPUT:
            (corpus / f"seed-{number}").write_bytes(seed)


def fuzz(target: str, seconds: int, corpus: Path) -> dict[str, Any]:
    """Fuzzes; the number of inputs tried, of branches and comparisons seen, and the files found."""
    compiler = shutil.which("clang")
    if compiler is None:
        raise SystemExit("expected clang on the PATH, found none; on Debian: apt-get install clang libclang-rt-14-dev")
    seeded(target, corpus)
    found = FOUND / target
    found.mkdir(parents=True, exist_ok=True)
    before = set(found.iterdir())
    with tempfile.TemporaryDirectory(prefix="fuzz-") as base:
        program = Path(base) / target
        build(target, program, compiler, fuzzer=True)
        limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", "-timeout=1"]
        limits += [f"-malloc_limit_mb={MEMORY_MB}", f"-rss_limit_mb={4 * MEMORY_MB}"]  # the sanitizer's own is more
        command = [str(program), *limits, "-print_final_stats=1", f"-artifact_prefix={found}/", str(corpus)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    new = sorted(path.name for path in set(found.iterdir()) - before)
    return {**told(done.stderr, done.returncode, new), "seconds": seconds}


def told(log: str, status: int, found: Sequence[str]) -> dict[str, Any]:
    """What libFuzzer said at its end."""
    numbers = {name: int(value) for name, value in re.findall(r"stat::(\w+):\s+(\d+)", log)}
    coverage = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", log)
    failures = [f"{name}: {'; '.join(re.findall(r'SUMMARY: (.*)', log))}" for name in found]
    if status and not failures:
        failures = [f"the fuzzer ended with status {status}: {log[-2000:]}"]
    branches, features, kept = map(int, coverage[-1]) if coverage else (0, 0, 0)
    return {
        "inputs": numbers.get("number_of_executed_units", 0), "peak_mb": numbers.get("peak_rss_mb", 0),
        "branches": branches, "features": features, "kept": kept, "failures": failures,
    }  # fmt: skip


def said(result: dict[str, Any]) -> str:
    return (
        f"{result['inputs']:,} inputs in {result['seconds']} s under AddressSanitizer and UndefinedBehaviorSanitizer: "
        f"{len(result['failures'])} found; {result['branches']} branches seen, {result['kept']} inputs kept"
    )


def main(arguments: list[str] | None = None) -> int:
    return console.run(__doc__, TARGETS, fuzz, said, arguments)


if __name__ == "__main__":
    sys.exit(main())
