"""Names that every part of the package agrees on: plugin, tags, kinds, statistics, bins.

Nothing here does any work; it imports nothing but the standard library, so that
every room of the house may import it.
"""

from __future__ import annotations

from typing import Final

PLUGIN_NAME: Final = "nnhealth"
FORMAT_VERSION: Final = 1
"""Version of the record format; a reader refuses a greater one by name (docs/format.md)."""

TAG_PREFIX: Final = "nnhealth/"
CAPTURE_TAG: Final = "nnhealth/capture"
FINDINGS_TAG: Final = "nnhealth/findings"
PREFLIGHT_TAG: Final = "nnhealth/preflight"
OPEN_FINDINGS_TAG: Final = "nnhealth/open_findings"
OPEN_SEVERITIES: Final = ("critical", "warning")
DEFAULT_WATCH: Final = "model"
"""Name of the watch when the user gives none; its subjects carry no prefix."""

LEVEL_FACTOR: Final = 16
"""Records of one level that one record of the next coarser level stands for."""
LEVELS: Final = 4
"""Levels written: 0 (every record) and three coarser ones, up to 16**3 records in one."""
LEVEL_PLANES: Final = ("min", "max", "mean")
"""Planes of a coarser record, shape (3, rows, columns)."""

# What a row of a record describes.
WEIGHT: Final = "weight"  # a parameter before the step
GRADIENT: Final = "gradient"  # the gradient the optimizer applies (after clipping, unscaled)
UNCLIPPED: Final = "unclipped_gradient"  # the gradient where observe(unclipped=True) was called, before clipping
UPDATE: Final = "update"  # weight after the step minus weight before
ACTIVATION: Final = "activation"  # a leaf module's output, all calls of the step
ACTIVATION_GRADIENT: Final = "activation_gradient"  # gradient of the loss by that output
INPUT: Final = "input"  # the model's input tensors
PREDICTION: Final = "prediction"  # the criterion's first argument
TARGET: Final = "target"  # the criterion's second argument
LOSS: Final = "loss"  # the criterion's value
LEARNING_RATE: Final = "learning_rate"  # one row per optimizer group
MODE: Final = "mode"  # 1 while a mode-dependent module trains in train mode, 0 in eval mode
EVALUATION: Final = "evaluation"  # forwards without gradients since the last record, and those with them
EVALUATION_INPUT: Final = "evaluation_input"  # input of the first forward without gradients since the last record
EVALUATION_MASK: Final = "evaluation_mask"  # share of a layer's input set to zero at random in evaluation mode
SPREAD: Final = "spread"  # per tensor of the batch: standard deviation over samples, rms over positions
PLACES: Final = "places"  # mean entropy of a binary target's mean at each place, in nats
LOG_PROBABILITY: Final = "log_probability"  # share of samples whose prediction is a vector of log-probabilities
LABELS: Final = "labels"  # class indices of the batch: "samples", "distinct" classes, share of the "majority" class
CLASS: Final = "class"  # share of one class, named by its index, among the batch's labels
REPEATED: Final = "repeated"  # mean: 1 where the batch equals one of the last BATCHES_REMEMBERED; max: steps back to it
SEEN: Final = "seen"  # mean: share of the batch's samples among those marked in earlier batches; max: samples marked
NOISE_SCALE: Final = "noise_scale"  # samples at which a layer's gradient noise equals its gradient
SMOOTHNESS: Final = "smoothness"  # spatial autocorrelation of a convolution's filters at a distance of one pixel
PROBE: Final = "probe"  # change of the predictions on a fixed batch, relative to their spread
LOSS_SCALE: Final = "loss_scale"  # of a gradient scaler
CARRIED: Final = "carried"  # 1 where gradients were not cleared since the last step, else 0
STRAY: Final = "stray"  # tensor the forward pass learns with, no parameter: mean 1 while unchanged; max 1: made anew
RANK_WEIGHTS: Final = "rank_weights"  # mean: share of parameters unlike rank 0's; min: index of the first of them
RANK_BATCH: Final = "rank_batch"  # 1 where the rank's inputs equal rank 0's
RANK_LOSS: Final = "rank_loss"  # loss of the rank
ATTENTION: Final = "attention"  # per head: mean entropy of the weights over log(keys) in MEAN, largest logit in MAX
STEPPED_TWICE: Final = "stepped_twice"  # 1 where two optimizers stepped a parameter on one gradient, 0 on two
COMPARED: Final = "compared"  # elements of the "output" and of the "difference" that a loss function takes of it
TOKENS: Final = "tokens"  # shares of the tokens asked for: "same" as given there, given "next"; their "entropy"
OUTPUT: Final = "output"  # what the model returns in training, where no criterion is known: "" the first, then by place
OPERAND: Final = "operand"  # 1 for a loss function and what it is given where that is wrong: "nll_loss<softmax"
DROPPING: Final = "dropping"  # 1 for a dropout at work in a training forward that has gradients off around it
COMPARED_SUBJECTS: Final = ("output", "difference", "product")
MIXED: Final = "mixed"  # elements of a tensor of the model "before" and "after" a view that mixes its samples
MIXED_SUBJECTS: Final = ("before", "after")
RANK_SECONDS: Final = "rank_seconds"  # from the end of a step to the next backward pass: the rank's own time
KINDS: Final = (
    WEIGHT, GRADIENT, UPDATE, ACTIVATION, ACTIVATION_GRADIENT, INPUT, PREDICTION,
    TARGET, LOSS, LEARNING_RATE, MODE, EVALUATION, EVALUATION_INPUT, SPREAD, LOG_PROBABILITY, LABELS, CLASS,
    REPEATED, SEEN, NOISE_SCALE, SMOOTHNESS, PROBE, LOSS_SCALE, CARRIED,
    RANK_WEIGHTS, RANK_BATCH, RANK_LOSS, RANK_SECONDS, UNCLIPPED, ATTENTION, STRAY, COMPARED, TOKENS, OUTPUT,
    EVALUATION_MASK, STEPPED_TWICE, OPERAND, DROPPING, MIXED, PLACES,
)  # fmt: skip
PARAMETER_KINDS: Final = (WEIGHT, GRADIENT, UPDATE)
MODULE_KINDS: Final = (ACTIVATION, ACTIVATION_GRADIENT)

# Columns of a record, float32 each; NaN means "not measured". Statistics of a tensor are
# taken over its finite elements; population variance; a scalar is a tensor of one element.
MEAN: Final = "mean"
STD: Final = "std"
RMS: Final = "rms"  # L2 norm is rms * sqrt(numel), which float32 could not always hold
MIN: Final = "min"
MAX: Final = "max"
ZERO_SHARE: Final = "zero_share"  # share of elements that are exactly zero
NAN_COUNT: Final = "nan_count"
INF_COUNT: Final = "inf_count"
SILENT_SHARE: Final = "silent_share"  # share of units silent in each of the last SILENCE_WINDOW measured steps
SATURATED_SHARE: Final = "saturated_share"  # share of elements in the flat part of tanh, sigmoid, softmax
COPIED_SHARE: Final = "copied_share"  # share of a weight's units that are exact copies of an earlier unit
PROBABILITY_SHARE: Final = "probability_share"  # share of samples that are probability vectors over classes
STATISTICS: Final = (
    MEAN, STD, RMS, MIN, MAX, ZERO_SHARE, NAN_COUNT, INF_COUNT,
    SILENT_SHARE, SATURATED_SHARE, COPIED_SHARE, PROBABILITY_SHARE,
)  # fmt: skip
HEAD_SEPARATOR: Final = ":"
"""Between module and head in the subject of an ATTENTION row."""
SILENCE_WINDOW: Final = 10
BATCHES_REMEMBERED: Final = 8
CLASSES_TOLD: Final = 64
"""Classes up to which each has a row of its own."""
SAMPLES_MARKED: Final = 1024
"""Distinct samples that are remembered, so that later batches tell how large the data set is."""

# Histograms: counts of elements by floor(log2 |x|), clipped to the range, int32 per bin.
EXPONENT_LOW: Final = -40
EXPONENT_HIGH: Final = 23
EXPONENT_BINS: Final = EXPONENT_HIGH - EXPONENT_LOW + 1
HISTOGRAM_BINS: Final = EXPONENT_BINS + 2
"""First bin: exact zeros; then the exponents from EXPONENT_LOW to EXPONENT_HIGH; last bin: NaN and Inf."""


def stats_tag(watch: str, level: int = 0) -> str:
    return f"{TAG_PREFIX}{watch}/stats/{level}"


def layout_tag(watch: str) -> str:
    return f"{TAG_PREFIX}{watch}/layout"


def open_findings_tag(severity: str) -> str:
    """An ordinary scalar, for TensorBoard's own tabs; no reader of ours takes it for one of the user's."""
    return f"{OPEN_FINDINGS_TAG}/{severity}"


def is_users_scalar(tag: str) -> bool:
    return not tag.startswith(f"{OPEN_FINDINGS_TAG}/")


def histograms_tag(watch: str) -> str:
    return f"{TAG_PREFIX}{watch}/histograms"


def filters_tag(watch: str) -> str:
    return f"{TAG_PREFIX}{watch}/filters"
