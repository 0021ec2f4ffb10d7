from __future__ import annotations

import json
from pathlib import Path

import pytest
from events.logs import FILE, small_log
from synthetic_logs import write_scalars

from tb_nnhealth.cli.main import main


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    log = small_log(tmp_path / "logs" / "evil\x1b[2J\n✖ fake")
    data = bytearray(log.path.read_bytes())
    data[len(log.frames[0]) + 15] ^= 1
    log.path.write_bytes(data)
    return tmp_path / "logs"


def test_a_sound_log_exits_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scalars(tmp_path / "run", loss=[(i, 1.0) for i in range(50)])
    assert main(["doctor", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "1 run(s), 1 file(s), 51 records, 0.0 MB: nothing wrong\n"


def test_damage_is_told_with_file_byte_and_remedy(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(damaged)]) == 1
    told = capsys.readouterr().out
    assert "✖ corrupt-record  (byte " in told
    assert "--repair" in told
    assert "evil\\x1b[2J\\n✖ fake" in told
    assert "\x1b" not in told


def test_json(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(damaged), "--format", "json", "--fail-on", "critical"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == 1
    assert told["troubles"][0]["id"] == "corrupt-record"
    assert told["troubles"][0]["path"].endswith(FILE)
    assert {"severity", "message", "advice", "offset", "step", "count"} <= told["troubles"][0].keys()


def test_what_is_no_worse_than_asked_for_passes(tmp_path: Path) -> None:
    write_scalars(tmp_path / "run", loss=[(i % 20, 1.0) for i in range(100)])
    assert main(["doctor", str(tmp_path)]) == 1
    assert main(["doctor", str(tmp_path), "--fail-on", "critical"]) == 0


def test_the_copy_is_counted(damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    assert main(["doctor", str(damaged), "--repair", str(copy), "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)["repair"]
    assert (told["files"], told["dropped"], told["problems"]) == (1, 1, [])
    assert main(["doctor", str(copy), "--fail-on", "critical"]) == 0
    assert main(["doctor", str(damaged), "--repair", str(tmp_path / "other")]) == 1
    assert "1 damaged place(s)" in capsys.readouterr().out


def test_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_scalars(tmp_path / "run", loss=[(0, 1.0), (1, 1.0)])
    write_scalars(tmp_path / "other", loss=[(0, 1.0)])
    assert main(["doctor", str(path)]) == 0
    assert "1 run(s), 1 file(s), 3 records" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "No such file or directory"),
        (["empty"], "no event files found below"),
        (["logs", "--repair", "logs/copy"], "expected a place outside"),
        (["logs", "--repair", "taken"], "new or an empty directory"),
        (["logs/run/missing.tfevents.1"], "No such file or directory"),
    ],
)
def test_what_cannot_be_done_exits_with_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_scalars(Path("logs/run"), loss=[(0, 1.0)])
    Path("empty").mkdir()
    Path("taken").mkdir()
    Path("taken/mine").touch()
    before = sorted(tmp_path.rglob("*"))
    assert main(["doctor", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
