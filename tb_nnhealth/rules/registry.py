"""Every rule, in the order of the catalogue. To add a rule: write its file, add its line here."""

from __future__ import annotations

from tb_nnhealth.rules.activations.activation_mean_shift import RULE as ACTIVATION_MEAN_SHIFT
from tb_nnhealth.rules.activations.constant_output import RULE as CONSTANT_OUTPUT
from tb_nnhealth.rules.activations.dead_units import RULE as DEAD_UNITS
from tb_nnhealth.rules.activations.exploding_activations import RULE as EXPLODING_ACTIVATIONS
from tb_nnhealth.rules.activations.saturated_units import RULE as SATURATED_UNITS
from tb_nnhealth.rules.activations.vanishing_activations import RULE as VANISHING_ACTIVATIONS
from tb_nnhealth.rules.base import Rule
from tb_nnhealth.rules.data.class_imbalance import RULE as CLASS_IMBALANCE
from tb_nnhealth.rules.data.constant_input import RULE as CONSTANT_INPUT
from tb_nnhealth.rules.data.input_range_mismatch import RULE as INPUT_RANGE_MISMATCH
from tb_nnhealth.rules.data.large_batch import RULE as LARGE_BATCH
from tb_nnhealth.rules.data.repeated_batch import RULE as REPEATED_BATCH
from tb_nnhealth.rules.data.single_class_batches import RULE as SINGLE_CLASS_BATCHES
from tb_nnhealth.rules.data.too_few_samples import RULE as TOO_FEW_SAMPLES
from tb_nnhealth.rules.data.unnormalized_input import RULE as UNNORMALIZED_INPUT
from tb_nnhealth.rules.data.unshuffled_data import RULE as UNSHUFFLED_DATA
from tb_nnhealth.rules.distributed.rank_desync import RULE as RANK_DESYNC
from tb_nnhealth.rules.distributed.straggler import RULE as STRAGGLER
from tb_nnhealth.rules.gradients.exploding_gradients import RULE as EXPLODING_GRADIENTS
from tb_nnhealth.rules.gradients.gradient_spike import RULE as GRADIENT_SPIKE
from tb_nnhealth.rules.gradients.no_gradient import RULE as NO_GRADIENT
from tb_nnhealth.rules.gradients.stale_gradients import RULE as STALE_GRADIENTS
from tb_nnhealth.rules.gradients.vanishing_gradients import RULE as VANISHING_GRADIENTS
from tb_nnhealth.rules.loss.early_lr_decay import RULE as EARLY_LR_DECAY
from tb_nnhealth.rules.loss.initial_loss_off import RULE as INITIAL_LOSS_OFF
from tb_nnhealth.rules.loss.learning_rate_too_high import RULE as LEARNING_RATE_TOO_HIGH
from tb_nnhealth.rules.loss.learning_rate_too_low import RULE as LEARNING_RATE_TOO_LOW
from tb_nnhealth.rules.loss.loss_diverging import RULE as LOSS_DIVERGING
from tb_nnhealth.rules.loss.loss_not_decreasing import RULE as LOSS_NOT_DECREASING
from tb_nnhealth.rules.loss.loss_oscillating import RULE as LOSS_OSCILLATING
from tb_nnhealth.rules.loss.loss_spike import RULE as LOSS_SPIKE
from tb_nnhealth.rules.loss.loss_term_imbalance import RULE as LOSS_TERM_IMBALANCE
from tb_nnhealth.rules.loss.over_regularized import RULE as OVER_REGULARIZED
from tb_nnhealth.rules.loss.overfitting import RULE as OVERFITTING
from tb_nnhealth.rules.loss.prediction_jitter import RULE as PREDICTION_JITTER
from tb_nnhealth.rules.loss.slow_start import RULE as SLOW_START
from tb_nnhealth.rules.loss.still_improving import RULE as STILL_IMPROVING
from tb_nnhealth.rules.loss.underfitting import RULE as UNDERFITTING
from tb_nnhealth.rules.numerics.loss_scale_collapse import RULE as LOSS_SCALE_COLLAPSE
from tb_nnhealth.rules.numerics.low_precision_range import RULE as LOW_PRECISION_RANGE
from tb_nnhealth.rules.numerics.non_finite import RULE as NON_FINITE
from tb_nnhealth.rules.setup.nll_without_log_softmax import RULE as NLL_WITHOUT_LOG_SOFTMAX
from tb_nnhealth.rules.setup.softmax_before_cross_entropy import RULE as SOFTMAX_BEFORE_CROSS_ENTROPY
from tb_nnhealth.rules.setup.target_broadcast import RULE as TARGET_BROADCAST
from tb_nnhealth.rules.setup.wrong_mode import RULE as WRONG_MODE
from tb_nnhealth.rules.shim_error import RULE as SHIM_ERROR
from tb_nnhealth.rules.updates.frozen_parameters import RULE as FROZEN_PARAMETERS
from tb_nnhealth.rules.updates.optimizer_misses_parameters import RULE as OPTIMIZER_MISSES_PARAMETERS
from tb_nnhealth.rules.updates.update_ratio_too_high import RULE as UPDATE_RATIO_TOO_HIGH
from tb_nnhealth.rules.updates.update_ratio_too_low import RULE as UPDATE_RATIO_TOO_LOW
from tb_nnhealth.rules.weights.diverging_bias import RULE as DIVERGING_BIAS
from tb_nnhealth.rules.weights.diverging_weights import RULE as DIVERGING_WEIGHTS
from tb_nnhealth.rules.weights.noisy_first_layer import RULE as NOISY_FIRST_LAYER
from tb_nnhealth.rules.weights.non_gaussian_weights import RULE as NON_GAUSSIAN_WEIGHTS
from tb_nnhealth.rules.weights.poor_init_scale import RULE as POOR_INIT_SCALE
from tb_nnhealth.rules.weights.symmetric_units import RULE as SYMMETRIC_UNITS

RULES: tuple[Rule, ...] = (
    VANISHING_GRADIENTS,
    EXPLODING_GRADIENTS,
    GRADIENT_SPIKE,
    NO_GRADIENT,
    STALE_GRADIENTS,
    UPDATE_RATIO_TOO_HIGH,
    UPDATE_RATIO_TOO_LOW,
    FROZEN_PARAMETERS,
    OPTIMIZER_MISSES_PARAMETERS,
    DEAD_UNITS,
    SATURATED_UNITS,
    VANISHING_ACTIVATIONS,
    EXPLODING_ACTIVATIONS,
    ACTIVATION_MEAN_SHIFT,
    CONSTANT_OUTPUT,
    SYMMETRIC_UNITS,
    POOR_INIT_SCALE,
    DIVERGING_WEIGHTS,
    DIVERGING_BIAS,
    NON_GAUSSIAN_WEIGHTS,
    NOISY_FIRST_LAYER,
    NON_FINITE,
    LOW_PRECISION_RANGE,
    LOSS_SCALE_COLLAPSE,
    INITIAL_LOSS_OFF,
    LOSS_NOT_DECREASING,
    LOSS_DIVERGING,
    LOSS_SPIKE,
    LOSS_OSCILLATING,
    SLOW_START,
    EARLY_LR_DECAY,
    LEARNING_RATE_TOO_HIGH,
    LEARNING_RATE_TOO_LOW,
    OVERFITTING,
    UNDERFITTING,
    OVER_REGULARIZED,
    LOSS_TERM_IMBALANCE,
    PREDICTION_JITTER,
    STILL_IMPROVING,
    CONSTANT_INPUT,
    REPEATED_BATCH,
    UNNORMALIZED_INPUT,
    INPUT_RANGE_MISMATCH,
    SINGLE_CLASS_BATCHES,
    UNSHUFFLED_DATA,
    CLASS_IMBALANCE,
    TOO_FEW_SAMPLES,
    LARGE_BATCH,
    SOFTMAX_BEFORE_CROSS_ENTROPY,
    NLL_WITHOUT_LOG_SOFTMAX,
    TARGET_BROADCAST,
    WRONG_MODE,
    RANK_DESYNC,
    STRAGGLER,
    SHIM_ERROR,
)

BY_ID = {rule.id: rule for rule in RULES}
