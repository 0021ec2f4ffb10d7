"""What every rule must do, whatever it is about: its examples, and the histories that break careless code."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from tb_nnhealth import schema
from tb_nnhealth.derive import BY_ID as STATISTICS
from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.history import History, Run
from tb_nnhealth.messages import Layout
from tb_nnhealth.rules.base import (
    Case,
    CouldNotCheck,
    Example,
    Hit,
    Ill,
    NotApplicable,
    Options,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.configuration import Tuning
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.folding import fold
from tb_nnhealth.rules.registry import BY_ID, RULES
from tb_nnhealth.rules.synthetic import Network

HEADINGS = (
    "What it detects", "Why it matters", "How it is computed", "What to try", "When it is harmless", "References",
)  # fmt: skip
CATALOGUE = {
    "vanishing-gradients", "exploding-gradients", "gradient-spike", "no-gradient", "stale-gradients",
    "update-ratio-too-high", "update-ratio-too-low", "frozen-parameters", "optimizer-misses-parameters",
    "dead-units", "saturated-units", "vanishing-activations", "exploding-activations", "activation-mean-shift",
    "constant-output", "symmetric-units", "poor-init-scale", "diverging-weights", "diverging-bias",
    "non-gaussian-weights", "noisy-first-layer", "non-finite", "low-precision-range", "loss-scale-collapse",
    "initial-loss-off", "loss-not-decreasing", "loss-diverging", "loss-spike", "loss-oscillating", "slow-start",
    "early-lr-decay", "learning-rate-too-high", "learning-rate-too-low", "overfitting", "underfitting",
    "over-regularized", "loss-term-imbalance", "prediction-jitter", "still-improving", "constant-input",
    "repeated-batch", "unnormalized-input", "input-range-mismatch", "single-class-batches", "unshuffled-data",
    "class-imbalance", "too-few-samples", "large-batch", "softmax-before-cross-entropy", "nll-without-log-softmax",
    "target-broadcast", "wrong-mode", "rank-desync", "straggler", "shim-error",
}  # fmt: skip

every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
every_example = pytest.mark.parametrize(
    ("rule", "example"),
    [pytest.param(rule, example, id=f"{rule.id}-{example.title}") for rule in RULES for example in rule.examples],
)


def ask(rule: Rule, run: Run, **options: object) -> Outcome:
    """The rule's answer on the run's first watch, unshielded: whatever it raises fails the test."""
    history = next(iter(run.watches.values()), None)
    return rule.check(Case(run, history, "", Options(rule.options, options)))


@every_example
def test_example(rule: Rule, example: Example):
    run = example.build()
    outcome = ask(rule, run)
    if not example.ill:
        assert type(outcome).__name__ == (example.outcome or "Passed"), outcome
        return
    assert isinstance(outcome, Ill), outcome
    finding = fold(rule, outcome.hits)[0]
    if "information" in example.title:
        assert {hit.severity for hit in outcome.hits} == {"info"}
    if example.subject is not None:
        assert finding.subject == example.subject
    if example.first_step is not None:
        assert finding.first_step == example.first_step


@every_example
def test_same_answer_the_second_time(rule: Rule, example: Example):
    assert repr(ask(rule, example.build())) == repr(ask(rule, example.build()))


@every_example
def test_findings_of_an_example_are_coherent(rule: Rule, example: Example):
    run = example.build()
    outcome = ask(rule, run)
    if isinstance(outcome, Passed) and outcome.closest is not None:
        assert 0 <= outcome.closest.share <= 1
        assert outcome.closest.what
    if isinstance(outcome, Ill):
        assert outcome.hits
        last_step = run.last_step
        for hit in outcome.hits:
            _coherent(rule, hit, last_step)


def _coherent(rule: Rule, hit: Hit, last_step: int | None) -> None:
    assert hit.first_step <= hit.fired_step
    assert hit.first_step <= hit.last_step
    assert last_step is None or max(hit.fired_step, hit.last_step) <= last_step
    assert hit.count >= 1
    assert SEVERITIES.index(hit.severity) <= SEVERITIES.index(rule.severity)
    assert hit.statistic
    assert hit.unit
    assert not np.isnan(hit.value)
    assert not np.isnan(hit.limit)
    assert hit.value >= hit.limit if hit.direction == "above" else hit.value <= hit.limit
    assert hit.healthy is None or hit.healthy[0] <= hit.healthy[1]
    assert re.search(r"\d", hit.message), f"names no number: {hit.message}"
    assert hit.message[-1] in ".!", hit.message
    assert rule.id == "non-finite" or not re.search(r"\bnan\b", hit.message, re.I), hit.message
    assert hit.advice
    assert all(advice and advice[0].isupper() and advice.endswith(".") for advice in hit.advice), hit.advice


@every_rule
def test_examples_on_both_sides(rule: Rule):
    assert any(example.ill for example in rule.examples)
    assert any(not example.ill for example in rule.examples)


@every_rule
def test_page(rule: Rule):
    assert tuple(re.findall(r"^## (.+)$", rule.page, re.M)) == HEADINGS
    summary = rule.page.split("\n", 1)[0]
    assert summary.endswith("."), "the page begins with one sentence"
    sections = dict(zip(HEADINGS, re.split(r"^## .+$", rule.page, flags=re.M)[1:], strict=True))
    assert all(text.strip() for text in sections.values())
    assert re.search(r"^1\. ", sections["What to try"], re.M), "what to try is an ordered list"
    assert re.search(r"\[.+?\]\(https?://", sections["References"], re.S)


@every_rule
def test_description(rule: Rule):
    assert rule.id in CATALOGUE
    assert rule.healthy
    assert rule.ill
    assert not rule.statistic or rule.statistic in STATISTICS
    assert set(rule.causes) <= CATALOGUE - {rule.id}
    names = [option.name for option in rule.options]
    assert len(set(names)) == len(names)
    assert all(option.unit and option.help and option.source for option in rule.options)
    undocumented = [name for name in names if f"`{name}`" not in rule.page]
    assert not undocumented, "options stand in How it is computed, as `name`"


def test_rules_stand_once_and_in_the_order_of_the_catalogue():
    order = {name: i for i, name in enumerate(_catalogue_order())}
    places = [order[rule.id] for rule in RULES]
    assert places == sorted(set(places))
    assert len(BY_ID) == len(RULES)


def _catalogue_order() -> list[str]:
    groups = (
        "gradients",
        "updates",
        "activations",
        "weights",
        "numerics",
        "loss",
        "data",
        "set-up",
        "distributed",
        "shim",
    )
    return [rule.id for rule in sorted(RULES, key=lambda rule: groups.index(rule.group))]


def _empty() -> Run:
    return Run("empty", watches={schema.DEFAULT_WATCH: History(Layout(watch="model", columns=schema.STATISTICS))})


def _layout_alone() -> Run:
    return Run("started", watches={schema.DEFAULT_WATCH: History(Network().layout)})


def _nothing_watched() -> Run:
    return Run("scalars")


def _only_nan() -> Run:
    network = Network(steps=60)
    network.values[:] = np.nan
    return network.run()


def _all_spoilt() -> Run:
    """Every element of every tensor is NaN: no statistic but the count."""
    network = Network(steps=60)
    network.values[:] = np.nan
    network.values[:, :, schema.STATISTICS.index(schema.NAN_COUNT)] = 64
    return network.run()


def _huge() -> Run:
    """Magnitudes at the end of float32: their products and squares overflow."""
    network = Network(steps=60)
    for name in (schema.MEAN, schema.STD, schema.RMS, schema.MAX):
        network.values[30:, :, schema.STATISTICS.index(name)] = 3e38
    network.values[30:, :, schema.STATISTICS.index(schema.MIN)] = -3e38
    return network.run()


def _without_columns() -> Run:
    """The log of a framework that measures nothing but the root mean square."""
    network = Network(steps=60)
    del network.layout.columns[:]
    network.layout.columns.append(schema.RMS)
    network.values = network.values[:, :, [schema.STATISTICS.index(schema.RMS)]]
    return network.run()


def _without_anything_known() -> Run:
    """Rows alone: no modules, parameters, optimizers or criterion in the layout."""
    network = Network(steps=60)
    for field in ("modules", "parameters", "optimizers", "criterion"):
        network.layout.ClearField(field)
    return network.run()


def _optimizer_of_nothing() -> Run:
    network = Network(steps=60)
    for parameter in network.layout.parameters:
        parameter.optimizer, parameter.group = 7, 3  # a layout from a stranger
    return network.run()


@every_rule
@pytest.mark.parametrize(
    "build",
    [
        _empty, _layout_alone, _nothing_watched, _only_nan, _all_spoilt, _huge, _without_columns,
        _without_anything_known, _optimizer_of_nothing,
        lambda: Network(depth=1).run(), lambda: Network(steps=1).run(), lambda: Network(steps=2).run(),
        lambda: Network(width=1, classes=2).run(),
    ],
    ids=[
        "empty", "layout-alone", "nothing-watched", "only-nan", "all-spoilt", "huge", "without-columns",
        "rows-alone", "strange-optimizer", "one-layer", "one-record", "two-records", "one-unit",
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_odd_histories(rule: Rule, build: Callable[[], Run]):
    run = build()
    if rule.scope == "watch" and not run.watches:
        return  # the engine asks such a rule nothing
    outcome = ask(rule, run)
    if isinstance(outcome, Ill):
        for hit in outcome.hits:
            _coherent(rule, hit, run.last_step)
    elif isinstance(outcome, CouldNotCheck):
        assert outcome.needs
    elif isinstance(outcome, (NotApplicable, TooLittleData)):
        assert outcome.why
    else:
        assert isinstance(outcome, Passed)


@pytest.mark.parametrize("build", [_empty, _layout_alone, _nothing_watched], ids=["empty", "layout-alone", "nothing"])
def test_no_rule_passes_on_nothing(build: Callable[[], Run]):
    judgement = judge(build())
    passed = [rule for rule, outcome in judgement.outcomes.items() if isinstance(outcome, (Passed, Ill))]
    assert not set(passed) - {"shim-error"}


@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_network_has_no_finding(seed: int):
    judgement = judge(Network(seed=seed).run())
    assert judgement.findings == ()
    assert judgement.verdict == "healthy"


@cache
def _wide_run() -> Run:
    return Network(depth=10_000, width=4, steps=50).run()


@every_rule
@pytest.mark.slow
def test_ten_thousand_layers(rule: Rule):
    outcome = ask(rule, _wide_run())
    assert not isinstance(outcome, Ill), [hit.message for hit in outcome.hits[:3]]


@every_rule
def test_options_per_layer(rule: Rule):
    """A glob that matches nothing changes nothing, and options may be given for one layer alone."""
    example = next(example for example in rule.examples if example.ill)
    usual = ask(rule, example.build())
    for option in rule.options:
        elsewhere = ask(rule, example.build(), **{"nowhere.*": {option.name: 0.5}})
        assert repr(elsewhere) == repr(usual)


@every_rule
def test_silenced_layer(rule: Rule):
    example = next((e for e in rule.examples if e.ill and e.subject and e.subject.startswith("layers.")), None)
    if example is None:
        pytest.skip("no example whose subject is a layer")
    silenced = judge(example.build(), Tuning({rule.id: {"layers.*": False}}), [rule])
    assert [f for f in silenced.findings if f.subject.startswith("layers.")] == []
    informed = judge(example.build(), Tuning({rule.id: {"severity": "info"}}), [rule])
    assert {f.severity for f in informed.findings} == {"info"}
