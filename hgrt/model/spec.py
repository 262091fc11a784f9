"""What a network is, in a handful of numbers that travel inside every checkpoint, ONNX file and engine.

Importable without torch, because the runtimes read it too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

from hgrt.errors import HgrtError
from hgrt.pose.skeleton import MPII

if TYPE_CHECKING:
    from hgrt.pose.confidence import Knots

Gate = Literal["none", "raw", "bounded"]
Block = Literal["preact", "postact"]
Stem = Literal["published", "light"]
Ramp = Literal["linear", "integer"]

METADATA_KEY = "hgrt.spec"
"""Under this key the JSON of the spec stands in an ONNX file's metadata and in a checkpoint."""

ENGINE_KEY = "hgrt.engine"
"""Under this key an ONNX file that engines are built from says its `precision`, and whether it takes whole frames."""

FOUND = 0.66
"""What `ModelSpec.found` is where it was not measured: that of the bundled `lite`."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The stacked hourglass with top-down modulation, described completely.

    stacks    number of hourglasses, 1 to 8
    channels  width of the 64x64 feature maps
    growth    channels added at each of the four halvings inside an hourglass (published: 0)
    gate      how the decoded map acts on the heatmaps: "raw" heatmaps x map (as published), "bounded" heatmaps x
              (1 + tanh map), which half precision cannot overflow, "none" no modulation (the base network)
    latent    width of the bottleneck that the modulation is decoded from
    block     "preact" BN-ReLU-conv bottlenecks (as published) or "postact" conv-BN-ReLU, whose batch norms fold away
    stem      "published" 7x7 stem with residuals at 128x128, or "light" with two strided 3x3 convolutions
    ramp      coordinate channels of the decoder: "linear" -1..1, or "integer" as torch 1.0 computed the same expression
    input     side of the square input in pixels; heatmaps have a quarter of it
    crop      how much of a person's box (`geometry.MARGIN`) is cut out for the network, side over side: less shows more
              detail, more shows what is around (published: 1)
    joints    names in output order
    colour    channel order the weights were trained on; values are scaled to 0..1, with no mean subtracted
    calibration  from a joint's score to the chance that it is right (see `hgrt.pose.confidence`); () not calibrated. It
              belongs to the weights: a training that begins with them begins without it
    found     how sure several looks must be of somebody searched (`hgrt.live.person`), 0..1, for there to be a person;
              measured on empty scenes (`benchmarks/nobody.py`), and belongs to the weights, too
    """

    stacks: int = 2
    channels: int = 256
    growth: int = 0
    gate: Gate = "raw"
    latent: int = 128
    block: Block = "preact"
    stem: Stem = "published"
    ramp: Ramp = "linear"
    input: int = 256
    crop: float = 1.0
    joints: tuple[str, ...] = MPII.joints
    colour: Literal["rgb"] = "rgb"
    calibration: Knots = ()
    found: float = FOUND

    def __post_init__(self) -> None:
        choices = {"gate": Gate, "block": Block, "stem": Stem, "ramp": Ramp}
        for name, allowed in choices.items():
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} is {getattr(self, name)!r}, not one of {', '.join(get_args(allowed))}")
        if not 1 <= self.stacks <= 8:
            raise ValueError(f"stacks is {self.stacks}; a network has 1 to 8")
        if self.channels < 8 or self.channels % 4 or self.growth < 0 or self.growth % 4 or self.latent < 1:
            raise ValueError("channels (at least 8) and growth are multiples of 4, latent is positive")
        if self.input < 64 or self.input % 64:
            raise ValueError(f"input is {self.input}; it is a multiple of 64")
        if not 0.25 <= self.crop <= 4:
            raise ValueError(f"crop is {self.crop}; it is from 0.25 to 4")
        if self.colour != "rgb" or not self.joints:
            raise ValueError("colour is 'rgb' and at least one joint is named")
        if not 0 < self.found <= 1:
            raise ValueError(f"found is {self.found}; it is above 0 and at most 1")
        _check_knots(self.calibration)

    @property
    def heatmap(self) -> int:
        """Side of the heatmaps in cells."""
        return self.input // 4

    def shape(self) -> dict[str, object]:
        """What a network is built from, by name: all but what was measured of its weights."""
        return {name: value for name, value in asdict(self).items() if name not in ("calibration", "found")}

    def unmeasured(self) -> ModelSpec:
        """The same network with weights of which nothing is known."""
        return replace(self, calibration=(), found=FOUND)

    def __str__(self) -> str:
        width = f"{self.channels}" + (f"+{self.growth}" if self.growth else "")
        return f"{self.stacks} x {width}, gate {self.gate}, {self.block}"

    def to_json(self) -> str:
        """The spec as one line of JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """The inverse of `to_json`; HgrtError where the text is not a spec this version understands."""
        try:
            return cls.from_mapping(json.loads(text))
        except (TypeError, ValueError, AttributeError) as error:
            raise HgrtError("The description of the network inside the file cannot be read.", str(error)) from error

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> ModelSpec:
        """From plain values; ValueError names keys that this version does not know."""
        if not isinstance(values, Mapping):
            raise ValueError(f"expected names and values, not {type(values).__name__}")
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"unknown keys {', '.join(unknown)}: written by a newer hgrt?")
        arguments = dict(values)
        for name in ("joints", "calibration"):
            if name in arguments:
                arguments[name] = _frozen(arguments[name])
        return cls(**arguments)  # type: ignore[arg-type]  # __post_init__ checks the values


def _check_knots(knots: Knots) -> None:
    if not isinstance(knots, tuple) or not all(isinstance(knot, tuple) and len(knot) == 2 for knot in knots):
        raise ValueError(f"calibration is {knots!r}, not pairs of score and chance")
    if not all(isinstance(value, float | int) and 0 <= value <= 1 for knot in knots for value in knot):
        raise ValueError("scores and chances of a calibration are numbers from 0 to 1")
    if not all(low[0] < high[0] and low[1] <= high[1] for low, high in pairwise(knots)):
        raise ValueError("scores of a calibration rise, and its chances do not fall")


def _frozen(value: object) -> object:
    """Lists, as JSON has them, as tuples, all the way down."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


PRESETS: dict[str, ModelSpec] = {
    "lite": ModelSpec(
        stacks=1, channels=96, growth=32, gate="bounded", block="postact", stem="light", input=192, crop=0.85
    ),
    "base": ModelSpec(stacks=2, gate="bounded", block="postact", stem="light", crop=0.85),
    "large": ModelSpec(stacks=8, gate="bounded", block="postact", stem="light", crop=0.85),
    "reference": ModelSpec(),
}
"""Networks by name: `lite` is the bundled one, made for a CPU; `base` has the published size and `large` is its
teacher, both of layers that fold; `reference` is the published shape."""
