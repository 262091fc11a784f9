"""The judge of half precision and of answers: it must see what is wrong, and say where."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from hgrt.engine.verify import HALF_MAX, Overflow, bundled_people, overflow, parity  # noqa: E402  # after the skip
from hgrt.errors import HgrtError  # noqa: E402
from hgrt.model.checkpoint import load_checkpoint  # noqa: E402
from hgrt.model.hourglass import StackedHourglass  # noqa: E402
from hgrt.model.spec import Gate, ModelSpec  # noqa: E402
from hgrt.pose.geometry import crop  # noqa: E402
from hgrt.pose.heatmaps import Keypoints  # noqa: E402
from hgrt.runtime.base import asset  # noqa: E402

TINY = ModelSpec(stacks=2, channels=8, gate="raw", latent=4, block="preact", stem="published", input=64)
CROPS = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3)).astype(np.uint8)


def network(gate: Gate = "raw") -> StackedHourglass:
    torch.manual_seed(0)
    return StackedHourglass(replace(TINY, gate=gate)).eval()


# Half precision


def test_a_network_that_fits_is_let_through_and_every_layer_was_looked_at() -> None:
    net = network()
    found = overflow(net, CROPS)
    assert found.ok and 0 < found.share < 0.01
    names = [name for name, _ in found.layers]
    assert len(set(names)) == len(names)
    assert {"stem.0.conv", "stacks.0.hourglass", "stacks.0.modulation.encode", "stacks.1.heatmap", "stacks.1"} <= {
        *names
    }
    assert dict(found.layers)[found.layer] == found.largest == max(value for _, value in found.layers)
    assert found.layer in str(found) and "%" in str(found)


def test_the_largest_values_are_those_of_the_network_in_single_precision() -> None:
    net = network("none")  # without a gate a stack's heatmaps are what its last convolution says
    rgb = torch.from_numpy(np.ascontiguousarray(CROPS[..., ::-1])).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        expected = net(rgb).abs().amax(dim=(0, 2, 3, 4))
    layers = dict(overflow(net, CROPS).layers)
    for stack in range(2):
        assert layers[f"stacks.{stack}.heatmap"] == pytest.approx(float(expected[stack]), rel=0.01)


@pytest.mark.parametrize("layer", ["stacks.0.feature.1.conv", "stacks.1.heatmap"])
def test_the_layer_that_overflows_is_named(layer: str) -> None:
    net = network()
    usual = dict(overflow(net, CROPS).layers)[layer]
    conv = net.get_submodule(layer)
    for tensor in (conv.weight, conv.bias):
        assert isinstance(tensor, torch.nn.Parameter)
        tensor.data *= 3 * HALF_MAX / usual
    found = overflow(net, CROPS)
    assert not found.ok and found.layer == layer and layer in str(found)
    assert found.largest == pytest.approx(3 * HALF_MAX, rel=0.01)
    assert "65504" in str(found)


def test_weights_that_half_precision_does_not_hold_are_seen() -> None:
    net = network()
    net.get_parameter("stacks.0.merge_feature.weight").data[0, 0] = 1e6
    found = overflow(net, CROPS)
    assert not found.ok and found.layer == "stacks.0.merge_feature" and found.largest == np.inf
    net = network()
    net.get_parameter("stem.0.conv.bias").data[1] = float("nan")
    found = overflow(net, CROPS)
    assert not found.ok and found.layer == "stem.0.conv"


def test_a_single_crop_that_overflows_is_enough() -> None:
    net = network("none")
    net.get_parameter("stem.0.conv.weight").data.fill_(HALF_MAX / 49 / 3 * 2)  # white overflows, grey of 40 does not
    net.get_parameter("stem.0.conv.bias").data.fill_(0.0)
    crops = np.full((6, 64, 64, 3), 40, np.uint8)
    dark = overflow(net, crops)
    crops[5] = 255
    assert dark.largest < HALF_MAX
    found = overflow(net, crops)
    assert not found.ok and found.layer == "stem.0.conv" and found.largest > HALF_MAX


def test_room_is_left_for_other_pictures() -> None:
    assert Overflow((("a", 1.0), ("b", 0.49 * HALF_MAX))).ok
    assert not Overflow((("a", 1.0), ("b", 0.51 * HALF_MAX))).ok
    assert str(Overflow((("a", 1.0), ("b", 0.25 * HALF_MAX)))) == (
        "values reach 1.638e+04, in layer b: 25.00% of what half precision holds"
    )


@pytest.mark.parametrize(
    "crops", [CROPS[:0], CROPS[:, :32], CROPS.astype(np.float32), CROPS[0]], ids=["none", "shape", "dtype", "one"]
)
def test_what_are_no_crops_is_refused(crops: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="crops are"):
        overflow(network(), crops)


def test_the_bundled_network_fits_half_precision_on_the_bundled_people() -> None:
    net = load_checkpoint(asset("lite.pt"))
    found = overflow(net, np.stack([crop(frame, box, 192).pixels for frame, box in bundled_people(4)]))
    assert found.ok and found.share < 0.01


# Answers


def keypoints(count: int = 1000, seed: int = 0) -> Keypoints:
    rng = np.random.default_rng(seed)
    return Keypoints(rng.uniform(0, 47, (count, 16, 2)), rng.uniform(0.05, 1, (count, 16)), np.ones((count, 16)))


def changed(base: Keypoints, index: object, xy: float = 0.0, score: float = 0.0) -> Keypoints:
    """The same with the joints at `index` moved to the right and raised."""
    places, scores = base.xy_hm.copy(), base.score.copy()
    places[index] += [xy, 0]  # type: ignore[index]
    scores[index] += score  # type: ignore[index]
    return Keypoints(places, scores, base.spread)


def test_the_same_answers_agree() -> None:
    found = parity(keypoints(), keypoints())
    assert found.ok
    assert asdict(found) == {"joints": 16000, "worst": 0, "p999": 0, "near": 1, "flipped": 0, "score": 0}
    assert json.loads(json.dumps(asdict(found))) == asdict(found)


@given(st.floats(0, 5), st.floats(0, 0.1))
def test_distances_and_scores_are_measured(distance: float, score: float) -> None:
    assume(min(abs(distance - 0.25), abs(distance - 1), abs(score - 0.01)) > 1e-9)
    base = keypoints(10)
    found = parity(base, changed(base, (3, 7), distance, score))
    assert found.worst == pytest.approx(distance, abs=1e-9) and found.score == pytest.approx(score, abs=1e-9)
    assert found.flipped == (distance > 1) and found.near == 1 - (distance > 0.25) / 160
    assert found.ok == (score <= 0.01)
    assert f"{distance:.3f}" in str(found) and "160 joints" in str(found)


def test_one_in_a_thousand_may_be_far_without_showing_in_the_rest() -> None:
    base = keypoints()
    found = parity(base, changed(base, (slice(0, 15), 0), 9.0))  # 15 of 16000
    assert found.worst == pytest.approx(9) and found.p999 < 1e-9 and found.flipped == 15 and found.ok
    assert parity(base, changed(base, (slice(0, 20), 0), 9.0)).p999 == pytest.approx(9)


def test_more_than_ties_is_no_agreement() -> None:
    base = keypoints(100)
    assert parity(base, changed(base, (slice(0, 16), 0), 2.0)).ok  # 1 %
    assert not parity(base, changed(base, (slice(0, 17), 0), 2.0)).ok
    assert not parity(base, changed(base, slice(None), 0.3)).ok
    assert not parity(base, changed(base, (0, 0), score=0.011)).ok


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_is_infinitely_far_away(value: float) -> None:
    base = keypoints(10)
    found = parity(base, changed(base, (2, 3), value, value))
    assert not found.ok and found.worst == np.inf and found.score == np.inf and found.flipped == 1
    all_of_it = parity(base, changed(base, slice(None), value, value))
    assert not all_of_it.ok and all_of_it.near == 0


def test_a_joint_that_neither_sees_has_no_place() -> None:
    base = keypoints(10)
    base.score[4, 5] = 0
    moved = changed(base, (4, 5), 20.0)
    assert parity(base, moved).worst == 0 and parity(base, moved).joints == 159
    moved.score[4, 5] = 0.4  # but one that only one of them sees does
    assert parity(base, moved).worst == pytest.approx(20) and not parity(base, moved).ok
    nobody = Keypoints(base.xy_hm, np.zeros_like(base.score), base.spread)
    assert parity(nobody, nobody).joints == 0 and parity(nobody, nobody).ok


def test_answers_for_different_people_are_not_compared() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        parity(keypoints(3), keypoints(4))


# People to try it on


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_bundled_people_are_whole_and_differ(count: int) -> None:
    people = bundled_people(count)
    assert len(people) == count and len({box.cx for _, box in people}) == count
    for frame, box in people:
        assert frame.dtype == np.uint8 and frame.shape == (480, 640, 3) and 200 < box.side < 600
    truth = np.array(json.loads(asset("clip.json").read_text(encoding="utf-8"))["joints"])
    joints, (_, box) = truth[0], people[0]
    assert (np.abs(joints - [box.cx, box.cy]) <= box.side / 2).all()


def test_a_clip_that_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty:
        def __init__(self, _path: str) -> None: ...
        def read(self) -> tuple[bool, None]:
            return False, None

        def release(self) -> None: ...

    monkeypatch.setattr("hgrt.data.film.cv2.VideoCapture", Empty)
    with pytest.raises(HgrtError, match=r"clip\.mp4 cannot be read"):
        bundled_people(2)
