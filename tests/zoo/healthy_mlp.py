"""Fully connected networks on digits."""

from __future__ import annotations

import torch
from torch import nn

from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import Functional, he, mlp, residual_mlp, small_head, xavier
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import noisy_labels, rare_digit, vectors

shallow = Family("mlp", lambda: mlp(64, 64, 10), vectors)
shallow.specimen("adam")
shallow.specimen("adam-foreach", optimizer="adam-foreach", logs="steps")
shallow.specimen("amsgrad", optimizer="amsgrad", lr=3e-3)
shallow.specimen("adamw-fused", optimizer="adamw-fused", schedule="cosine", lr=3e-3)
shallow.specimen("plain-sgd", optimizer="sgd", lr=0.2, steps=300)
shallow.specimen("nesterov-one-cycle", optimizer="nesterov", lr=0.2, schedule="one-cycle")
shallow.specimen("rmsprop-step-schedule", optimizer="rmsprop", lr=1e-3, schedule="steps", steps=300)
shallow.specimen("adagrad", optimizer="adagrad", lr=0.02)
shallow.specimen("nadam-restarts", optimizer="nadam", schedule="restarts", steps=400)
shallow.specimen("lbfgs-on-everything", optimizer="lbfgs", lr=1.0, batch=0, steps=12, weight_decay=1e-3, logs="steps")
shallow.specimen("whole-data-in-every-batch", batch=0, lr=5e-3, steps=150)
shallow.specimen("one-sample-at-a-time", batch=1, lr=3e-4, steps=900, logs="tens", good=0.8)
shallow.specimen("batches-of-four", batch=4, lr=1e-3, steps=500, logs="tens")
shallow.specimen("float64", precision="float64")
shallow.specimen("nothing-logged", logs="nothing")
shallow.specimen("observed", told="observed")
shallow.specimen("loss-unknown", told="nothing", logs="tens")
shallow.specimen("small-head", lambda: small_head(mlp(64, 64, 10)))
shallow.specimen("wide", lambda: mlp(64, 512, 10), lr=5e-4)
shallow.specimen("linear", lambda: mlp(64, 10), lr=1e-2)
shallow.specimen("rare-class", task=rare_digit)
shallow.specimen("noisy-labels-smoothed", task=noisy_labels, label_smoothing=0.1, steps=180)
shallow.specimen("long-after-convergence", lambda: mlp(64, 128, 10), steps=900, weight_decay=1e-3, optimizer="adamw")
shallow.specimen("lr-warmed-up-from-zero", optimizer="momentum", lr=0.05, schedule="warm-up from zero")

deep = Family("deep-mlp", lambda: he(mlp(64, *[64] * 8, 10)), vectors, Recipe(lr=1e-3, steps=300))
deep.specimen("kaiming-relu")
deep.specimen("xavier-tanh", lambda: xavier(mlp(64, *[64] * 8, 10, activation=nn.Tanh)), optimizer="momentum", lr=0.02)
deep.specimen("layer-norm", lambda: mlp(64, *[48] * 10, 10, norm=nn.LayerNorm), schedule="warm-up and cosine")
deep.specimen(
    "batch-norm", lambda: mlp(64, *[64] * 8, 10, norm=nn.BatchNorm1d), optimizer="momentum", lr=0.02, schedule="cosine"
)
deep.specimen("batch-norm-sigmoid", lambda: mlp(64, *[64] * 4, 10, norm=nn.BatchNorm1d, activation=nn.Sigmoid))
deep.specimen("elu-clipped", lambda: mlp(64, *[48] * 6, 10, activation=nn.ELU), clip=0.5, lr=2e-3)
deep.specimen("leaky-relu", lambda: he(mlp(64, *[64] * 6, 10, activation=nn.LeakyReLU)), optimizer="adamax")
deep.specimen("functional-relu", lambda: he(Functional(64, *[64] * 5, 10)), told="observed")
deep.specimen("functional-silu", lambda: Functional(64, *[64] * 4, 10, function=nn.functional.silu), told="nothing")
deep.specimen("functional-tanh", lambda: xavier(Functional(64, *[64] * 5, 10, function=torch.tanh)))
deep.specimen("dropout-a-half", lambda: mlp(64, 256, 256, 10, dropout=0.5), steps=400)
deep.specimen("residual", lambda: residual_mlp(12, 32), optimizer="adamw")
deep.specimen("residual-zero-weights", lambda: residual_mlp(8, zero="weights"), optimizer="adamw", lr=2e-3)
deep.specimen("residual-zero-gates", lambda: residual_mlp(8, zero="gate", norm=False), lr=2e-3)
deep.specimen("residual-checkpointed", lambda: residual_mlp(3, 32, checkpointed=True), every=1)
deep.specimen("selu", lambda: mlp(64, *[64] * 6, 10, activation=nn.SELU), optimizer="radam", lr=3e-3)
deep.specimen("mish-muon", lambda: mlp(64, *[64] * 4, 10, activation=nn.Mish), optimizer="muon", lr=0.01, steps=200)
deep.specimen("bfloat16", lambda: mlp(64, *[64] * 4, 10, norm=nn.LayerNorm), precision="bfloat16")
