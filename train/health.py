"""Is the training learning at all? Names the failure that a falling loss hides.

Almost every pixel of a target is zero, so a network that answers nothing but empty maps reaches a loss of a thousandth,
and its "joints" all lie in the corner at (0, 0). Users of the published code meet this and take the loss for success.
"""

from __future__ import annotations

from dataclasses import dataclass

from hgrt.evaluation.predict import Predictions

PATIENCE = 1000  # steps in which a healthy training has left the empty maps behind
LEARNT = 0.03  # share of the empty maps' loss that must be explained by then
PEAK = 0.05  # a heatmap without a value above this points nowhere


@dataclass(slots=True)
class Health:
    """Running means over the last steps: `loss`, and `blank`, the loss that empty heatmaps would have had."""

    loss: float | None = None
    blank: float = 0.0
    best: float = 0.0
    skipped: int = 0

    def step(self, loss: float, blank: float, taken: bool) -> None:
        """Hear of a step; one that was not `taken` because its gradient was not finite is counted only."""
        if not taken:
            self.skipped += 1
            return
        keep = 0.0 if self.loss is None else 0.98
        self.loss = keep * (self.loss or 0.0) + (1 - keep) * loss
        self.blank = keep * self.blank + (1 - keep) * blank

    @property
    def explained(self) -> float:
        """Share of the loss of empty heatmaps that is gone; 0 for a network that says nothing, 1 for a perfect one."""
        return max(0.0, 1 - self.loss / self.blank) if self.loss is not None and self.blank > 0 else 0.0

    def row(self) -> dict[str, float]:
        """As the log takes it; `explained` in percent."""
        return {
            "loss": round(self.loss or 0.0, 6),
            "explained": round(100 * self.explained, 2),
            "skipped": self.skipped,
        }

    def diagnose(self, steps: int, judged: list[Predictions]) -> str | None:
        """After `steps` steps and an evaluation: what is wrong, in words, or None."""
        if self.loss is None:
            return (
                f"Nothing was learnt: the gradients of all {self.skipped} steps were not finite. "
                "Lower the learning rate, or begin with other weights."
            )
        before, self.best = self.best, max(self.best, self.explained)
        total = sum(predictions.labelled.sum() for predictions in judged)
        flat = sum((predictions.score[predictions.labelled] < PEAK).sum() for predictions in judged)
        share = f"{100 * flat / total:.0f} % of the validation joints have no peak" if total else "no validation set"
        if self.explained < LEARNT and (steps >= PATIENCE or before > 2 * LEARNT):
            return (
                f"Collapsed: the heatmaps are empty. The loss of {self.loss:.5f} looks small, but maps of nothing "
                f"but zeros would have {self.blank:.5f}; {share}, and what is read from them lies near (0, 0). "
                "Lower the learning rate, raise peak_weight, and check the data (hgrt data check) and --overfit 32."
            )
        if total and flat > 0.5 * total and self.explained > 0.2:
            return (
                f"In training the heatmaps are right ({100 * self.explained:.0f} % of the empty maps' loss is gone), "
                f"but {share}: the batch norm statistics that evaluation uses do not fit the weights. Larger batches "
                "or a lower learning rate help; after a change of data give the statistics a few hundred steps."
            )
        return None
