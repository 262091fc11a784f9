"""How far the answers of a runtime lie from the reference's, person by person on the same crops.

Looks at predictions only. What may be demanded of them is the business of `verdict`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hgrt.bench.results import Agreement, Interval
from hgrt.evaluation.predict import Predictions
from hgrt.evaluation.report import SEED, pooled
from hgrt.model.spec import ModelSpec
from hgrt.pose.geometry import Array
from hgrt.pose.pckh import bootstrap, hits, in_total
from hgrt.pose.skeleton import MPII

PROTOCOL = "standard"


def shifts(reference: Predictions, found: Predictions, size: float) -> Array:
    """How far each joint moved, x and y, (N, 16, 2) in crop pixels, of which a person's box has `size`.

    Infinite where a place is not a number; zero where neither sees the joint (score 0), since then it has no place.
    """
    moved = (found.xy - reference.xy) * (size / reference.boxes[:, 2])[:, None, None]
    moved = np.where(np.isfinite(moved), moved, np.inf)
    unseen = (reference.score <= 0) & (found.score <= 0)
    return np.where(unseen[..., None], 0.0, moved)


def agreement(reference: Sequence[Predictions], found: Sequence[Predictions], spec: ModelSpec) -> Agreement:
    """Compare what two runtimes found in the same sets, finite numbers all.

    ValueError where these are not the same people.
    """
    if [one.names for one in reference] != [one.names for one in found]:
        raise ValueError("the answers are of different people")
    there, here = pooled(reference), pooled(found)
    moved = shifts(there, here, spec.input / spec.crop)
    seen = (there.score > 0) | (here.score > 0)
    apart = np.linalg.norm(moved, axis=-1)
    flipped = seen & (apart > spec.input / spec.heatmap)
    near = seen & ~flipped
    scores = (here.score - there.score)[near]
    p50, p99 = np.percentile(apart[seen], (50, 99)) if seen.any() else (0.0, 0.0)
    tallies = _tallies(there, here)
    counts = there.evaluate & in_total(PROTOCOL)
    counted = int(counts.sum())
    return Agreement(
        people=len(there),
        joints=int(seen.sum()),
        shift_p50=float(p50),
        shift_p99=float(p99),
        shift_max=float(apart[seen].max(initial=0.0)),
        bias=_bias(moved[near]),
        flipped=int(flipped.sum()),
        noise=float(np.sqrt(np.mean(scores**2))) if scores.size else 0.0,
        protocol=PROTOCOL,
        pckh=100 * int((tallies[0] & counts).sum()) / counted if counted else None,
        pckh_reference=100 * int((tallies[1] & counts).sum()) / counted if counted else None,
        drop=_drop(tallies[1] & counts, tallies[0] & counts, counts) if counted else None,
        by_joint={
            name: tuple(int(each[:, j].sum()) for each in (*tallies, there.evaluate))  # type: ignore[misc]
            for j, name in enumerate(MPII.joints)
        },
    )


def first_people(found: Predictions, people: int) -> Predictions:
    """The predictions of the first `people` of a set."""
    return found.only(found.rows < people)


def _bias(moved: Array) -> tuple[float, float]:
    return (float(np.median(moved[:, 0])), float(np.median(moved[:, 1]))) if len(moved) else (0.0, 0.0)


def _tallies(there: Predictions, here: Predictions) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The joints (N, 16) that count and that are found: here, and by the reference."""
    truth = (there.truth, there.normalize, there.evaluate, PROTOCOL)
    return hits(here.xy, *truth), hits(there.xy, *truth)


def _drop(before: NDArray[np.bool_], after: NDArray[np.bool_], counts: NDArray[np.bool_]) -> Interval:
    """Points lost; people are drawn again, each with both of their answers, so that what both get wrong cancels."""
    lost, count = before.sum(axis=1).astype(int) - after.sum(axis=1), counts.sum(axis=1)
    low, high = bootstrap(lost, count, np.random.default_rng(SEED))
    return Interval(100 * float(lost.sum()) / int(count.sum()), 100 * low, 100 * high)
