"""What an engine holds besides the network answers as the code that runs without one: decoding, cutting, scaling."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from fakes import gaussians, picture  # noqa: E402  # after the skip
from hgrt.model.complete import NO_SPREAD, Body, Cut, Decode, FromCrops, FromFrame, Scale  # noqa: E402
from hgrt.model.hourglass import StackedHourglass  # noqa: E402
from hgrt.model.spec import ModelSpec  # noqa: E402
from hgrt.pose.geometry import Array, Box, Image, apply, heatmap_to_image, invert, similarity  # noqa: E402
from hgrt.pose.heatmaps import Maps, decode, peaks  # noqa: E402
from networks import lively  # noqa: E402

TINY = ModelSpec(stacks=2, channels=8, gate="raw", latent=4, block="preact", stem="published", input=64)
SIZE = 96  # of crops where no network looks at them


def network(spec: ModelSpec = TINY) -> StackedHourglass:
    return lively(spec)


def decoded(maps: Maps) -> NDArray[np.float64]:
    """What the graph makes of (N, J, S, S) maps."""
    return np.asarray(Decode(maps.shape[-1])(torch.from_numpy(maps)), dtype=np.float64)


def check_as_numpy(maps: Maps) -> None:
    """The graph's answer and that of `hgrt.pose.heatmaps.decode` are the same."""
    found, expected = decoded(maps), decode(maps)
    np.testing.assert_allclose(found[..., :2], expected.xy_hm, rtol=0, atol=1e-3)
    np.testing.assert_allclose(found[..., 2], expected.score, rtol=0, atol=1e-6)
    none = np.isinf(expected.spread)
    assert (found[..., 3][none] == NO_SPREAD).all() and (found[..., 3][~none] > 0).all()
    np.testing.assert_allclose(found[..., 3][~none], expected.spread[~none], rtol=1e-2)


# Decoding


@given(st.sampled_from([16, 48, 64]), st.floats(0.6, 5), st.floats(0.02, 1.4), st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_peaks_are_decoded_as_by_numpy(cells: int, sigma: float, height: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    where = rng.uniform(-1, cells, (16, 2))  # also beyond the border, where the peak is cut off
    maps = gaussians(where, cells, height, sigma) + gaussians(where[::-1], cells, 0.8 * height, sigma)
    maps += rng.normal(0, 0.02 * height, maps.shape).astype(np.float32)
    check_as_numpy(maps[None])


def test_a_peak_on_every_border_cell_is_decoded_as_by_numpy() -> None:
    cells = 16
    places = [(x, y) for x in range(cells) for y in range(cells) if x in (0, 1, 14, 15) or y in (0, 1, 14, 15)]
    for shift in (0.0, 0.3, -0.4):
        maps = gaussians(np.array(places) + shift, cells)
        column, row = peaks(maps[None])
        assert {0, cells - 1} <= set(column.ravel()) and {0, cells - 1} <= set(row.ravel())
        check_as_numpy(maps[None])


@pytest.mark.parametrize("value", [0.0, -0.5])
def test_a_map_without_a_peak_has_score_zero_and_stays_on_its_cell(value: float) -> None:
    maps = np.full((2, 3, 16, 16), value, np.float32)
    maps[1, 2, 5, 7] = value / 2  # still not positive
    found = decoded(maps)
    assert (found[..., 2:] == 0).all()
    np.testing.assert_array_equal(found[..., :2], found[..., :2].round())
    check_as_numpy(maps)


def test_a_plateau_and_a_ridge_have_their_score() -> None:
    flat, across = np.full((16, 16), 0.7), np.exp(-((np.arange(16) - 6.3) ** 2) / 4)
    ridges = np.repeat(across[None], 16, axis=0), np.repeat(across[:, None], 16, axis=1)
    for one in (flat, *ridges):
        maps = one[None, None].astype(np.float32)
        assert decoded(maps)[0, 0, 2] == pytest.approx(one.max(), abs=1e-6)
        check_as_numpy(maps)


def test_of_equal_cells_the_first_is_taken() -> None:
    for first, second in (((3, 9), (4, 2)), ((6, 1), (6, 14)), ((0, 0), (15, 15))):  # row, column
        maps = np.zeros((1, 1, 16, 16), np.float32)
        maps[0, 0][first] = maps[0, 0][second] = 0.5
        np.testing.assert_allclose(decoded(maps)[0, 0, :2], first[::-1], atol=0.76)
        check_as_numpy(maps)


@given(st.floats(-30, 0))
def test_small_values_are_decoded_as_by_numpy(power: float) -> None:
    maps = gaussians(np.array([[7.3, 8.6], [2.2, 13.8]]), 16, 10**power)
    check_as_numpy(maps[None])


# Cutting


def photograph(rng: np.random.Generator, width: int, height: int) -> Image:
    """Soft noise: OpenCV 4 places samples to a 32nd of a pixel, which would show on harder edges."""
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 3.0), dtype=np.uint8)


def cut(image: Image, to_image: Array) -> NDArray[np.float64]:
    """The graph's crops (N, S, S, 3) by affines (N, 2, 3)."""
    crops = Cut(SIZE)(torch.from_numpy(image)[None], torch.from_numpy(to_image.astype(np.float32)))
    return np.asarray(crops.permute(0, 2, 3, 1), dtype=np.float64)


def check_as_opencv(image: Image, box: Box, degrees: float, mirror: bool) -> None:
    to_image = invert(similarity(box, SIZE, degrees, mirror))
    expected = cv2.warpAffine(image, to_image, (SIZE, SIZE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    assert np.abs(cut(image, to_image[None])[0] - expected).max() <= 1


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.builds(Box, st.floats(-100, 400), st.floats(-100, 400), st.floats(5, 600)),
    st.floats(-180, 180),
    st.booleans(),
)
def test_a_crop_is_that_of_opencv(shape: tuple[int, int], box: Box, degrees: float, mirror: bool) -> None:
    check_as_opencv(photograph(np.random.default_rng(0), *shape), box, degrees, mirror)


@pytest.mark.parametrize("degrees", [0, 33, -90, 180])
@pytest.mark.parametrize("scale", [0.2, 1.0, 3.5])
def test_a_crop_that_is_partly_or_wholly_outside_is_black_there(degrees: float, scale: float) -> None:
    image = np.maximum(photograph(np.random.default_rng(1), 200, 150), 20)
    for centre in ((100, 75), (0, 0), (205, 75), (100, -5), (1000, -1000)):
        box = Box(*centre, scale * SIZE)
        check_as_opencv(image, box, degrees, mirror=False)
        inside = cut(image, invert(similarity(box, SIZE, degrees))[None])[0].min(axis=2) > 0
        assert inside.any() == (centre[0] < 1000)


def test_crops_of_one_frame_do_not_touch_each_other() -> None:
    image = photograph(np.random.default_rng(2), 320, 240)
    boxes = [Box(60, 70, 100), Box(-200, 0, 50), Box(200, 120, 333), Box(60, 70, 100)]
    affines = np.stack([box.to_image(SIZE) for box in boxes])
    together = cut(image, affines)
    for i in range(len(boxes)):
        np.testing.assert_array_equal(together[i], cut(image, affines[i : i + 1])[0])
    np.testing.assert_array_equal(together[0], together[3])
    assert not together[1].any() and together[2].any()


# The network inside


@pytest.mark.parametrize(
    "spec", [TINY, replace(TINY, block="postact", gate="bounded", stem="light", input=128)], ids=str
)
def test_the_body_in_single_precision_is_the_network(spec: ModelSpec) -> None:
    net = network(spec)
    bgr = np.random.default_rng(3).integers(0, 256, (2, spec.input, spec.input, 3)).astype(np.uint8)
    rgb = torch.from_numpy(bgr[..., ::-1] / 255.0).permute(0, 3, 1, 2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.inference_mode():
        found = Body(net, "fp32")(torch.from_numpy(bgr).permute(0, 3, 1, 2))
        expected = network(spec).double()(rgb)[:, -1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(expected.max() - expected.min()))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_body_in_half_precision_is_half_throughout_and_near_the_network() -> None:
    spec = replace(TINY, gate="bounded")
    pixels = torch.from_numpy(np.random.default_rng(4).integers(0, 256, (1, 3, 64, 64)).astype(np.uint8))
    half, single = Body(network(spec), "fp16"), Body(network(spec), "fp32")
    assert {one.dtype for one in [*half.parameters(), *half.buffers()]} == {torch.float16}
    with torch.inference_mode():
        found, expected = half(pixels), single(pixels)
    assert found.dtype == torch.float32
    span = float(expected.max() - expected.min())
    assert 0 < float((found - expected).abs().max()) < 1e-2 * span


def test_no_first_weight_is_lost_in_half_precision() -> None:
    # Numbers below 6e-5 lose digits. Had the weights taken the whole 1/255, many would lie there.
    net = network()
    weight = net.get_parameter("stem.0.conv.weight")
    weight.data.uniform_(-0.02, 0.02)
    half, single = (Body(net, precision).net.get_parameter("stem.0.conv.weight") for precision in ("fp16", "fp32"))
    big = single.abs() > 2e-4
    assert big.float().mean() > 0.9
    assert float(((half.float() - single) / single)[big].abs().max()) < 2**-10


def test_a_scale_is_a_batch_norm_with_its_statistics() -> None:
    norm = torch.nn.BatchNorm2d(5).eval()
    rng = torch.Generator().manual_seed(0)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        tensor.copy_(torch.rand(5, generator=rng) * 3 + 0.01)
    x = torch.randn((2, 5, 4, 4), generator=rng)
    with torch.inference_mode():
        torch.testing.assert_close(Scale(norm)(x), norm(x))


def test_an_unknown_precision_is_not_taken_for_single() -> None:
    with pytest.raises(KeyError, match="int8"):
        Body(network(), "int8")


def test_a_frame_with_boxes_gives_the_joints_of_its_crops_in_pixels_of_the_frame() -> None:
    net = network()
    image = picture(90, 70, person=(40, 35, 50))
    boxes = [Box(40, 35, 64), Box(30, 40, 80.5), Box(70, 10, 40)]
    to_image = np.stack([box.to_image(TINY.input) for box in boxes]).astype(np.float32)
    crops = np.stack(
        [cv2.warpAffine(image, one, (64, 64), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) for one in to_image]
    )
    with torch.inference_mode():
        maps, placed = FromFrame(Body(net, "fp32"))(torch.from_numpy(image)[None], torch.from_numpy(to_image))
        of_crops, in_cells = FromCrops(Body(net, "fp32"))(torch.from_numpy(crops))
    assert placed.shape == (3, 16, 4) and maps.shape == of_crops.shape
    np.testing.assert_allclose(maps, of_crops, atol=5e-2 * float(of_crops.max() - of_crops.min()))
    own = Decode(TINY.heatmap)(maps)
    for box, found, cells in zip(boxes, placed.numpy(), own.numpy(), strict=True):
        expected = apply(heatmap_to_image(box, TINY.heatmap, TINY.input), cells[:, :2])
        np.testing.assert_allclose(found[:, :2], expected, atol=1e-3)
        np.testing.assert_array_equal(found[:, 2:], cells[:, 2:])
    np.testing.assert_array_equal(in_cells, Decode(TINY.heatmap)(of_crops))
