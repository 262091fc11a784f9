"""How joints that are not found are wrong: taken for the other side's, a little off, or far off.

The kinds are some of those of Ronchi and Perona ("Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation",
ICCV 2017: inversion, jitter, miss), told apart in head sizes here. What can be done differs: an exchanged side may
be a wrong label, what is a little off may be another idea of the joint, and what is far off was not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hgrt.evaluation.predict import Predictions
from hgrt.pose.pckh import hits, in_total
from hgrt.pose.skeleton import FLIP

NEAR = 2
"""How many bounds from its place a joint is only a little off."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """Joints that count and are not found, by kind; each has one, the first that fits.

    other_side  found where the same person's joint of the other side is labelled
    near        within `NEAR` bounds of its place
    far         all others; also everything of people without a head size
    doubled     those of `other_side` where that joint was found at its place, too: one limb was taken for both
    """

    other_side: int
    near: int
    far: int
    doubled: int

    @property
    def count(self) -> int:
        """All of them."""
        return self.other_side + self.near + self.far


def wrong(found: Predictions, protocol: str = "standard", bound: float = 0.5) -> Wrong:
    """What is wrong with the joints that a protocol counts and PCKh at `bound` does not find."""
    everywhere = np.ones_like(found.labelled)
    right = hits(found.xy, found.truth, found.normalize, everywhere, protocol, bound)
    lost = found.evaluate & in_total(protocol) & ~right
    paired = np.array(FLIP) != np.arange(len(FLIP))
    across = hits(found.xy, found.truth[:, FLIP], found.normalize, found.labelled[:, FLIP] & paired, protocol, bound)
    near = hits(found.xy, found.truth, found.normalize, everywhere, protocol, NEAR * bound)
    return Wrong(
        other_side=int((lost & across).sum()),
        near=int((lost & ~across & near).sum()),
        far=int((lost & ~across & ~near).sum()),
        doubled=int((lost & across & right[:, FLIP]).sum()),
    )
