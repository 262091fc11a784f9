"""One peer of `peers.py`, in a process of its own: opens what a user would pick, looks at pictures, keeps the time.

    python benchmarks/peers_worker.py NAME FOLDER

Runs in environments that know nothing of hgrt, such as MediaPipe's: so it imports nothing but numpy before it knows
which peer it is, and its pictures are .npy files in FOLDER. What the answers are worth is the business of `peers.py`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Xy = NDArray[np.float64]
Look = Callable[[Image, Xy, bool], Xy]
"""A (H, W, 3) uint8 BGR picture, the person's square (centre x, y, side), and whether it is the first of a film or
stands alone -> (16, 2) joints in MPII's order, pixels, NaN where there is none."""

FILM, REFERENCE = "film", "hgrt"
"""The set of pictures that follow one another, and the peer that the others are compared with."""

LIMBS = [12, 13, 11, 14, 10, 15, 2, 3, 1, 4, 0, 5]  # shoulders to ankles in MPII's order, the right one first
BLAZE = [12, 11, 14, 13, 16, 15, 24, 23, 26, 25, 28, 27]  # the same in MediaPipe's
COCO = [6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
COLD, LEAST = 2, 3  # calls of a block: left out, since others had the caches meanwhile; and counted at least


class AbsentError(Exception):
    """Something that a peer needs is not there."""


@dataclass(frozen=True, slots=True)
class Given:
    """What FOLDER/given.json says: side of the input of hgrt's network in pixels, how much of a box it looks at
    (`ModelSpec.crop`), and a folder of models or ""."""

    input: int
    crop: float
    models: str


@dataclass(frozen=True, slots=True)
class Peer:
    """`open` gives what looks, and what runs in words; `same`: hgrt's network in the same square, only run otherwise;
    `film`: it needs pictures that follow one another; `how` to get it."""

    what: str
    open: Callable[[Given], tuple[Look, str]]
    same: bool = False
    film: bool = False
    how: str = ""


def _hgrt(given: Given) -> tuple[Look, str]:
    from hgrt import Box, PoseEstimator

    estimator = PoseEstimator()
    return lambda picture, box, fresh: estimator(picture, Box(*box)).xy, str(estimator.backend.info)


def _hgrt_tracking(given: Given) -> tuple[Look, str]:
    from hgrt import PoseEstimator
    from hgrt.live.person import Tracker

    tracker = Tracker(PoseEstimator())

    def look(picture: Image, box: Xy, fresh: bool) -> Xy:
        if fresh:
            tracker.reset()
        pose = tracker(picture)
        return _nobody() if pose is None else pose.xy

    return look, str(tracker.estimator.backend.info)


def _around(network: Callable[[Image], Any], given: Given) -> Look:
    """hgrt's own crop and decoding around `network`, so that nothing but the network's run differs."""
    from hgrt.pose.geometry import Box, apply, crop, heatmap_to_image
    from hgrt.pose.heatmaps import decode

    def look(picture: Image, place: Xy, fresh: bool) -> Xy:
        box = Box(*place).scaled(given.crop)
        maps = network(crop(picture, box, given.input).pixels[None])
        return apply(heatmap_to_image(box, maps.shape[-1], given.input), decode(maps).xy_hm[0])

    return look


def _onnxruntime(given: Given) -> tuple[Look, str]:
    import onnxruntime

    from hgrt.runtime.base import bundled_weights

    session = onnxruntime.InferenceSession(bundled_weights())
    name = session.get_inputs()[0].name
    about = f"onnxruntime {onnxruntime.__version__}, {session.get_providers()[0]}, fp32"
    return _around(lambda crops: session.run(None, {name: crops})[0], given), about


def _openvino(given: Given, **config: str) -> tuple[Look, str]:
    import openvino

    from hgrt.runtime.base import bundled_weights

    compiled = openvino.Core().compile_model(bundled_weights(), "CPU", config)
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    about = f"openvino {openvino.__version__.partition('-')[0]}, {precision}"
    return _around(lambda crops: compiled(crops)[0], given), about


def _opencv(given: Given) -> tuple[Look, str]:
    import cv2

    from hgrt.runtime.base import bundled_weights

    net = cv2.dnn.readNetFromONNX(str(bundled_weights()))

    def network(crops: Image) -> Any:
        net.setInput(crops)
        return net.forward()

    return _around(network, given), f"opencv {cv2.__version__}, fp32"


def _torch(given: Given, compiled: bool) -> tuple[Look, str]:
    import torch

    from hgrt.model.checkpoint import load_checkpoint
    from hgrt.runtime.base import bundled_weights

    loaded = load_checkpoint(bundled_weights(".pt"))
    model: Any = torch.compile(loaded) if compiled else loaded

    def network(crops: Image) -> Any:
        with torch.inference_mode():
            rgb = torch.from_numpy(crops[..., ::-1].copy()).permute(0, 3, 1, 2).contiguous()
            return model(rgb.float() / 255)[:, -1].numpy()

    return _around(network, given), f"torch {torch.__version__}, CPU, fp32, {torch.get_num_threads()} threads"


def _mediapipe(given: Given, complexity: int, static: bool) -> tuple[Look, str]:
    mediapipe: Any = import_module("mediapipe")
    import cv2

    name = f"pose_landmark_{('lite', 'full', 'heavy')[complexity]}.tflite"
    if not (Path(mediapipe.__file__).parent / "modules" / "pose_landmark" / name).is_file():
        raise AbsentError(
            f"{name} is not in its wheel: MediaPipe downloads it when asked for it, this program does not."
        )
    pose = mediapipe.solutions.pose.Pose(static_image_mode=static, model_complexity=complexity)

    def look(picture: Image, box: Xy, fresh: bool) -> Xy:
        if fresh and not static:
            pose.reset()
        found = pose.process(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)).pose_landmarks
        xy = _nobody()
        if found is not None:
            size = (picture.shape[1], picture.shape[0])
            shares = np.array([(found.landmark[i].x, found.landmark[i].y) for i in BLAZE])
            xy[LIMBS] = shares * size - 0.5
        return xy

    return look, f"mediapipe {mediapipe.__version__}, {name}"


def _rtmlib(given: Given) -> tuple[Look, str]:
    rtmlib: Any = import_module("rtmlib")
    models = sorted(Path(given.models).glob("rtm*.onnx")) if given.models else []
    if not models:
        raise AbsentError("Its models are downloads, and there is no rtm*.onnx in --models.")
    pose = rtmlib.RTMPose(str(models[0]), backend="onnxruntime")
    height, width = pose.session.get_inputs()[0].shape[2:]
    pose.model_input_size = (width, height)

    def look(picture: Image, box: Xy, fresh: bool) -> Xy:
        reach = box[2] / 2 / 1.25  # it adds this margin itself
        corners = [box[0] - reach, box[1] - reach, box[0] + reach, box[1] + reach]
        xy = _nobody()
        xy[LIMBS] = pose(picture, bboxes=[corners])[0][0][COCO]
        return xy

    return look, f"rtmlib, {models[0].name}, onnxruntime"


def _nobody() -> Xy:
    return np.full((16, 2), np.nan)


_MEDIAPIPE = "Give --python mediapipe=PYTHON of an environment with: pip install mediapipe==0.10.21 'numpy<2'"
_TORCH = 'Install it with: pip install "hgrt[train]"'
_OPENVINO = 'Install it with: pip install "hgrt[openvino]"'
PEERS: dict[str, Peer] = {
    REFERENCE: Peer("hgrt, the person's square given", _hgrt, same=True),
    "hgrt-tracking": Peer("hgrt, finds and follows the person", _hgrt_tracking),
    "onnxruntime": Peer("hgrt's network, plain ONNX Runtime", _onnxruntime, same=True),
    "openvino": Peer("hgrt's network, plain OpenVINO", _openvino, same=True, how=_OPENVINO),
    "openvino-f32": Peer(
        "hgrt's network, OpenVINO in f32",
        partial(_openvino, INFERENCE_PRECISION_HINT="f32"),
        same=True,
        how=_OPENVINO,
    ),
    "opencv": Peer("hgrt's network, cv2.dnn", _opencv, same=True),
    "torch": Peer("hgrt's network, torch as loaded", partial(_torch, compiled=False), same=True, how=_TORCH),
    "torch-compile": Peer("hgrt's network, torch.compile", partial(_torch, compiled=True), same=True, how=_TORCH),
    **{
        f"mediapipe-{complexity}-{mode}": Peer(
            f"MediaPipe Pose {complexity}, {'finds anew in each frame' if static else 'finds and follows'}",
            partial(_mediapipe, complexity=complexity, static=static),
            film=not static,
            how=_MEDIAPIPE,
        )
        for complexity in (0, 1, 2)
        for mode, static in (("static", True), ("tracking", False))
    },
    "rtmlib": Peer(
        "RTMPose in rtmlib, the person's square given",
        _rtmlib,
        how="Give --python rtmlib=PYTHON of an environment with: pip install rtmlib onnxruntime",
    ),
}


def work(name: str, folder: Path) -> None:
    """Be a peer: answer the words on stdin with a line of JSON each, until there are no more.

    "open": open, and give a first answer; "answer SET": answer all its pictures; "block SECONDS": time it on the film.
    """
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print what they like
    given = Given(**json.loads((folder / "given.json").read_text(encoding="utf-8")))
    film = cycle(_pictures(folder / FILM))
    look: Look | None = None
    try:
        for line in sys.stdin:
            word, _, rest = line.strip().partition(" ")
            if look is None:
                begun = time.perf_counter()
                look, about = PEERS[name].open(given)
                opened = time.perf_counter()
                look(*next(film), True)
                said = {"open": 1e3 * (opened - begun), "first": 1e3 * (time.perf_counter() - opened), "about": about}
            elif word == "answer":
                xy, times = _answers(look, _pictures(folder / rest), rest == FILM)
                np.save(folder / f"{name}-{rest}.npy", xy)
                said = {"times": times}
            else:
                said = {"times": _block(look, film, float(rest))}
            replies.write(json.dumps(said) + "\n")
    except Exception as error:  # whatever a peer may fail with is what its row says
        replies.write(json.dumps({"failed": _why(error, PEERS[name].how)}) + "\n")


def _why(error: Exception, how: str) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed. {how}".strip()
    if isinstance(error, AbsentError):
        return str(error)
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:300]}"


def _pictures(folder: Path) -> list[tuple[Image, Xy]]:
    """The pictures and squares of a set, in memory that all peers share, every page of it touched."""
    pictures = [np.asarray(np.load(path, mmap_mode="r")) for path in sorted(folder.glob("*.npy"))]
    for picture in pictures:
        picture.max()
    return list(zip(pictures, np.load(folder.with_name(f"{folder.name}-boxes.npy")), strict=True))


def _answers(look: Look, pictures: Sequence[tuple[Image, Xy]], film: bool) -> tuple[Xy, list[float]]:
    """All joints (N, 16, 2), and milliseconds each."""
    found, times = [], []
    for number, (picture, box) in enumerate(pictures):
        begun = time.perf_counter()
        found.append(look(picture, box, not film or number == 0))
        times.append(1e3 * (time.perf_counter() - begun))
    return np.stack(found), times


def _block(look: Look, film: Iterator[tuple[Image, Xy]], seconds: float) -> list[float]:
    """Milliseconds of the calls that fit into so many seconds, the first few left out."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < COLD + LEAST or time.perf_counter() < end:
        picture, box = next(film)
        begun = time.perf_counter()
        look(picture, box, False)
        times.append(1e3 * (time.perf_counter() - begun))
    return times[COLD:]


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
