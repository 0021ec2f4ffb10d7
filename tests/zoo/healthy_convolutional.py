"""Convolutional networks, plain and residual, on images of digits."""

from __future__ import annotations

from torch import nn

from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import batch_norm, cnn, group_norm, he, resnet
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import images

plain = Family("cnn", lambda: cnn(12, 24, pooled=False), images, Recipe(steps=180, lr=3e-3))
plain.specimen("adam")
plain.specimen("momentum", optimizer="momentum", lr=0.02)
plain.specimen("kaiming-sgd-cosine", lambda: he(cnn(12, 24, pooled=False)), optimizer="sgd", lr=0.1, schedule="cosine")
plain.specimen("three-layers", lambda: he(cnn(12, 16, 24, pooled=False)), optimizer="adamw", logs="epochs")
plain.specimen("dropout", lambda: cnn(12, 24, pooled=False, dropout=0.4), optimizer="rmsprop", lr=1e-3)
plain.specimen("jittered", jitter=0.3, optimizer="adamw", weight_decay=0.1)
plain.specimen("small-batches", batch=8, lr=1e-3, steps=400, logs="tens")
plain.specimen("large-batches", batch=512, lr=5e-3, logs="steps")
plain.specimen("easy-first", order="easy first", told="observed")
plain.specimen("averaged", ema=0.95, schedule="stable then decay")
plain.specimen("gelu-accumulated", lambda: cnn(12, 24, pooled=False, activation=nn.GELU), accumulate=4, batch=16)

normalized = Family("cnn-normalized", lambda: cnn(12, 24, 24, norm=batch_norm), images, Recipe(steps=180, lr=5e-3))
normalized.specimen("batch-norm")
normalized.specimen("group-norm", lambda: cnn(12, 24, 24, norm=group_norm), good=0.9)
normalized.specimen("group-norm-batch-of-two", lambda: cnn(12, 24, 24, norm=group_norm), batch=2, steps=500, good=0.7)
normalized.specimen("one-cycle", optimizer="nesterov", lr=0.3, schedule="one-cycle", weight_decay=5e-4)
normalized.specimen("sgd-fused-steps", optimizer="sgd-fused", lr=0.1, schedule="steps")
normalized.specimen("bfloat16", precision="bfloat16", logs="steps", steps=150)
normalized.specimen("float16-scaled", precision="float16", clip=1.0, steps=120)
normalized.specimen("smoothed-labels", label_smoothing=0.1, optimizer="adamw")
normalized.specimen("adadelta", optimizer="adadelta", lr=1.0, told="nothing")
normalized.specimen("loader-trainer-logs", order="loader", logs="trainer", schedule="linear to zero", batch=32)

residual = Family("resnet", lambda: resnet(12, 12, 24), images, Recipe(steps=150, lr=3e-3))
residual.specimen("adam")
residual.specimen("momentum-cosine", optimizer="momentum", lr=0.1, schedule="cosine", weight_decay=5e-4)
residual.specimen(
    "zero-gamma", lambda: resnet(12, 12, 24, zero=True), optimizer="nesterov", lr=0.05, schedule="warm-up"
)
residual.specimen("group-norm", lambda: resnet(12, 12, 24, norm=group_norm), optimizer="adamw")
residual.specimen("skip-init", lambda: resnet(12, 12, 24, norm=None), lr=4e-3, clip=1.0)
residual.specimen("three-blocks-foreach", lambda: resnet(8, 8, 16, 24), optimizer="sgd-foreach", lr=0.05, logs="epochs")
residual.specimen("averaged-smoothed", ema=0.9, label_smoothing=0.1, told="observed")
residual.specimen("float64-restarts", precision="float64", schedule="restarts", steps=120)
