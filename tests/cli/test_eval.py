"""`hgrt eval` as a user runs it, on a small packed set of drawn people."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fakes import hgrt, refused
from hgrt import __version__
from hgrt.cli.evaluate import evaluate
from hgrt.data.generated import GeneratedPeople
from hgrt.errors import HgrtError
from hgrt.pose.skeleton import MPII
from packing import tar

h5py = pytest.importorskip("h5py")

PEOPLE = 6


def pack_drawn(folder: Path, split: str, people: int, seed: int) -> None:
    """Drawn people as a packed set."""
    drawn = GeneratedPeople(2 * PEOPLE, seed)
    samples = [sample for sample in map(drawn.get, range(2 * PEOPLE)) if not sample.empty][:people]
    pictures = {f"{k}.png": bytes(cv2.imencode(".png", sample.image)[1]) for k, sample in enumerate(samples)}
    fields: dict[str, list[Any]] = {
        "imgname": [name.encode() for name in pictures],
        "part": [sample.joints for sample in samples],
        "label": [sample.labelled for sample in samples],
        "visible": [sample.visible for sample in samples],
        "evaluate": [sample.evaluate for sample in samples],
        "center": [(sample.box.cx, sample.box.cy) for sample in samples],
        "scale": [sample.box.side / 200 for sample in samples],
        "normalize": [sample.normalize for sample in samples],
    }
    shapes: dict[str, tuple[int, ...]] = {"part": (16, 2), "center": (2,)}
    shapes |= dict.fromkeys(("label", "visible", "evaluate"), (16,))
    folder.mkdir(exist_ok=True, parents=True)
    tar(folder / f"{split}.tar", pictures)
    with h5py.File(folder / f"{split}.h5", "w") as file:
        for name, values in fields.items():
            kind = np.dtype("S8") if name == "imgname" else np.float64
            file[name] = np.array(values, dtype=kind).reshape(len(samples), *shapes.get(name, ()))
        file.attrs["joint_names"] = ",".join(MPII.joints)
        file.attrs["tars"] = f"{split}.tar"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sets `one` (val, and a split `none` of nobody), `two` (val) and `three` (train)."""
    folder = tmp_path_factory.mktemp("data")
    pack_drawn(folder / "one", "val", PEOPLE, 1)
    pack_drawn(folder / "one", "none", 0, 1)
    pack_drawn(folder / "two", "val", 2, 2)
    pack_drawn(folder / "three", "train", 1, 3)
    return folder


def test_an_evaluation_says_and_writes_everything(data: Path, tmp_path: Path) -> None:
    files = ["--json", "e.json", "--predictions", "p.h5", "--sheet", "s.png"]
    done = hgrt("eval", "--data", data / "one", "-d", data / "two", "-d", data / "three", *files, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.json", "p.h5", "s.png"]
    for said in ("lite.onnx", "cut exact", "protocol standard", "all, 8 people", f"Note: {data / 'three'} has no val"):
        assert said in done.stdout, said
    assert "protocol reference" not in done.stdout and "visible" not in done.stdout
    assert done.stderr == "", "no progress bar where nobody looks"

    document = json.loads((tmp_path / "e.json").read_text())
    weights = Path(document["weights"]["path"])
    assert document["hgrt"] == __version__
    assert document["weights"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert document["weights"]["spec"]["input"] == 192
    assert document["runtime"]["runtime"] == "onnxruntime" and document["runtime"]["running"] == "fp32"
    assert document["data"] == [str(data / name) for name in ("one", "two", "three")]
    assert (document["split"], document["sets"], document["people"]) == ("val", ["one/val", "two/val"], 8)
    view = {name: document[name] for name in ("protocol", "cut", "flip", "scales", "thresholds")}
    assert view == {"protocol": "standard", "cut": "exact", "flip": False, "scales": [1.0], "thresholds": [0.5, 0.1]}
    assert list(document["joints"]) == list(MPII.joints)
    total = document["total"]["0.5"]
    scored, wrong = done.stdout.splitlines()[-5:-3]
    assert f"PCKh@0.5 {100 * total['rate']:.2f} % of {total['count']} joints" in scored
    assert wrong.startswith(f"all, {total['count'] - total['correct']} joints wrong: ")
    assert sum(document["wrong"][kind] for kind in ("other_side", "near", "far")) == total["count"] - total["correct"]
    for key in ("correct", "count"):
        assert total[key] == sum(one["total"]["0.5"][key] for one in document["by_set"].values()) > 0
    with h5py.File(tmp_path / "p.h5", "r") as file:
        assert file["preds"].shape == (8, 16, 2) and file["scores"].shape == (8, 16)
    sheet = cv2.imread(str(tmp_path / "s.png"))
    assert sheet is not None and sheet.shape[1] > 8 * 192 > sheet.shape[0]


def test_the_reference_protocol_is_the_published_pipeline(data: Path, tmp_path: Path) -> None:
    done = hgrt("eval", "-d", data / "one", "--protocol", "reference", "--flip", "--json", "e.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cut published, mirrored too" in done.stdout and "not visible" in done.stdout
    document = json.loads((tmp_path / "e.json").read_text())
    assert (document["cut"], document["flip"], document["protocol"]) == ("published", True, "reference")
    assert document["total"]["joints"] == list(MPII.joints)
    assert list(document["by_set"]) == ["one/val"]


def test_a_checkpoint_gives_what_its_export_gives(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    from hgrt.runtime.base import asset

    totals = []
    out = tmp_path / "e.json"
    for name, runtime, batch in (("lite.onnx", "auto", 16), ("lite.pt", "torch", 1)):
        weights = asset(name)
        evaluate(weights, [data / "two"], multi_scale=True, runtime=runtime, threads=1, batch=batch, json=out)
        assert "boxes of 0.8, 1, 1.25" in capsys.readouterr().out
        document = json.loads((tmp_path / "e.json").read_text())
        assert document["weights"]["path"] == str(weights) and document["scales"] == [0.8, 1.0, 1.25]
        totals.append((document["total"]["0.5"], document["total"]["0.1"]))
    assert totals[0] == totals[1]


def test_a_mistake_ends_in_plain_words(data: Path, tmp_path: Path) -> None:
    refused(hgrt("eval", cwd=tmp_path), "nothing to evaluate on", "--data", "packed")
    done = hgrt("eval", "gone.onnx", "-d", data / "one", "--json", "e.json", cwd=tmp_path)
    refused(done, "gone.onnx", "No such file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "test"}, ["no test split", "one/none", "one/val"]),
        ({"split": "none"}, ["nobody in the none split"]),
        ({"data": ["gone"]}, ["no data folder gone"]),
        ({"protocol": "pck"}, ["no protocol 'pck'", "reference, standard, limbs"]),
        ({"cut": "square"}, ["--cut square", "exact, published, legacy"]),
        ({"protocol": "reference", "multi_scale": True}, ["exact cut only", "protocol reference", "--cut exact"]),
        ({"cut": "legacy", "multi_scale": True}, ["exact cut only", "The cut is legacy."]),
        ({"precision": "int4"}, ["--precision int4", "fp32, bf16, fp16, int8"]),
        ({"runtime": "abacus"}, ["no runtime 'abacus'", "onnxruntime"]),
        ({"json": "gone/e.json"}, ["gone/e.json cannot be written", "folder does not exist"]),
        ({"predictions": "p.csv"}, ["p.csv", ".json, .h5, .mat"]),
        ({"sheet": "s.bmp"}, ["s.bmp", ".png, .jpg, .jpeg"]),
        ({"json": "a.json", "predictions": "./a.json"}, ["a.json is asked for twice", "--json", "--predictions"]),
        ({"predictions": "DATA/val.h5"}, ["among the weights and data", "another --predictions"]),
    ],
    ids=lambda value: " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_each_mistake_is_named_before_anything_is_written(
    options: dict[str, Any], words: list[str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    paths = {
        name: [Path(path) for path in value] if name == "data" else Path(value.replace("DATA", str(data / "one")))
        for name, value in options.items()
        if name in ("data", "json", "predictions", "sheet")
    }
    with pytest.raises(HgrtError) as caught:
        evaluate(**({"data": [data / "one"]} | options | paths))
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"
    assert list(tmp_path.iterdir()) == []
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


def test_without_h5py_it_says_what_to_install(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    for options in ({}, {"predictions": tmp_path / "p.h5"}):
        with pytest.raises(HgrtError, match=r"'h5py'(.|\n)*pip install"):
            evaluate(data=[data / "one"], **options)
