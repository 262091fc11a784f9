"""A passport survives its file, is never there before its engine, and every rule refuses what it should and no more."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hgrt.errors import HgrtError
from hgrt.model.spec import PRESETS, ModelSpec
from hgrt.runtime import passport as passports
from hgrt.runtime.library import Gpu, Library
from hgrt.runtime.passport import (
    HARDWARE,
    SCHEMA,
    VERSION_COMPATIBLE,
    Passport,
    candidates,
    check,
    mismatches,
    newest,
    passport_path,
    read_passport,
    write,
)

PLAN = b"a plan, which nobody must run"
COMMAND = "hgrt build-engine lite.pt --precision fp16 --batch 1,4,16 --out engines/lite.engine"
WEIGHTS, ONNX = "c" * 64, "0" * 64
GPU = Gpu("NVIDIA H200", "9.0", "580.65.06", 141 << 30, 1)
TRT = Library(None, "tensorrt", "11.4.0.106")
RTX = Library(None, "rtx", "1.7.1.116")
PORTABLE = {"flavour": "rtx", "version": RTX.version, "gpu": "", "capability": "", "driver": ""}
"""What differs in the passport of an engine that RTX built without a GPU."""


def passport(**more: Any) -> Passport:
    """The passport of an engine of `PLAN` that fits `TRT` and `GPU`."""
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "flavour": "tensorrt",
        "version": TRT.version,
        "gpu": GPU.name,
        "capability": GPU.capability,
        "driver": GPU.driver,
        "cuda_layer": "pycuda 2026.1",
        "precision": "fp16",
        "half_share": 0.94,
        "profiles": ((1, 1, 1), (2, 4, 4), (5, 16, 16)),
        "crop_in_engine": False,
        "spec": PRESETS["lite"],
        "engine_sha256": hashlib.sha256(PLAN).hexdigest(),
        "onnx_sha256": ONNX,
        "checkpoint_sha256": WEIGHTS,
        "onnx": "lite.fp16.onnx",
        "parity": {"p999_cells": 0.02, "max_cells": 0.11, "flipped": 0},
        "built": "2026-11-22T10:00:00+00:00",
        "seconds": 41.5,
        "flags": {"optimisation_level": 3, HARDWARE: "NONE", VERSION_COMPATIBLE: False},
        "command": COMMAND,
    }
    return Passport(**{**values, **more})


def place(folder: Path, name: str = "lite.engine", plan: bytes = PLAN, **more: Any) -> Path:
    """An engine with its passport."""
    engine = folder / name
    engine.write_bytes(plan)
    write(passport(engine_sha256=hashlib.sha256(plan).hexdigest(), **more), engine)
    return engine


def said(engine: Path, library: Library = TRT, gpu: Gpu | None = GPU, /, **more: Any) -> list[str]:
    """What the rules say of an engine with a passport of these values."""
    return mismatches(passport(**more), engine, library, gpu)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An engine that may be loaded."""
    return place(tmp_path)


# There and back

texts = st.text(max_size=30)
hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
numbers = st.one_of(st.integers(-(1 << 70), 1 << 70), st.floats(allow_nan=False, allow_infinity=False))
triples = st.lists(st.integers(1, 512), min_size=3, max_size=3).map(lambda batches: tuple(sorted(batches)))
written = st.builds(
    Passport,
    schema=st.just(SCHEMA),
    flavour=st.sampled_from(["tensorrt", "rtx"]),
    version=texts,
    gpu=texts,
    capability=st.tuples(st.integers(0, 20), st.integers(0, 9)).map(lambda pair: "{}.{}".format(*pair)),
    driver=texts,
    cuda_layer=texts,
    precision=st.sampled_from(["fp16", "fp32"]),
    half_share=st.floats(0, 1),
    profiles=st.lists(triples, min_size=1, max_size=4).map(tuple),
    crop_in_engine=st.booleans(),
    spec=st.builds(ModelSpec, stacks=st.integers(1, 8), joints=st.lists(texts, min_size=1, max_size=5).map(tuple)),
    engine_sha256=hashes,
    onnx_sha256=hashes,
    checkpoint_sha256=st.one_of(hashes, st.just("")),
    onnx=texts.filter(lambda name: not set(name) & set("/\\")),
    parity=st.dictionaries(texts, numbers, max_size=5),
    built=st.datetimes(timezones=st.one_of(st.none(), st.timezones())).map(lambda moment: moment.isoformat()),
    seconds=st.floats(0, 1e6),
    flags=st.dictionaries(texts, st.one_of(texts, st.booleans(), numbers), max_size=5),
    command=texts,
)


@given(written)
@example(passport())
@example(passport(flavour="rtx", gpu="", capability="", driver="", parity={}, flags={}))
@example(passport(command="hgrt build-engine modèle\udcff.pt"))  # a file name that is not UTF-8
def test_json_round_trip(one: Passport) -> None:
    text = one.to_json()
    assert Passport.from_json(text) == one
    assert Passport.from_json(text).to_json() == text
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_file_round_trip(engine: Path) -> None:
    assert passport_path(engine) == engine.parent / "lite.engine.json"
    assert read_passport(engine) == passport()
    assert sorted(file.name for file in engine.parent.iterdir()) == ["lite.engine", "lite.engine.json"]


def test_a_person_can_read_it(engine: Path) -> None:
    lines = passport_path(engine).read_text(encoding="ascii").splitlines()
    assert '  "profiles": [[1, 1, 1], [2, 4, 4], [5, 16, 16]],' in lines
    assert '    "max_cells": 0.11,' in lines
    assert '    "stacks": 1,' in lines
    own = [line.split('"')[1] for line in lines if line.startswith('  "')]
    assert own == [field.name for field in fields(Passport)]


def test_the_order_of_what_was_given_does_not_show() -> None:
    parity = passport().parity
    assert passport(parity=dict(reversed(parity.items()))).to_json() == passport().to_json()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schema": SCHEMA + 1}, "schema is 2"),
        ({"flavour": "onnx"}, "flavour is 'onnx'"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"version": 11}, "version is 11, not a text"),
        ({"engine_sha256": ""}, "engine_sha256 is ''"),
        ({"onnx_sha256": ""}, "onnx_sha256 is ''"),
        ({"checkpoint_sha256": "A" * 64}, "checkpoint_sha256 is 'AAAA"),
        ({"capability": "sm_90"}, "capability is 'sm_90'"),
        ({"capability": ""}, "capability is ''"),
        ({"onnx": "../lite.onnx"}, "onnx is '../lite.onnx'"),
        ({"onnx": "..\\lite.onnx"}, "not the name of a file"),
        ({"crop_in_engine": 1}, "crop_in_engine is 1"),
        ({"profiles": ()}, "profiles are ()"),
        ({"profiles": ((4, 1, 16),)}, "rising"),
        ({"profiles": ((0, 1, 1),)}, "rising"),
        ({"profiles": ((1, 1),)}, "rising"),
        ({"profiles": ((1, 1.5, 2),)}, "rising"),
        ({"half_share": 1.1}, "half_share is 1.1"),
        ({"half_share": None}, "half_share is None"),
        ({"seconds": -1}, "seconds is -1"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"parity": {"max": float("nan")}}, "parity has max = nan"),
        ({"parity": {"max": 10**400}}, "parity has max = 1000"),
        ({"parity": {"max": "small"}}, "parity has max = 'small'"),
        ({"parity": [1]}, "parity is"),
        ({"flags": {"tactics": [1]}}, "flags has tactics"),
        ({"flags": {1: 2}}, "flags is {1: 2}"),
        ({"built": "yesterday"}, "yesterday"),
    ],
)
def test_what_makes_no_sense_is_no_passport(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        passport(**values)
    assert message in str(error.value)


# Never before its engine


def test_there_is_no_passport_without_an_engine(tmp_path: Path) -> None:
    with pytest.raises(HgrtError, match="cannot be read"):
        write(passport(), tmp_path / "lite.engine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("plan", [b"", PLAN[:-1], PLAN + b"\0"], ids=["empty", "cut off", "too long"])
def test_there_is_no_passport_before_the_engine_is_whole(tmp_path: Path, plan: bytes) -> None:
    engine = tmp_path / "lite.engine"
    engine.write_bytes(plan)
    with pytest.raises(HgrtError, match="is not the engine"):
        write(passport(), engine)
    assert list(tmp_path.iterdir()) == [engine]


def test_a_passport_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    engine = tmp_path / "lite.engine"
    engine.write_bytes(PLAN)
    passport_path(engine).mkdir()
    with pytest.raises(HgrtError, match="cannot be written"):
        write(passport(), engine)
    assert not list(tmp_path.glob("*.partial"))


def test_an_engine_that_was_replaced_is_refused_until_its_own_passport_is_there(engine: Path) -> None:
    engine.write_bytes(b"the next build, whose passport is not written yet")
    with pytest.raises(HgrtError, match="was changed since it was built"):
        check(passport(), engine, TRT, GPU)


def test_the_hash_does_not_take_the_whole_file_into_memory(tmp_path: Path) -> None:
    engine, size = tmp_path / "large.engine", 48 << 20
    engine.touch()
    os.truncate(engine, size)
    tracemalloc.start()
    try:
        found = passports.sha256(engine)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == hashlib.sha256(bytes(size)).hexdigest()
    assert peak < 2 << 20


# What cannot be read


def test_no_engine(tmp_path: Path) -> None:
    with pytest.raises(HgrtError, match=r"There is no engine at .*none\.engine\."):
        read_passport(tmp_path / "none.engine")


def test_no_passport(engine: Path) -> None:
    passport_path(engine).unlink()
    with pytest.raises(HgrtError) as error:
        read_passport(engine)
    assert error.value.what == f"{engine} has no passport, so it is not loaded."
    assert "lite.engine.json" in error.value.why
    assert error.value.fix == f"Build it here: hgrt build-engine CKPT --out {engine}"


def test_the_way_out_can_be_typed_where_a_path_has_a_space(tmp_path: Path) -> None:
    with pytest.raises(HgrtError) as error:
        read_passport(tmp_path / "my engine.engine")
    assert error.value.fix.endswith(f"--out '{tmp_path}/my engine.engine'")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda values: values.pop("version"), "missing: version"),
        (lambda values: values.update(colour="red"), "unknown: colour"),
        (lambda values: values.update(schema=0), "schema is 0"),
        (lambda values: values.update(schema="9"), "schema is '9'"),
        (lambda values: values.update(spec={"depth": 3}), "unknown keys depth"),
        (lambda values: values.update(spec=None), "expected names and values"),
        (lambda values: values.update(profiles=3), "not iterable"),
        (lambda values: values.update(gpu=None), "gpu is None"),
        (lambda values: values.update(engine_sha256=None), "engine_sha256 is None"),
        (lambda values: values["parity"].update(max_cells=float("inf")), "parity has max_cells = inf"),
    ],
)
def test_a_broken_passport_says_what_is_broken(
    engine: Path, spoil: Callable[[dict[str, Any]], object], why: str
) -> None:
    values = json.loads(passport_path(engine).read_text())
    spoil(values)
    passport_path(engine).write_text(json.dumps(values))
    with pytest.raises(HgrtError, match="is broken") as error:
        read_passport(engine)
    assert why in error.value.why
    assert "hgrt build-engine" in error.value.fix


@given(st.one_of(st.binary(max_size=40), st.integers(0, 800).map(lambda end: passport().to_json().encode()[:end])))
@example(b"")
@example(b"[]")
@example(b"null")
@example(b"[" * 100_000)
@example(b"\xff\xfe{}")
@example(b'{"schema": ' + b"9" * 5000 + b"}")
def test_what_is_no_passport_is_refused_in_words(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    engine = tmp_path_factory.mktemp("broken") / "lite.engine"
    passport_path(engine).write_bytes(content)
    with pytest.raises(HgrtError, match="is broken|cannot be read"):
        read_passport(engine)


def test_a_newer_schema_is_not_called_broken(engine: Path) -> None:
    passport_path(engine).write_text(json.dumps({"schema": SCHEMA + 1, "what": ["nobody", "knows"]}))
    with pytest.raises(HgrtError, match="was written by a newer hgrt") as error:
        read_passport(engine)
    assert error.value.why == "Its schema is 2, and this version reads 1."
    assert error.value.fix.startswith("Update hgrt")


# Rules: each refuses what it should, in one sentence that names both sides


def test_what_was_built_here_may_be_loaded_here(engine: Path) -> None:
    assert said(engine) == []
    check(passport(), engine, TRT, GPU)


def test_other_bytes(engine: Path) -> None:
    engine.write_bytes(PLAN.replace(b"nobody", b"anyone"))
    found, wanted = (hashlib.sha256(plan).hexdigest()[:12] for plan in (engine.read_bytes(), PLAN))
    assert said(engine) == [
        f"lite.engine was changed since it was built: its SHA-256 begins with {found}, not {wanted}."
    ]


def test_another_flavour(engine: Path) -> None:
    assert said(engine, RTX) == [
        "lite.engine was built with TensorRT 11.4.0.106, and here is TensorRT for RTX 1.7.1.116."
    ]
    assert said(engine, TRT, flavour="rtx", version="1.7.1.116") == [
        "lite.engine was built with TensorRT for RTX 1.7.1.116, and here is TensorRT 11.4.0.106."
    ]


@pytest.mark.parametrize("version", ["11.4.0.105", "11.4.1.106", "11.4.0", "10.16.1.11", "12.0.0.1"])
def test_another_version(engine: Path, version: str) -> None:
    here = replace(TRT, version=version)
    assert said(engine, here) == [f"lite.engine was built with TensorRT 11.4.0.106, and here is TensorRT {version}."]


@pytest.mark.parametrize(
    ("built", "here", "fits"),
    [
        ("11.1.0.106", "11.1.0.106", True),
        ("11.1.0.106", "11.4.0.2", True),
        ("11.4.0.106", "11.1.0.106", False),
        ("10.12.0.1", "11.0.0.1", True),
        ("8.6.1.6", "10.3.0.1", True),
        ("8.6.1.6", "11.4.0.1", False),
        ("11.0.0.1", "10.16.1.11", False),
        ("11.0.0.1", "12.0.0.1", False),
        ("unknown", "11.0.0.1", False),
    ],
)
def test_version_compatible_engines_run_on_the_later_versions_that_are_documented(
    engine: Path, built: str, here: str, fits: bool
) -> None:
    found = said(engine, replace(TRT, version=here), version=built, flags={VERSION_COMPATIBLE: True})
    assert found == (
        []
        if fits
        else [
            f"lite.engine runs on TensorRT {built} and the later versions that NVIDIA documents, "
            f"and here is TensorRT {here}."
        ]
    )


def test_rtx_knows_no_version_compatibility(engine: Path) -> None:
    later = replace(RTX, version="1.8.0.1")
    assert said(engine, later, flavour="rtx", version=RTX.version, flags={VERSION_COMPATIBLE: True}) == [
        "lite.engine was built with TensorRT for RTX 1.7.1.116, and here is TensorRT for RTX 1.8.0.1."
    ]


@pytest.mark.parametrize(("flavour", "library"), [("tensorrt", TRT), ("rtx", RTX)])
@pytest.mark.parametrize("level", ["NONE", "SAME_COMPUTE_CAPABILITY"])
def test_another_capability(engine: Path, flavour: str, library: Library, level: str) -> None:
    other = replace(GPU, name="NVIDIA L4", capability="8.9")
    assert said(engine, library, other, flavour=flavour, version=library.version, flags={HARDWARE: level}) == [
        "lite.engine is for compute capability 9.0, and NVIDIA L4 has 8.9."
    ]


def test_another_gpu_of_the_same_capability(engine: Path) -> None:
    other = replace(GPU, name="NVIDIA H100 PCIe")
    assert said(engine, TRT, other) == ["lite.engine was built on NVIDIA H200, and the GPU here is NVIDIA H100 PCIe."]
    assert said(engine, TRT, other, flags={HARDWARE: "SAME_COMPUTE_CAPABILITY"}) == []
    assert said(engine, RTX, other, flavour="rtx", version=RTX.version) == []


@pytest.mark.parametrize("capability", ["8.0", "8.9", "10.0", "12.1"])
def test_ampere_plus_engines_run_from_ampere_on(engine: Path, capability: str) -> None:
    assert said(engine, TRT, replace(GPU, name="other", capability=capability), flags={HARDWARE: "AMPERE_PLUS"}) == []


@pytest.mark.parametrize(
    "values",
    [{"flags": {HARDWARE: "AMPERE_PLUS"}}, PORTABLE],
    ids=["AMPERE_PLUS", "RTX without a GPU"],
)
def test_nothing_for_ampere_runs_on_what_came_before(engine: Path, values: dict[str, Any]) -> None:
    library = RTX if values is PORTABLE else TRT
    assert said(engine, library, GPU, **values) == []
    assert said(engine, library, replace(GPU, name="Tesla T4", capability="7.5"), **values) == [
        "lite.engine needs compute capability 8.0 or later, and Tesla T4 has 7.5."
    ]


@pytest.mark.parametrize(
    ("built", "here", "fits"),
    [
        ("580.65.06", "580.65.06", True),
        ("580.65.06", "580.82", True),
        ("580.65.06", "1000.1", True),
        ("580.65.06", "580.9", False),
        ("580.65.06", "575.99", False),
        ("13.0", "12.8", False),
        ("13.0", "13.1", True),
        ("580.65.06", "13.0", True),  # a driver and a CUDA version say nothing of each other
        ("13.0", "570.1", True),
        ("", "570.1", True),
        ("580.65.06", "", True),
    ],
)
def test_an_older_driver(engine: Path, built: str, here: str, fits: bool) -> None:
    found = said(engine, TRT, replace(GPU, driver=here), driver=built)
    sentence = f"lite.engine was built with driver {built}, and the driver here is older: {here}."
    assert found == ([] if fits else [sentence])


@pytest.mark.parametrize(
    ("values", "wanted"),
    [({}, "9.0"), ({"flags": {HARDWARE: "AMPERE_PLUS"}}, "8.0 or later"), (PORTABLE, "8.0 or later")],
)
def test_no_gpu(engine: Path, values: dict[str, Any], wanted: str) -> None:
    library = RTX if values is PORTABLE else TRT
    assert said(engine, library, None, **values) == [
        f"lite.engine needs an NVIDIA GPU of compute capability {wanted}, and none was found."
    ]


def test_a_missing_onnx_is_no_reason(engine: Path) -> None:
    assert not (engine.parent / passport().onnx).exists()
    assert said(engine) == []


def test_the_refusal_has_every_reason_and_the_command_that_rebuilds(engine: Path) -> None:
    engine.write_bytes(b"")
    with pytest.raises(HgrtError) as error:
        check(passport(), engine, replace(TRT, version="11.5.0.1"), replace(GPU, capability="8.9", driver="570.1"))
    assert error.value.what.startswith("lite.engine was changed")
    assert error.value.why == (
        "lite.engine was built with TensorRT 11.4.0.106, and here is TensorRT 11.5.0.1. "
        "lite.engine is for compute capability 9.0, and NVIDIA H200 has 8.9. "
        "lite.engine was built with driver 580.65.06, and the driver here is older: 570.1."
    )
    assert error.value.fix == COMMAND


DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "engines.md"


def test_the_document_has_every_field() -> None:
    table = DOCUMENT.read_text().partition("## The passport")[2].partition("\n## ")[0]
    named = [name for line in table.splitlines() for name in line.split("|")[1:2]]
    assert " ".join(named).replace("`", "").replace(",", "").split()[2:] == [field.name for field in fields(Passport)]


@pytest.mark.parametrize(
    ("library", "gpu", "values"),
    [
        (TRT, GPU, {"engine_sha256": hashlib.sha256(b"").hexdigest()}),
        (RTX, GPU, {}),
        (replace(TRT, version="10.16.1.11"), GPU, {}),
        (replace(TRT, version="11.1.0.1"), GPU, {"flags": {VERSION_COMPATIBLE: True}}),
        (TRT, replace(GPU, name="NVIDIA L4", capability="8.9"), {}),
        (RTX, replace(GPU, name="Tesla T4", capability="7.5"), PORTABLE),
        (TRT, replace(GPU, name="NVIDIA H100 PCIe"), {}),
        (TRT, replace(GPU, driver="570.1"), {}),
        (TRT, None, {}),
    ],
)
def test_the_document_has_every_sentence(
    engine: Path, library: Library, gpu: Gpu | None, values: dict[str, Any]
) -> None:
    found = said(engine, library, gpu, **values)
    assert len(found) == 1
    assert found[0] in DOCUMENT.read_text()


# Trust


def test_trust_does_not_hash(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.write_bytes(b"something else")
    monkeypatch.setattr(passports, "sha256", lambda path: pytest.fail("hashed"))
    check(passport(), engine, TRT, GPU, trust=True)


def test_trust_does_not_make_an_engine_fit(engine: Path) -> None:
    for library, gpu in ((RTX, GPU), (TRT, replace(GPU, capability="8.9")), (TRT, None)):
        with pytest.raises(HgrtError) as error:
            check(passport(), engine, library, gpu, trust=True)
        assert error.value.fix == COMMAND


# Search


def at(hour: int, zone: str = "+00:00") -> str:
    """That hour of a day."""
    return f"2026-11-22T{hour:02}:00:00{zone}"


def test_the_newest_engine_of_these_weights(tmp_path: Path) -> None:
    place(tmp_path, "a.engine", built=at(9))
    place(tmp_path, "b.engine", built=at(11))
    place(tmp_path, "c.engine", built=at(10))
    for source in (WEIGHTS, ONNX):
        assert newest(tmp_path, source, TRT, GPU) == tmp_path / "b.engine"
    place(tmp_path, "d.engine", built=at(13, "+05:00"))  # 8 o'clock
    assert newest(tmp_path, WEIGHTS, TRT, GPU) == tmp_path / "b.engine"
    place(tmp_path, "e.engine", built="2026-11-22T12:00:00")  # UTC where nothing is said
    assert newest(tmp_path, WEIGHTS, TRT, GPU) == tmp_path / "e.engine"


def test_age_is_what_the_passport_says_not_the_file_system(tmp_path: Path) -> None:
    place(tmp_path, "late.engine", built=at(11))
    early = place(tmp_path, "early.engine", built=at(9))
    shutil.copystat(tmp_path, early)
    os.utime(early, (4e9, 4e9))
    assert newest(tmp_path, WEIGHTS, TRT, GPU) == tmp_path / "late.engine"


def test_what_is_passed_over_says_why(tmp_path: Path) -> None:
    place(tmp_path, "changed.engine", built=at(15)).write_bytes(b"changed")
    place(tmp_path, "gone.engine", built=at(14)).unlink()
    place(tmp_path, "old.engine", built=at(13), version="11.3.0.1")
    place(tmp_path, "other.engine", built=at(12), checkpoint_sha256="d" * 64)
    place(tmp_path, "right.engine", built=at(11))
    place(tmp_path, "right too.engine", built=at(10))
    (tmp_path / "stranger.engine").write_bytes(PLAN)
    (tmp_path / "notes.txt").write_text("no engine")
    assert newest(tmp_path, WEIGHTS, TRT, GPU) == tmp_path / "right.engine"
    found = {one.engine.name: one for one in candidates(tmp_path, WEIGHTS, TRT, GPU)}
    assert list(found) == [
        *("changed.engine", "old.engine", "other.engine", "right.engine", "right too.engine", "stranger.engine")
    ]
    assert found["right.engine"].reasons == found["right too.engine"].reasons == ()
    assert "was changed" in found["changed.engine"].reasons[0]
    assert "TensorRT 11.3.0.1" in found["old.engine"].reasons[0]
    assert found["other.engine"].reasons == (
        "other.engine was built from other weights: dddddddddddd, not cccccccccccc.",
    )
    assert "has no passport" in found["stranger.engine"].reasons[0]
    assert found["stranger.engine"].passport is None


def test_only_what_may_fit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(tmp_path, "other.engine", built=at(12), checkpoint_sha256="d" * 64, onnx_sha256="e" * 64)
    place(tmp_path, "stale.engine", built=at(11), version="11.3.0.1")
    place(tmp_path, "right.engine", built=at(10))
    place(tmp_path, "right too.engine", built=at(9))
    hashed = []
    monkeypatch.setattr(passports, "sha256", lambda path: hashed.append(path.name) or passport().engine_sha256)
    assert newest(tmp_path, WEIGHTS, TRT, GPU) == tmp_path / "right.engine"
    assert hashed == ["right.engine"]


@pytest.mark.parametrize("gpu", [GPU, None])
def test_nothing_is_found_where_nothing_fits(tmp_path: Path, gpu: Gpu | None) -> None:
    assert newest(tmp_path / "no such folder", WEIGHTS, TRT, gpu) is None
    assert newest(tmp_path, WEIGHTS, TRT, gpu) is None
    place(tmp_path, checkpoint_sha256="")
    assert newest(tmp_path, "", TRT, gpu) is None
    assert (newest(tmp_path, ONNX, TRT, gpu) is None) == (gpu is None)
