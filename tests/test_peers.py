"""The comparison with other programs, as far as it holds without them: who is mapped to what, and who fails how."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hgrt.data.sample import Sample
from hgrt.model.spec import PRESETS, ModelSpec
from hgrt.pose.geometry import Box
from hgrt.pose.skeleton import MPII

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PLACES = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
COCO = (*("nose", "l_eye", "r_eye", "l_ear", "r_ear"), *(f"{side}_{place}" for place in PLACES for side in "lr"))
HANDS = tuple(f"{side}_{finger}" for finger in ("pinky", "index", "thumb") for side in "lr")
BLAZE = (*(f"face {i}" for i in range(11)), *COCO[5:11], *HANDS, *COCO[11:], *("l_heel", "r_heel", "l_toe", "r_toe"))


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("peers")


@pytest.fixture
def worker(peers: ModuleType) -> ModuleType:
    return import_module("peers_worker")


def program(path: Path, text: str) -> str:
    """An interpreter of our own making."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def labels(peers: ModuleType, folder: Path, count: int) -> Any:
    """So many black pictures, all joints known, 10 pixels apart, heads of 10 pixels."""
    truth = np.tile(np.arange(16.0)[:, None] * [10, 5], (count, 1, 1))
    pictures = [np.zeros((60, 80, 3), np.uint8)] * count
    known = np.ones((count, 16), bool)
    return peers._written(folder, "film", pictures, [Box(40, 30, 60)] * count, truth, known, np.full(count, 10.0))


# Who is who


def test_the_limbs_are_the_same_joints_in_all_three_orders(worker: ModuleType) -> None:
    wanted = [f"{side}_{place}" for place in PLACES for side in "rl"]
    assert [MPII.joints[i] for i in worker.LIMBS] == wanted
    assert [COCO[i] for i in worker.COCO] == wanted
    assert [BLAZE[i] for i in worker.BLAZE] == wanted


def test_a_worker_imports_nothing_that_another_environment_lacks() -> None:
    code = "import sys, peers_worker; print({'hgrt', 'cv2', 'torch', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def mediapipe(monkeypatch: pytest.MonkeyPatch, folder: Path, found: object) -> None:
    """MediaPipe with one model, which always finds the same."""
    models = folder / "modules" / "pose_landmark"
    models.mkdir(parents=True)
    (models / "pose_landmark_full.tflite").touch()
    pose = SimpleNamespace(process=lambda rgb: SimpleNamespace(pose_landmarks=found), reset=lambda: None)
    solutions = SimpleNamespace(pose=SimpleNamespace(Pose=lambda **options: pose))
    fake = SimpleNamespace(__file__=str(folder / "__init__.py"), __version__="0", solutions=solutions)
    monkeypatch.setitem(sys.modules, "mediapipe", fake)


def test_landmarks_become_pixels_of_our_joints(
    worker: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    landmarks = [SimpleNamespace(x=i / 100, y=0.5) for i in range(33)]
    mediapipe(monkeypatch, tmp_path, SimpleNamespace(landmark=landmarks))
    look, about = worker._mediapipe(worker.Given(192, 1.0, ""), 1, True)
    xy = look(np.zeros((40, 200, 3), np.uint8), np.zeros(3), True)
    assert "full" in about
    np.testing.assert_allclose(xy[MPII.index("l_wrist")], [0.15 * 200 - 0.5, 19.5])
    np.testing.assert_allclose(xy[MPII.index("r_ankle")], [0.28 * 200 - 0.5, 19.5])
    assert np.isnan(xy[MPII.index("head_top")]).all()


def test_nobody_is_no_joint_and_a_model_that_would_be_downloaded_is_not(
    worker: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mediapipe(monkeypatch, tmp_path, None)
    look, _ = worker._mediapipe(worker.Given(192, 1.0, ""), 1, False)
    assert np.isnan(look(np.zeros((40, 200, 3), np.uint8), np.zeros(3), True)).all()
    with pytest.raises(worker.AbsentError, match="heavy"):
        worker._mediapipe(worker.Given(192, 1.0, ""), 2, True)


# What it is worth


def test_the_score_counts_limbs_and_who_is_not_found(peers: ModuleType, tmp_path: Path) -> None:
    truth = labels(peers, tmp_path, 4)
    ours = truth.truth.copy()
    ours[0, MPII.index("r_wrist")] += 6  # more than half a head away
    ours[1, MPII.index("head_top")] += 60  # no limb
    ours[2] = np.nan
    said = peers.score(truth, truth.truth, ours, ModelSpec(), False)
    assert said["pckh_12"] == pytest.approx(100 * (48 - 13) / 48)
    assert said["pckh_14"] == pytest.approx(100 * (56 - 16) / 56)
    assert said["drop"]["value"] == pytest.approx(100 * 13 / 48)
    assert (said["nobody"], said["shift_px"]) == (1, None)


def test_joints_that_a_peer_does_not_know_are_not_counted_against_it(peers: ModuleType, tmp_path: Path) -> None:
    truth = labels(peers, tmp_path, 2)
    ours = truth.truth.copy()
    ours[:, MPII.index("head_top")] = np.nan
    said = peers.score(truth, truth.truth, ours, ModelSpec(), False)
    assert (said["pckh_12"], said["pckh_14"], said["nobody"]) == (100.0, None, 0)


def test_a_shift_is_in_pixels_of_the_networks_crop(peers: ModuleType, tmp_path: Path) -> None:
    truth = labels(peers, tmp_path, 2)
    said = peers.score(truth, truth.truth, truth.truth + [3.0, 4.0], ModelSpec(input=192), True)
    assert said["shift_px"]["p50"] == pytest.approx(5 * 192 / 60)


def test_photos_are_cut_to_the_square_with_their_labels(peers: ModuleType, tmp_path: Path) -> None:
    image = np.zeros((900, 900, 3), np.uint8)
    image[296:305, 196:205] = 255
    everything = np.ones(16, bool)
    sample = Sample(
        "one", image, np.tile([200.0, 300.0], (16, 1)), everything, everything, everything, Box(400, 400, 800), 50.0
    )

    class Made:
        name = "made/val"

        def __len__(self) -> int:
            return 1

        def get(self, index: int) -> Sample:
            return sample

    found = peers.photos(tmp_path, Made())
    picture = np.load(tmp_path / "made-val" / "00000.npy")
    assert picture.shape == (512, 512, 3)
    x, y = found.truth[0, 0].round().astype(int)
    assert picture[y, x, 0] == 255
    assert (picture[:, :, 0] > 0).sum() < 100  # 9 pixels at 512 / 800
    assert found.normalize[0] == pytest.approx(50 * 512 / 800)


# Processes


@pytest.mark.parametrize(
    ("text", "limit_s", "words"),
    [
        ("echo first >&2; echo it broke >&2; exit 3", 20, "ended with 3: it broke"),
        ("sleep 60", 0.2, "not done after 0 s"),
        ("""echo '{"failed": "no model"}'; sleep 60""", 20, "no model"),
    ],
)
def test_a_peer_that_cannot_answer_says_why(
    peers: ModuleType, tmp_path: Path, text: str, limit_s: float, words: str
) -> None:
    one = peers.Worker("rtmlib", program(tmp_path / "python", text), tmp_path)
    try:
        with pytest.raises(peers.PeerError) as caught:
            one.ask("open", limit_s)
    finally:
        one.close()
    assert str(caught.value) == words


def test_rounds_measure_who_runs_and_keep_who_does_not(
    peers: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peers, "BLOCK_S", 0.01)
    monkeypatch.setattr(peers, "WARM_S", 0.0)
    truth = labels(peers, tmp_path, 3)
    (tmp_path / "given.json").write_text(json.dumps({"input": 192, "crop": PRESETS["lite"].crop, "models": ""}))
    broken = program(tmp_path / "python", "echo it broke >&2; exit 3")
    options = Namespace(rounds=2, seconds=0.02, python={"rtmlib": broken})
    records = peers.measure(["hgrt", "onnxruntime", "rtmlib"], options, tmp_path, ["film"])
    rows = [peers.row(name, one, records["hgrt"], {"film": truth}, ModelSpec()) for name, one in records.items()]
    hgrt, plain, absent = rows
    assert (hgrt["ratio"], absent["failed"]) == (None, "ended with 3: it broke")
    assert [len(blocks) for blocks in records["hgrt"].blocks] == [2, 2]
    assert plain["ratio"]["low"] <= plain["ratio"]["value"] <= plain["ratio"]["high"]
    assert plain["sets"]["film"]["shift_px"]["max"] < 0.01
    text = peers.table(rows, ["film"])
    assert "rtmlib: ended with 3: it broke" in text
    assert text.splitlines()[1].split()[0] == "hgrt"


# The command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "hgrt,nobody"], "no peer nobody"),
        (["--python", "torch=/bin/sh"], "torch=/bin/sh"),
        (["--python", "mediapipe"], "mediapipe="),
        (["--rounds", "0"], "--rounds is at least 1"),
    ],
)
def test_a_wrong_command_is_told(
    peers: ModuleType, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        peers.parse(words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_the_command_names_peers_by_pattern_and_no_place_of_this_machine(peers: ModuleType, tmp_path: Path) -> None:
    options = peers.parse(
        ["--only", "openvino*,torch", "--python", f"mediapipe={sys.executable}", "--models", str(tmp_path)]
    )
    assert options.names == ["hgrt", "openvino", "openvino-f32", "torch"]
    line = peers.said(options)
    assert str(tmp_path) not in line
    assert sys.executable not in line
