"""The weights that come with the package open by their names from anywhere, and find the person of the bundled clip."""

from __future__ import annotations

from pathlib import Path

import pytest

from hgrt.bench.people import bundled_film
from hgrt.data.sample import Sample
from hgrt.errors import HgrtError
from hgrt.estimator import PoseEstimator
from hgrt.evaluation.predict import predict_poses
from hgrt.pose.skeleton import MPII
from hgrt.runtime.base import BUNDLED, asset

ASSETS = Path(__file__).resolve().parents[1] / "assets"


class Some:
    """Every twentieth frame of the bundled clip."""

    name = "clip"

    def __init__(self) -> None:
        self.film = bundled_film()

    def __len__(self) -> int:
        return len(range(0, len(self.film), 20))

    def get(self, index: int) -> Sample:
        return self.film.get(20 * index)


def test_all_weights_that_are_there_are_named_and_described() -> None:
    assert sorted(BUNDLED) == sorted(path.name for path in ASSETS.iterdir() if path.suffix in (".onnx", ".pt"))
    card = (ASSETS / "README.md").read_text()
    assert all(f"`{name}`" in card for name in BUNDLED)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_weights_find_the_person_of_the_clip(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name.endswith(".pt"):
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)  # where no file has that name
    with PoseEstimator(name) as estimator:
        info = estimator.backend.info
        found = predict_poses(estimator, Some())
    assert info.weights == asset(name) and info.spec.joints == MPII.joints and info.spec.calibration
    assert info.running == ("int8" if ".int8." in name else "fp32")
    assert found.pckh().total.rate > 0.94


@pytest.mark.parametrize("name", [name for name in BUNDLED if name.endswith(".pt")])
def test_a_checkpoint_is_meant_by_its_name_unless_one_is_here(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from hgrt.model.checkpoint import load_checkpoint, read_checkpoint

    monkeypatch.chdir(tmp_path)
    assert load_checkpoint(name).spec == load_checkpoint(ASSETS / name).spec
    with pytest.raises(HgrtError, match="no checkpoint at"):
        read_checkpoint(f"./there/{name}")
    Path(name).write_text("another")
    with pytest.raises(HgrtError, match="not a torch checkpoint"):
        read_checkpoint(name)
