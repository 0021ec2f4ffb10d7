"""Autoencoders and adversarial networks."""

from __future__ import annotations

from functools import partial

from torch import nn

from tests.zoo.builders.family import Family
from tests.zoo.builders.feedforward import mlp
from tests.zoo.builders.generative import (
    ConvolutionalAutoencoder,
    EvidenceBound,
    Tied,
    Variational,
    adversarial,
    image_reconstruction,
    variational,
)
from tests.zoo.builders.recipe import Recipe
from tests.zoo.builders.tasks import reconstruction
from tests.zoo.registry import healthy

plain = Family("autoencoder", lambda: mlp(64, 48, 12, 48, 64), reconstruction, Recipe(steps=300))
plain.specimen("bottleneck")
plain.specimen("tanh-momentum", lambda: mlp(64, 24, 64, activation=nn.Tanh), optimizer="momentum", lr=0.5)
plain.specimen("denoising", jitter=0.5, logs="tens")
plain.specimen("convolutional", ConvolutionalAutoencoder, task=image_reconstruction, lr=3e-3)
plain.specimen("tied", Tied, optimizer="rmsprop", lr=1e-3)
plain.specimen("deep-layer-norm", lambda: mlp(64, 48, 32, 8, 32, 48, 64, norm=nn.LayerNorm), optimizer="adamw", lr=3e-3)
plain.specimen("observed-trainer", told="observed", logs="trainer", schedule="cosine", lr=3e-3)
plain.specimen("linear-full-batch", lambda: mlp(64, 16, 64, activation=nn.Identity), batch=0, lr=1e-2, steps=200)

coded = Family("variational", Variational, variational, Recipe(steps=350, told="nothing", logs="validated"))
coded.specimen("summed")
coded.specimen("averaged", task=partial(variational, partial(EvidenceBound, summed=False)), lr=2e-3)
coded.specimen(
    "binary",
    lambda: Variational(sigmoid=True),
    task=partial(variational, partial(EvidenceBound, binary=True), binary=True),
)
coded.specimen(
    "weak-prior",
    lambda: Variational(8),
    task=partial(variational, partial(EvidenceBound, weight=0.2)),
    told="criterion",
)
coded.specimen("clipped-warm-up", clip=5.0, schedule="warm-up", optimizer="adamw")

healthy("adversarial", "adversarial-logistic", adversarial)
healthy("adversarial", "adversarial-squares", partial(adversarial, loss="squares"))
healthy("adversarial", "adversarial-hinge-spectral", partial(adversarial, loss="hinge", lr=1e-3))
healthy("adversarial", "adversarial-two-critic-steps", partial(adversarial, steps_of_critic=2, steps=200))
healthy("adversarial", "adversarial-clipped", partial(adversarial, loss="difference", clip=0.05, steps_of_critic=3))
