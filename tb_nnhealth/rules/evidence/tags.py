"""What a scalar tag stands for, read from its whole parts: ``Loss/Train``, ``valLoss``, ``epoch_loss``, ``lr-AdamW``.

Substrings never count (``lossless``, ``latest``), a word that makes another quantity of a loss takes the role
away (``loss_scale``), and losses that are played against each other or against an environment have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal

from tb_nnhealth.history import Run, Series
from tb_nnhealth.phases import PHASES, Phase, parts
from tb_nnhealth.rules.evidence.once import once

Metric = Literal["loss", "accuracy", "error", "perplexity", "lr"]

_HYPERPARAMETER = re.compile(r"(?:^|[/_,\s-])[A-Za-z_]+=[^/]*")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_METRICS: dict[str, Metric] = {
    **dict.fromkeys(("loss", "losses"), "loss"),
    **dict.fromkeys(("acc", "accuracy"), "accuracy"),
    "error": "error",
    **dict.fromkeys(("perplexity", "ppl"), "perplexity"),
    **dict.fromkeys(("lr", "learningrate"), "lr"),
}
_LOSS_FUNCTIONS = _words(
    "ce xent crossentropy nll nce infonce bce mse mae rmse msle mape smape huber hinge pinball logits binary "
    "categorical cost criterion"
)
ERRORS = ("mse", "msle", "rmse", "mae", "mape", "smape")
"""Measures of one error that are logged beside each other, and are no terms of a sum; the likeliest loss first."""
_PLAIN = _words(
    "epoch epochs step steps iter iteration iterations batch batches global avg average mean total overall full sum "
    "running smooth smoothed ema moving raw sparse with negative log likelihood objective metric metrics scalar "
    "scalars stats main final per token sample"
)
"""Words beside ``loss`` that leave it the loss of the whole model."""
_NOT_THE_LOSS_ITSELF = _words(
    "scale scaler scaling weight weights coef coeff coefficient factor lambda alpha beta std var variance grad "
    "gradient norm count num time ratio diff difference delta gap change improvement best min max minimum maximum "
    "lowest patience threshold target rate"
)
REWARDS = _words("reward rewards rew return returns")
_REINFORCEMENT = _words(
    "reward rewards rew return returns ret regret episode episodic ep rollout rollouts actor critic policy value vf pg "
    "qf dqn td entropy advantage exploration success"
)
_TELLS_REINFORCEMENT = _REINFORCEMENT - {"value", "entropy", "ep", "td", "advantage", "pg", "ret"}
_ADVERSARIAL = _words("generator discriminator gan gen disc dis adversarial adv critic g d")
REGULARIZERS = _words(
    "kl kld divergence reg regularization regularizer l penalty decay balance balancing aux auxiliary entropy tv "
    "sparsity cov covariance decorrelation commit commitment consistency smoothness orthogonality router z prior vq "
    "codebook quantization"
)
"""Words of terms that hold a network back and may stay where they are, or rise: none of them is the whole loss."""
_TELLS_ADVERSARIAL = _words("generator discriminator gan adversarial critic")


@dataclass(frozen=True)
class Role:
    """``metric`` and ``phase`` are None where the tag names none.

    ``term`` is not empty where the tag is one term of a loss ("kl", "box") or is named after its
    function only ("mse").
    """

    metric: Metric | None
    phase: Phase | None
    term: str = ""


def role(tag: str, run: str = "") -> Role:
    """The role of ``tag``; the last directory of ``run`` may tell more.

    ``add_scalars("loss", {"kl": ...})`` writes the tag ``loss`` into a run ``loss_kl``: there it is ``loss/kl``. Where
    no phase is named, that directory may (Keras' ``train``).
    """
    directory = run.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    line = directory.removeprefix(f"{tag.replace('/', '_')}_")
    found = _role(tag if line == directory else f"{tag}/{line}")
    if found.phase is None and directory:
        return Role(found.metric, _directory_phase(directory), found.term)
    return found


def role_in(run: Run, tag: str) -> Role:
    """The role of a tag of ``run``, under the name that the user's tuning gives it, if it does."""
    for pattern, name in run.names.items():
        if tag == pattern or fnmatchcase(tag, pattern):
            return role(name) if name else Role(None, None)
    return role(tag, run.name)


@once
def main_loss(run: Run, phase: Phase) -> tuple[str, Series] | None:
    """The scalar that is the loss of the whole model in ``phase``, the one with the most points.

    A loss that names no phase counts as training's. A term of a loss is taken only where it is
    the only loss logged, and no regularizer; of several measures of one error, the likeliest loss.
    """
    losses = [
        (tag, series, found)
        for tag, series in run.scalars.items()
        if len(series) and (found := role_in(run, tag)).metric == "loss"
    ]
    fitting = [
        entry for entry in losses if entry[2].phase == phase or (phase == "train" and entry[2].phase is None)
    ]  # fmt: skip
    whole = [entry for entry in fitting if not entry[2].term]
    alone = len(fitting) == 1 and not set(fitting[0][2].term.split("-")) & REGULARIZERS
    chosen = whole or (fitting if alone else _likeliest_error(fitting))
    if not chosen:
        return None
    tag, series, _ = max(chosen, key=lambda e: (len(e[1]), e[2].phase == phase, "test" not in parts(e[0]), -len(e[0])))
    return tag, series


def _likeliest_error(losses: list[tuple[str, Series, Role]]) -> list[tuple[str, Series, Role]]:
    terms = {found.term for _, _, found in losses}
    likeliest = next((error for error in ERRORS if error in terms), None) if terms <= set(ERRORS) else None
    return [entry for entry in losses if entry[2].term == likeliest]


def series_of(run: Run, metric: Metric, phase: Phase | None = None) -> Iterator[tuple[str, Series]]:
    """The scalars of one metric, in the order of the log; those of one phase where it is given."""
    for tag, series in run.scalars.items():
        found = role_in(run, tag)
        if found.metric == metric and (phase is None or found.phase == phase):
            yield tag, series


@once
def preferences(run: Run) -> bool:
    """Whether rewards are answers of the model itself, learned from given pairs (Rafailov et al. 2023): of such a model
    an accuracy is logged, of a policy none.
    """
    last = (parts(tag.rpartition("/")[2]) for tag in run.scalars)
    return any(words and set(words) <= {"accuracy", "accuracies"} for words in last)


@once
def moving_target(run: Run) -> str:
    """Why the level of this run's loss says nothing about learning, or ""."""
    named = [frozenset(parts(tag)) for tag in run.scalars]
    if preferences(run):
        named = [words - REWARDS for words in named]
    if any(words & _TELLS_REINFORCEMENT or words >= {"ep", "ret"} for words in named):
        return "reinforcement learning: the loss is measured on data that the policy itself brings about"
    letters = {letter for words in named if words & {"loss", "err"} for letter in words & {"g", "d"}}
    watches = {word for watch in run.watches for word in parts(watch)}
    if (
        any(words & _TELLS_ADVERSARIAL for words in named)
        or letters == {"g", "d"}
        or watches & (_TELLS_ADVERSARIAL | _TELLS_REINFORCEMENT)
        or watches >= {"g", "d"}
    ):
        return "adversarial training: each loss is measured against an opponent that learns too"
    return ""


@lru_cache(maxsize=4096)
def _role(tag: str) -> Role:
    components = [parts(component) for component in _HYPERPARAMETER.sub("", tag).split("/")]
    words = [word for component in components for word in component]
    phase = _phase(components)
    at = max((i for i, component in enumerate(components) if any(w in _METRICS for w in component)), default=None)
    if at is None:
        functions = [word for word in words if word in _LOSS_FUNCTIONS]
        unknown = [word for word in words if word not in PHASES and word not in _PLAIN | _LOSS_FUNCTIONS]
        return Role("loss", phase, "-".join(functions)) if functions and not unknown else Role(None, phase)
    metric = [_METRICS[word] for word in components[at] if word in _METRICS][-1]
    if metric != "loss":
        return Role(metric, phase)
    if set(words) & (_NOT_THE_LOSS_ITSELF | _REINFORCEMENT | _ADVERSARIAL):
        return Role(None, phase)
    known_from = min(i for i, component in enumerate(components) if set(component) & (_METRICS.keys() | PHASES.keys()))
    known = _METRICS.keys() | PHASES.keys() | _PLAIN | _LOSS_FUNCTIONS
    term = [word for component in components[known_from:] for word in component if word not in known]
    return Role("loss", phase, "-".join(term))


def _phase(components: list[tuple[str, ...]]) -> Phase | None:
    """The phase named nearest to the end; ``train_eval`` is an evaluation on training data."""
    for component in reversed(components):
        named = [word for word in component if word in PHASES]
        if named:
            evaluated = set(named[1:]) & {"eval", "evaluation"}
            return "train" if PHASES[named[0]] == "train" and evaluated else PHASES[named[-1]]
    return None


def _directory_phase(directory: str) -> Phase | None:
    """``train``, ``validation``, ``val_loss``. A run named ``test`` is only a trial."""
    words = parts(directory)
    if not words or words == ("test",) or any(w not in PHASES and w not in _METRICS for w in words):
        return None
    return _phase([words])
