"""The description of a network survives its files, and nonsense never becomes a network."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgrt.errors import HgrtError
from hgrt.model.spec import PRESETS, ModelSpec
from hgrt.pose.skeleton import MPII


@st.composite
def calibrations(draw: st.DrawFn) -> tuple[tuple[float, float], ...]:
    count = draw(st.integers(0, 12))
    scores = sorted(draw(st.sets(st.floats(0, 1), min_size=count, max_size=count)))
    chances = sorted(draw(st.lists(st.floats(0, 1), min_size=count, max_size=count)))
    return tuple(zip(scores, chances, strict=True))


specs = st.builds(
    ModelSpec,
    stacks=st.integers(1, 8),
    channels=st.integers(2, 100).map(lambda n: 4 * n),
    growth=st.integers(0, 30).map(lambda n: 4 * n),
    gate=st.sampled_from(["none", "raw", "bounded"]),
    latent=st.integers(1, 512),
    block=st.sampled_from(["preact", "postact"]),
    stem=st.sampled_from(["published", "light"]),
    ramp=st.sampled_from(["linear", "integer"]),
    input=st.integers(1, 8).map(lambda n: 64 * n),
    crop=st.floats(0.25, 4.0),
    calibration=calibrations(),
    found=st.floats(0.01, 1.0),
)


@given(specs)
def test_json_round_trip(spec: ModelSpec) -> None:
    text = spec.to_json()
    assert "\n" not in text
    assert ModelSpec.from_json(text) == spec
    assert ModelSpec.from_mapping(asdict(spec)) == spec
    assert hash(ModelSpec.from_json(text)) == hash(spec)


def test_the_default_is_the_published_network() -> None:
    spec = ModelSpec()
    assert (spec.stacks, spec.channels, spec.growth, spec.gate, spec.latent) == (2, 256, 0, "raw", 128)
    assert (spec.input, spec.heatmap, spec.joints, spec.colour) == (256, 64, MPII.joints, "rgb")
    assert PRESETS["reference"] == spec


def test_presets_are_valid_and_differ() -> None:
    assert {"lite", "reference"} <= set(PRESETS)
    assert len(set(PRESETS.values())) == len(PRESETS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stacks": 0}, "stacks is 0"),
        ({"stacks": 9}, "stacks is 9"),
        ({"channels": 6}, "multiples of 4"),
        ({"channels": 4}, "at least 8"),
        ({"growth": -4}, "multiples of 4"),
        ({"growth": 3}, "multiples of 4"),
        ({"latent": 0}, "latent is positive"),
        ({"input": 0}, "input is 0"),
        ({"input": 100}, "input is 100"),
        ({"gate": "sigmoid"}, "gate is 'sigmoid'"),
        ({"block": "basic"}, "block is 'basic'"),
        ({"stem": "deep"}, "stem is 'deep'"),
        ({"ramp": "cubic"}, "ramp is 'cubic'"),
        ({"crop": 0.2}, "crop is 0.2; it is from 0.25 to 4"),
        ({"crop": 5}, "crop is 5"),
        ({"crop": float("nan")}, "crop is nan"),
        ({"colour": "bgr"}, "colour"),
        ({"joints": ()}, "joint"),
        ({"found": 0.0}, "found is 0.0"),
        ({"found": 1.01}, "found is 1.01"),
        ({"found": float("nan")}, "found is nan"),
        ({"calibration": ((0.5,),)}, "pairs of score and chance"),
        ({"calibration": (0.5, 0.6)}, "pairs of score and chance"),
        ({"calibration": ((0.5, "0.6"),)}, "numbers from 0 to 1"),
        ({"calibration": ((0.5, 1.1),)}, "numbers from 0 to 1"),
        ({"calibration": ((float("nan"), 0.5),)}, "numbers from 0 to 1"),
        ({"calibration": ((0.5, 0.5), (0.5, 0.6))}, "scores of a calibration rise"),
        ({"calibration": ((0.5, 0.6), (0.6, 0.5))}, "chances do not fall"),
    ],
)
def test_bad_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelSpec(**values)
    with pytest.raises(HgrtError, match=message):
        ModelSpec.from_json(json.dumps({**asdict(ModelSpec()), **values}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        '"stacks"',
        '{"depth": 3}',
        '{"stacks": "2"}',
        '{"stacks": null}',
        '{"channels": [8]}',
    ],
)
def test_what_is_no_description_is_refused(text: str) -> None:
    with pytest.raises(HgrtError, match="cannot be read"):
        ModelSpec.from_json(text)


def test_unknown_keys_are_named() -> None:
    with pytest.raises(ValueError, match="attention, depth"):
        ModelSpec.from_mapping({"depth": 3, "attention": True, "stacks": 2})


def test_missing_keys_take_their_defaults() -> None:
    assert ModelSpec.from_json('{"stacks":4}') == ModelSpec(stacks=4)


@given(specs)
def test_the_shape_is_all_but_what_was_measured(spec: ModelSpec) -> None:
    assert set(asdict(spec)) - set(spec.shape()) == {"calibration", "found"}
    assert ModelSpec(**spec.shape()) == spec.unmeasured()  # type: ignore[arg-type]
    assert spec.unmeasured() == replace(spec, calibration=(), found=ModelSpec().found)


@pytest.mark.parametrize(
    ("spec", "text"),
    [(ModelSpec(), "2 x 256, gate raw, preact"), (PRESETS["lite"], "1 x 96+32, gate bounded, postact")],
)
def test_printed(spec: ModelSpec, text: str) -> None:
    assert str(spec) == text
