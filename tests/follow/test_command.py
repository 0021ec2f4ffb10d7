from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest
from alerted import EVIL, change

from tb_nnhealth.follow.command import Command

KEEP = "import json, os, sys; json.dump({'in': json.load(sys.stdin), 'env': dict(os.environ)}, open(sys.argv[1], 'w'))"


def test_the_finding_stands_on_standard_input_and_in_the_environment(tmp_path: Path) -> None:
    assert Command([sys.executable, "-c", KEEP, str(tmp_path / "out")]).send(change()) == ("", True)
    kept = json.loads((tmp_path / "out").read_text())
    assert kept["in"]["run"] == "exp1"
    assert kept["in"]["finding"]["subject"] == "layers.3"
    assert kept["in"]["fingerprint"] == change().identity.fingerprint
    assert kept["env"]["NNHEALTH_RULE"] == "non-finite"
    assert kept["env"]["NNHEALTH_SEVERITY"] == "critical"
    assert kept["env"]["NNHEALTH_STEP"] == "81"
    assert kept["env"]["PATH"] == os.environ["PATH"]


def test_names_never_reach_a_shell_and_cannot_break_the_environment(tmp_path: Path) -> None:
    evil = f"$(touch {tmp_path / 'evil'}); `touch {tmp_path / 'evil'}`{EVIL}"
    argv = Command.parsed(f"{sys.executable} -c '{KEEP.replace(chr(39), chr(34))}' {tmp_path / 'out'}")
    assert Command(argv).send(change(evil, evil)).why == ""
    kept = json.loads((tmp_path / "out").read_text())
    assert kept["in"]["finding"]["subject"] == kept["in"]["run"] == evil
    assert "\n" not in kept["env"]["NNHEALTH_SUBJECT"]
    assert "\x1b" not in kept["env"]["NNHEALTH_SUBJECT"]
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.skipif(os.name == "nt", reason="process groups")
def test_a_command_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    script = f"(sleep 5; touch {tmp_path / 'late'}) & sleep 60"
    began = time.monotonic()
    why, may_have_arrived = Command(["sh", "-c", script], seconds=0.3).send(change())
    assert "longer than 0.3 s" in why
    assert may_have_arrived, "it may have done its work: it is not run again"
    assert time.monotonic() - began < 5
    time.sleep(5.5 - (time.monotonic() - began))
    assert not (tmp_path / "late").exists()


def test_a_command_that_fails_is_told_and_not_run_again() -> None:
    assert Command(["false"]).send(change()) == ("false exited with 1", True)


def test_what_a_failed_command_said_last_is_told() -> None:
    script = "echo first >&2; printf 'no \\033[2J display' >&2; exit 3"
    assert Command(["sh", "-c", script]).send(change()).why == "sh exited with 3: no \\x1b[2J display"


def test_a_command_that_does_not_read_its_input_is_no_failure() -> None:
    assert Command(["true"]).send(change(message="x" * 300_000)) == ("", True)


def test_a_command_that_is_not_there() -> None:
    why, may_have_arrived = Command(["/no/such/command"]).send(change())
    assert "/no/such/command: No such file" in why
    assert not may_have_arrived


@pytest.mark.parametrize("text", ["", "   ", "'open"])
def test_what_is_no_command(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|quotation"):
        Command.parsed(text)
