"""The registry is as large and as sound as the proof needs, and on a sample of runs all who tell of findings agree."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from tb_nnhealth.rules.registry import BY_ID
from tests.zoo import __main__ as zoo
from tests.zoo.catalogue import SPECIMENS, folder
from tests.zoo.peers import PEERS
from tests.zoo.registry import Specimen, add
from tests.zoo.runner.run import Result, work

ILL = [specimen for specimen in SPECIMENS.values() if specimen.ill]
HEALTHY = [specimen for specimen in SPECIMENS.values() if not specimen.ill]
SAMPLE_SIZE = 10
QUICK_KINDS = ("mlp", "regression", "two-classes", "several-answers", "autoencoder")


def kinds(specimens: list[Specimen], *, held_out: bool | None = None) -> set[str]:
    return {specimen.kind for specimen in specimens if held_out in (None, specimen.held_out)}


def test_there_are_enough_ill_specimens() -> None:
    assert len(ILL) >= 70
    assert len(kinds(ILL)) >= 35


def test_there_are_enough_healthy_specimens() -> None:
    assert len(HEALTHY) >= 200


@pytest.mark.parametrize("specimens", [ILL, HEALTHY], ids=["ill", "healthy"])
def test_a_third_of_the_kinds_is_set_aside(specimens: list[Specimen]) -> None:
    aside, tuned = kinds(specimens, held_out=True), kinds(specimens, held_out=False)
    if not aside:
        pytest.skip("what was set aside has been looked at and joined the tuned part")
    assert not aside & tuned
    assert 3 * len(aside) >= len(aside | tuned)


def test_what_is_set_aside_lies_apart() -> None:
    for specimen in SPECIMENS.values():
        where = specimen.train.__module__
        if specimen.ill:
            assert specimen.held_out == where.startswith("tests.zoo.held_out."), specimen.name


@pytest.mark.parametrize("shown", [False, True])
def test_progress_names_no_specimen_that_is_set_aside(
    shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next(specimen.name for specimen in ILL if specimen.held_out)
    monkeypatch.setattr(zoo, "results", lambda names, *where, **how: [Result(name, error=f"Traceback of {name}")])
    assert zoo.main(["--only", name, *(["--show-held-out"] if shown else [])]) == 1
    assert (name in capsys.readouterr().err) == shown


def test_every_right_cause_is_a_rule() -> None:
    assert {rule for specimen in ILL for rule in specimen.rules} <= BY_ID.keys()


def test_every_ill_specimen_says_where_its_fault_is_described() -> None:
    assert [specimen.name for specimen in ILL if not specimen.source] == []


def test_names_and_folders_are_unique() -> None:
    folders = [folder(specimen) for specimen in SPECIMENS.values()]
    assert len(set(folders)) == len(folders)
    with pytest.raises(ValueError, match="to differ"):
        add(HEALTHY[0])


def test_what_the_peers_mean_are_rules_of_the_catalogue() -> None:
    known = set(BY_ID) | {rule for specimen in ILL for rule in specimen.rules}
    assert {rule for peer in PEERS for meant in peer.means.values() for rule in meant} <= known


def sample() -> list[str]:
    """Quick ones, none of them set aside: half of them ill, chosen by the hash of their names."""
    ill = [specimen.name for specimen in ILL if not specimen.held_out and specimen.kind != "rank-desync"]
    healthy = [specimen.name for specimen in HEALTHY if not specimen.held_out and specimen.kind in QUICK_KINDS]
    half = SAMPLE_SIZE // 2
    return [name for names in (ill, healthy) for name in sorted(names, key=lambda n: zlib.crc32(n.encode()))[:half]]


@pytest.mark.parametrize("name", sample())
def test_live_command_line_and_tab_agree(name: str, tmp_path: Path) -> None:
    result = work(name, tmp_path, agreement=True)
    assert result.error is None
    assert result.disagreement is None
    assert result.steps > 0
    assert result.peers.keys() == {peer.name for peer in PEERS}
