"""Coverage-guided fuzzing of the reader's side in Python, by Atheris: what it reads, judges and examines.

    python -m tests.fuzz.reader read|judged|examined [--seconds 600] [--corpus DIRECTORY] [--json FILE]

Needs ``pip install atheris``. Files are changed as bytes, record by record behind sound checksums, and within the
messages that records hold. ``files.py`` says what must hold of each. One that shows otherwise is written into
``tests/fuzz/found/CHECK``, where the test suite tries it.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import console

CHECKS = ("read", "judged", "examined")
FOUND = Path(__file__).parent / "found"
LONGEST_INPUT = 1 << 14


def fuzz_here(check: str, arguments: list[str]) -> None:
    """Fuzzes in this process until libFuzzer ends it; ``arguments`` are libFuzzer's."""
    import atheris

    with atheris.instrument_imports(include=["tb_nnhealth"]):
        import tb_nnhealth.source.files  # noqa: F401

        from . import files
    from google.protobuf.message import DecodeError, EncodeError
    from tensorboard.compat.proto import event_pb2

    from tb_nnhealth.events.framing import frame_in_python
    from tb_nnhealth.messages import Layout

    from . import seeds

    def within_layout(rng: random.Random, data: bytes) -> bytes:
        """A text of the layout changed, or a row of it."""
        layout = Layout.FromString(data)
        name = rng.choice(["rules_json", "scalars_json", "columns", "rows"])
        if name in ("rules_json", "scalars_json"):
            setattr(layout, name, bytes(atheris.Mutate(getattr(layout, name).encode(), 2000)).decode("utf-8", "ignore"))
        elif name == "columns" and layout.columns:
            layout.columns[rng.randrange(len(layout.columns))] = rng.choice(layout.columns)
        elif layout.rows:
            row = layout.rows[rng.randrange(len(layout.rows))]
            row.ParseFromString(bytes(atheris.Mutate(row.SerializeToString(), 500)))
        return bytes(layout.SerializeToString())

    def within(rng: random.Random, data: bytes) -> bytes:
        """The event in ``data`` with its tensor's content changed, or its step, or its tag."""
        event = event_pb2.Event.FromString(data)
        kind = rng.random()
        if not event.summary.value or kind < 0.1:
            event.step = rng.choice([event.step + 1, 0, -1, 2**63 - 1, -(2**63), rng.randrange(1000)])
            return bytes(event.SerializeToString())
        value = rng.choice(event.summary.value)
        if kind < 0.2:
            value.tag = bytes(atheris.Mutate(value.tag.encode(), 200)).decode("utf-8", "ignore")
        elif value.tensor.string_val:
            text = value.tensor.string_val[0]
            layout = value.tag.endswith("/layout") and rng.random() < 0.7
            value.tensor.string_val[0] = within_layout(rng, text) if layout else bytes(atheris.Mutate(text, 4000))
        elif value.tensor.tensor_content:
            size = len(value.tensor.tensor_content)
            changed = bytes(atheris.Mutate(value.tensor.tensor_content, size))
            value.tensor.tensor_content = changed if rng.random() < 0.2 else (changed + bytes(size))[:size]
        else:
            value.ParseFromString(bytes(atheris.Mutate(value.SerializeToString(), 500)))
        return bytes(event.SerializeToString())

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        records = seeds.frames(data)
        kind = rng.random()
        if not records or kind < 0.1:
            return bytes(atheris.Mutate(data, most))
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            place = rng.randrange(len(records))
            if kind < 0.35:
                records[place] = bytes(atheris.Mutate(records[place], 4000))
            elif kind < 0.8:
                try:
                    records[place] = within(rng, records[place])
                except (DecodeError, EncodeError, ValueError):
                    records[place] = bytes(atheris.Mutate(records[place], 4000))
            elif kind < 0.87:
                records.insert(rng.randrange(len(records) + 1), records[place])
            elif kind < 0.94 and len(records) > 1:
                del records[place]
            else:
                rng.shuffle(records)
        return b"".join(map(frame_in_python, records))[:most]

    def one(data: bytes) -> None:
        files.bounded(files.CHECKS[check], data)

    atheris.Setup([sys.argv[0], *arguments], one, custom_mutator=mutated)
    atheris.Fuzz()


def fuzz(check: str, seconds: int, corpus: Path) -> dict[str, Any]:
    """Fuzzes in a process of its own; the number of files tried, and those found."""
    from . import seeds
    from .native import told

    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds.event_files()):
        if len(seed) <= LONGEST_INPUT:
            (corpus / f"seed-{number}").write_bytes(seed)
    found = FOUND / check
    found.mkdir(parents=True, exist_ok=True)
    before = set(found.iterdir())
    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", "-timeout=20", "-rss_limit_mb=2048"]
    arguments = [*limits, "-print_final_stats=1", f"-artifact_prefix={found}/", str(corpus)]
    command = [sys.executable, "-m", "tests.fuzz.reader", check, "--here", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          check=False)  # fmt: skip
    result = told(done.stdout, done.returncode, sorted(path.name for path in set(found.iterdir()) - before))
    cause = re.findall(r"Uncaught Python exception.*?(?=\n==)", done.stdout, re.DOTALL)
    result["failures"] = [f"{failure} {''.join(cause)}" for failure in result["failures"]]
    return {**result, "seconds": seconds}


def said(result: dict[str, Any]) -> str:
    return (
        f"{result['inputs']:,} files in {result['seconds']} s: {len(result['failures'])} found; "
        f"{result['features']:,} features of coverage, {result['kept']} files kept, at most {result['peak_mb']} MB"
    )


def main(arguments: list[str]) -> int:
    if "--here" in arguments:
        fuzz_here(arguments[0], arguments[2:])
        return 0
    return console.run(__doc__, CHECKS, fuzz, said, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
