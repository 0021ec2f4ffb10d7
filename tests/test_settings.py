from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tb_nnhealth import Recorder, settings
from tb_nnhealth.rules.configuration import Tuning
from tb_nnhealth.settings import SettingsError
from tb_nnhealth.source.files import FileSource

DOCUMENTED = Path(__file__).parent.parent / "docs" / "tuning.md"


def test_the_nearest_file_counts(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "nnhealth.toml").write_text("[rules]\ndead-units = false\n", "utf-8")
    assert settings.discover(below).tuning.rules == {"dead-units": False}
    (below.parent / "pyproject.toml").write_text("[tool.other]\nx = 1\n", "utf-8")
    assert settings.discover(below).path == tmp_path / "nnhealth.toml"
    (below.parent / "pyproject.toml").write_text("[tool.nnhealth.rules]\nno-gradient = false\n", "utf-8")
    assert settings.discover(below).tuning.rules == {"no-gradient": False}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rules = 3", "expected a mapping"),
        ("[rule]\n", "did you mean 'rules'"),
        ("[rules.dead-unit]\n", "did you mean 'dead-units'"),
        ("fail-on = 'fatal'", "info, warning, critical"),
        ("baseline = 3", "expected the path"),
        ("[scalars]\nobjective = 'speed'", "'loss/train'"),
        ("[scalars]\nobjective = 3", "or False"),
        ("rules =", "expected TOML"),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "nnhealth.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(SettingsError, match=told) as raised:
        settings.discover(tmp_path)
    assert str(path) in str(raised.value)


def test_a_recorder_records_the_settings_of_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nnhealth.toml").write_text(
        "[rules]\ndead-units = false\nno-gradient = false\n[scalars]\nobjective = 'loss'\n", "utf-8"
    )
    monkeypatch.chdir(tmp_path)
    with Recorder(tmp_path / "run", rules={"dead-units": {"severity": "info"}}) as recorder:
        recorder.record(0, {"w": {"rms": 1.0}})
    source = FileSource([str(tmp_path / "run")])
    source.refresh()
    layout = source.run(source.runs()[0]).watches["model"].layout
    assert layout.rules_json == '{"dead-units": {"severity": "info"}, "no-gradient": false}'
    assert layout.scalars_json == '{"objective": "loss"}'


def test_the_documented_settings_are_understood(tmp_path: Path) -> None:
    blocks = DOCUMENTED.read_text("utf-8").split("```toml\n")[1:]
    assert len(blocks) >= 2
    for block in blocks:
        text = block.split("```")[0]
        path = tmp_path / ("pyproject.toml" if "[tool." in text else "nnhealth.toml")
        path.write_text(text, "utf-8")
        found = settings.read(path)
        assert found.tuning.rules or found.tuning.scalars


def test_the_documented_call_is_understood() -> None:
    arguments = re.search(r"rules=(\{.*?\n    \}),\n    scalars=(\{.*?\}),", DOCUMENTED.read_text("utf-8"), re.DOTALL)
    assert arguments
    rules, scalars = (ast.literal_eval(re.sub(r"  #.*", "", text)) for text in arguments.groups())
    assert len(Tuning(rules, scalars).rules) == 3
