"""Every rule, in the order of the catalogue. To add a rule: write its file, add its line here."""

from __future__ import annotations

from tb_nnhealth.rules.base import Rule
from tb_nnhealth.rules.dead_units import RULE as DEAD_UNITS
from tb_nnhealth.rules.initial_loss_off import RULE as INITIAL_LOSS_OFF
from tb_nnhealth.rules.loss_diverging import RULE as LOSS_DIVERGING
from tb_nnhealth.rules.loss_not_decreasing import RULE as LOSS_NOT_DECREASING
from tb_nnhealth.rules.non_finite import RULE as NON_FINITE
from tb_nnhealth.rules.overfitting import RULE as OVERFITTING
from tb_nnhealth.rules.saturated_units import RULE as SATURATED_UNITS
from tb_nnhealth.rules.shim_error import RULE as SHIM_ERROR
from tb_nnhealth.rules.softmax_before_cross_entropy import RULE as SOFTMAX_BEFORE_CROSS_ENTROPY
from tb_nnhealth.rules.unnormalized_input import RULE as UNNORMALIZED_INPUT
from tb_nnhealth.rules.wrong_mode import RULE as WRONG_MODE

RULES: tuple[Rule, ...] = (
    DEAD_UNITS,
    SATURATED_UNITS,
    NON_FINITE,
    INITIAL_LOSS_OFF,
    LOSS_NOT_DECREASING,
    LOSS_DIVERGING,
    OVERFITTING,
    UNNORMALIZED_INPUT,
    SOFTMAX_BEFORE_CROSS_ENTROPY,
    WRONG_MODE,
    SHIM_ERROR,
)

BY_ID = {rule.id: rule for rule in RULES}
