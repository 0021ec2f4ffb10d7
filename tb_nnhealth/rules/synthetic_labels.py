"""Class labels for synthetic runs: counts of the classes in each batch, and the rows that tell of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tb_nnhealth import schema
from tb_nnhealth.rules.synthetic import Network


def sampled(shares: ArrayLike, samples: int = 32, seed: int = 0) -> NDArray[np.float64]:
    """Counts of the classes in batches drawn from the ``shares`` of each record, shape (records, classes)."""
    rng = np.random.default_rng(seed)
    return np.array([rng.multinomial(samples, row / row.sum()) for row in np.asarray(shares)], np.float64)


def add_labels(network: Network, counts: NDArray[np.float64]) -> Network:
    """Gives the batches of ``network`` labels: ``counts`` of each class, shape (records, classes)."""
    samples = counts.sum(axis=1)
    shares = counts / samples[:, None]
    network.add_row(schema.LABELS, "samples", mean=samples)
    network.add_row(schema.LABELS, "distinct", mean=np.asarray((counts > 0).sum(axis=1), np.float64))
    network.add_row(schema.LABELS, "majority", mean=shares.max(axis=1))
    for index in range(counts.shape[1]):
        network.add_row(schema.CLASS, str(index), mean=shares[:, index])
    indices = np.arange(counts.shape[1])
    mean = (shares * indices).sum(axis=1)
    std = np.sqrt((shares * (indices - mean[:, None]) ** 2).sum(axis=1))
    return network.set(schema.TARGET, "", mean=mean, std=std)
