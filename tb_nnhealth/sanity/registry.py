"""Every check, in the order in which they run: what takes a moment first, trainings last."""

from __future__ import annotations

from tb_nnhealth.sanity import (
    baselines,
    chance_loss,
    dependence,
    gradient_check,
    normalization,
    overfit,
    reach,
    regularization,
    relation,
)
from tb_nnhealth.sanity.base import Check

CHECKS: tuple[Check, ...] = (
    reach.FINITE,
    normalization.CHECK,
    chance_loss.CHECK,
    reach.REACHED,
    dependence.LEAK,
    dependence.CAUSALITY,
    gradient_check.CHECK,
    overfit.CHECK,
    baselines.CHECK,
    regularization.CHECK,
    relation.SHUFFLED,
    relation.RANDOM,
)

SOURCES = (
    "CS231n: [sanity checks and gradient checks](https://cs231n.github.io/neural-networks-3/), "
    "[data preprocessing](https://cs231n.github.io/neural-networks-2/#datapre)",
    "Karpathy: [A recipe for training neural networks](https://karpathy.github.io/2019/04/25/recipe/)",
    "37 reasons: [37 reasons why your neural network is not working]"
    "(https://blog.slavv.com/37-reasons-why-your-neural-network-is-not-working-4020854bd607); numbers are its items",
    "Zhang et al.: [Understanding deep learning requires rethinking generalization](https://arxiv.org/abs/1611.03530)",
    "LeCun et al.: [Efficient BackProp](http://yann.lecun.com/exdb/publis/pdf/lecun-98b.pdf)",
)
"""What the pages name under *Sources*, as markdown."""
