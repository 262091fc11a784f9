"""Predictions of made-up people, for what comes after a network."""

from __future__ import annotations

import numpy as np

from hgrt.evaluation.predict import Predictions


def predictions(count: int, seed: int = 0, name: str = "made/val", labelled: bool = True) -> Predictions:
    """So many people of 100 pixels, some joints unlabelled or hidden, found with errors of about half a head."""
    rng = np.random.default_rng([seed, count])
    truth = rng.uniform(20, 120, (count, 16, 2))
    known = (rng.random((count, 16)) < 0.9) & labelled
    return Predictions(
        set=name,
        names=tuple(f"{seed}-{k}.jpg" for k in range(count)),
        rows=np.arange(count),
        xy=truth + rng.normal(0, 6, truth.shape),
        score=rng.random((count, 16)),
        truth=truth,
        labelled=known,
        visible=known & (rng.random((count, 16)) < 0.8),
        evaluate=known,
        normalize=rng.uniform(10, 20, count),
        boxes=np.column_stack([np.full((count, 2), 70.0), rng.uniform(120, 150, count)]),
    )
