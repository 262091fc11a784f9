"""The published conventions, against numbers that the published code produced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import golden
from hgrt.pose import reference
from hgrt.pose.geometry import Box


def load(fixtures: Path, name: str) -> dict[str, Any]:
    with np.load(fixtures / f"{name}.npz") as file:
        return dict(file)


def test_transforms(fixtures: Path) -> None:
    case = load(fixtures, "transforms")
    assert len(case["matrix"]) == 12
    for i, (cx, cy, scale, size, degrees) in enumerate(case["center_scale_res_rot"]):
        matrix = reference.transform(Box.from_mpii([cx, cy], scale), int(size), degrees)
        np.testing.assert_allclose(matrix, case["matrix"][i], atol=1e-12)
        moved = reference.move(matrix, case["points"][i])
        np.testing.assert_allclose(moved, case["affine"][i], atol=1e-12)
        np.testing.assert_array_equal(reference.truncate(moved), case["forward_int"][i])
        inverse = reference.move(np.linalg.inv(matrix), case["points"][i])
        np.testing.assert_array_equal(reference.truncate(inverse), case["inverse_int"][i])


@pytest.mark.parametrize(
    ("field", "legacy", "atol"), [("crop_stride4", False, 0.51), ("crop_legacy_stride4", True, 1.01)]
)
def test_crops(fixtures: Path, field: str, legacy: bool, atol: float) -> None:
    case, image = load(fixtures, "crop"), golden.crop_image()
    assert golden.sha256(image) == str(case["image_sha256"])
    for (cx, cy, scale), expected in zip(case["center_scale"], case[field], strict=True):
        pixels = reference.crop(image, Box.from_mpii([cx, cy], scale), legacy=legacy)
        assert pixels.shape == (256, 256, 3) and pixels.dtype == (np.uint8 if legacy else np.float32)
        np.testing.assert_allclose(pixels[::4, ::4].astype(np.float64), expected.astype(np.float64), atol=atol, rtol=0)


def test_a_crop_beside_the_image_is_black() -> None:
    image = np.full((50, 50, 3), 200, np.uint8)
    for legacy in (False, True):
        assert not reference.crop(image, Box(500, 500, 100), legacy=legacy).any()


def test_targets(fixtures: Path) -> None:
    case = load(fixtures, "targets")
    for keypoints, expected in zip(case["keypoints"], case["heatmaps"], strict=True):
        assert expected.max() == 1
        np.testing.assert_array_equal(reference.encode(keypoints), expected)


def test_decode(fixtures: Path) -> None:
    case = load(fixtures, "decode")
    assert set(case["kind"]) == {"random", "border", "saturated", "symmetric"}
    total = 0
    for i, kind in enumerate(case["kind"]):
        plain, flipped = golden.decode_heatmaps(i, str(kind))
        assert [golden.sha256(plain), golden.sha256(flipped)] == list(case["heatmap_sha256"][i])
        xy, score = reference.decode(plain, flipped)
        np.testing.assert_array_equal(xy, case["crop_xy"][i])
        np.testing.assert_allclose(score, case["score"][i], atol=1e-6)
        exact = reference.to_image(xy, Box.from_mpii(case["center"][i], case["scale"][i]))
        np.testing.assert_allclose(exact, case["image_xy_exact"][i], atol=1e-9)
        firm = ~case["near_integer"][i]
        total += int(firm.sum())
        np.testing.assert_array_equal(reference.truncate(exact)[firm], case["image_xy"][i][firm])
        assert np.abs(reference.truncate(exact) - case["image_xy"][i]).max() <= 1
    assert total > 300  # of 512 coordinates; the others lie on whole numbers


def test_decoded_rows_are_those_of_the_annotations(fixtures: Path, shared: Path) -> None:
    case = load(fixtures, "decode")
    with h5py.File(shared / "data/mpii/annot/valid.h5", "r") as file:
        for i, row in enumerate(case["valid_row"]):
            if row >= 0:
                np.testing.assert_array_equal(file["center"][row], case["center"][i])
                assert file["scale"][row] == case["scale"][i]


def test_one_pass_and_empty_maps() -> None:
    maps = np.zeros((16, 64, 64), np.float32)
    maps[3, 10, 20], maps[3, 10, 21], maps[3, 9, 20] = 0.5, 0.4, 0.3
    xy, score = reference.decode(maps)
    assert xy[3].tolist() == [4 * (20 + 0.25 + 0.5), 4 * (10 - 0.25 + 0.5)] and score[3] == 0.5
    others = [j for j in range(16) if j != 3]
    assert not xy[others].any() and not score[others].any()


def test_decode_undoes_the_swap_and_the_mirror() -> None:
    maps = np.zeros((16, 64, 64), np.float32)
    maps[0, 30, 5] = 1.0
    mirrored = maps[golden.PAIR][:, :, ::-1]
    assert mirrored[5, 30, 58] == 1.0
    xy, score = reference.decode(maps, mirrored)
    assert score[0] == 1.0 and not score[1:].any()
    np.testing.assert_array_equal(xy[0], reference.decode(maps)[0][0])


def test_what_lies_outside_has_no_target() -> None:
    maps = reference.encode(np.array([[0.0, 5.0], [-0.5, 5.0], [64.0, 5.0], [5.0, 64.2], [63.9, 63.9], [0.4, 0.0]]))
    assert [bool(one.any()) for one in maps] == [False, False, False, False, True, True]
    assert maps[4, 63, 63] == 1.0 and maps[5, 0, 0] == 1.0
