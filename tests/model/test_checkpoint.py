"""Files go in whole or not at all: every published layout is read, everything else is refused by name."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import pickle
import re
import resource
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import golden
from hgrt.errors import HgrtError
from hgrt.model.checkpoint import PREFIXES, load_checkpoint, read_checkpoint, save_checkpoint
from hgrt.model.hourglass import StackedHourglass
from hgrt.model.spec import METADATA_KEY, ModelSpec

SMALL: dict[str, Any] = {"channels": 8, "latent": 3}


def tiny(seed: int = 0, **changes: Any) -> StackedHourglass:
    torch.manual_seed(seed)
    return StackedHourglass(replace(ModelSpec(stacks=2, channels=8, latent=3), **changes)).eval()


def same(one: StackedHourglass, other: StackedHourglass) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


# The recipe itself


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("stacks", [1, 2, 4, 8])
def test_recipe_knows_the_published_names(stacks: int, modulated: bool, fixtures: Path) -> None:
    summary = json.loads((fixtures / "key_summary.json").read_text())
    expected = summary[f"{stacks}hg_{'modulated' if modulated else 'base'}"]
    keys = golden.published_keys(stacks, modulated)
    lines = sorted(f"{golden.PREFIX}{key} {','.join(map(str, shape))}" for key, shape in keys)
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == expected["sha256_sorted_key_shape_lines"]
    assert len(keys) == expected["num_keys"]
    assert sum(golden.unused(key) for key, _ in keys) == expected["num_unused_keys"]
    assert sum(key.endswith("num_batches_tracked") for key, _ in keys) == expected["num_batches_tracked_keys"]
    weights = [(key, shape) for key, shape in keys if key.rpartition(".")[2] in ("weight", "bias")]
    assert sum(int(np.prod(shape)) for _, shape in weights) == expected["parameters"]
    assert sum(int(np.prod(shape)) for key, shape in weights if golden.unused(key)) == expected["parameters_unused"]


def test_recipe_knows_the_published_order(fixtures: Path) -> None:
    listed = json.loads((fixtures / "keys_2hg_modulated.json").read_text())
    assert listed["prefix"] == golden.PREFIX
    expected = [(row["key"], tuple(row["shape"]), row.get("unused", False)) for row in listed["keys"]]
    drawn = [(golden.PREFIX + key, shape, golden.unused(key)) for key, shape in golden.published_keys(2, True)]
    assert drawn == expected


def test_recipe_draws_the_published_values(fixtures: Path) -> None:
    probes = json.loads((fixtures / "key_summary.json").read_text())["weight_probe"]
    assert len(probes) >= 6
    for name, probe in probes.items():
        shape = tuple(probe["shape"])
        value = golden.image(name.removeprefix("image ")) if name.startswith("image ") else golden.weight(name, shape)
        assert value.shape == shape and value.dtype == np.float32
        np.testing.assert_array_equal(value.ravel()[:5], np.array(probe["first5"], np.float32))
        assert golden.sha256(value) == probe["sha256_float32"], name


# Published files


@pytest.mark.parametrize(("stacks", "modulated"), [*((stacks, True) for stacks in range(1, 9)), (1, False), (8, False)])
def test_every_published_shape(stacks: int, modulated: bool, tmp_path: Path) -> None:
    path = golden.published_checkpoint(tmp_path / "checkpoint.pt", stacks, modulated, **SMALL)
    net = load_checkpoint(path)
    latent = 3 if modulated else 128
    assert net.spec == ModelSpec(stacks=stacks, channels=8, gate="raw" if modulated else "none", latent=latent)
    assert not net.training


@pytest.fixture(scope="module")
def two_small(tmp_path_factory: pytest.TempPathFactory) -> StackedHourglass:
    path = tmp_path_factory.mktemp("small") / "checkpoint.pt"
    return load_checkpoint(golden.published_checkpoint(path, 2, True, **SMALL))


LAYOUTS = [
    *((prefix, True, False, True) for prefix in ("", *PREFIXES)),
    *((golden.PREFIX, *flags) for flags in itertools.product([True, False], repeat=3) if flags != (True, False, True)),
    ("", False, True, False),
]


@pytest.mark.parametrize(("prefix", "counters", "bare", "old_container"), LAYOUTS)
def test_every_published_layout(
    prefix: str, counters: bool, bare: bool, old_container: bool, tmp_path: Path, two_small: StackedHourglass
) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    golden.published_checkpoint(
        path, 2, True, prefix=prefix, counters=counters, bare=bare, old_container=old_container, **SMALL
    )
    assert same(load_checkpoint(path), two_small)


def test_values_go_where_they_belong(tmp_path: Path) -> None:
    weights = load_checkpoint(golden.published_checkpoint(tmp_path / "checkpoint.pt", 2, True, **SMALL)).state_dict()
    for ours, published, shape in [
        ("stem.0.conv.weight", "pre.0.conv.weight", (2, 3, 7, 7)),
        ("stem.4.shortcut.bias", "pre.4.skip_layer.conv.bias", (8,)),
        ("stacks.1.hourglass.low2.low2.low2.low2.bn3.running_var", "hgs.1.0.low2.low2.low2.low2.bn3.running_var", (4,)),
        ("stacks.0.feature.1.conv.weight", "features.0.1.conv.weight", (8, 8, 1, 1)),
        ("stacks.0.merge_heatmap.weight", "merge_preds.0.conv.conv.weight", (8, 16, 1, 1)),
        ("stacks.0.merge_feature.bias", "merge_features.0.conv.conv.bias", (8,)),
        ("stacks.1.heatmap.bias", "outs.1.conv.bias", (16,)),
        ("stacks.1.modulation.encode.weight", "fcin1.1.fc.weight", (3, 128)),
        ("stacks.0.modulation.up.2.conv.weight", "decoders.0.5.conv_tr_layer.weight", (4, 16, 7, 7)),
    ]:
        np.testing.assert_array_equal(weights[ours].numpy(), golden.weight(published, shape), err_msg=ours)


@pytest.mark.parametrize("ramp", ["linear", "integer"])
def test_ramp_of_a_published_file_is_the_callers_choice(ramp: Any, tmp_path: Path) -> None:
    path = golden.published_checkpoint(tmp_path / "checkpoint.pt", 1, True, **SMALL)
    net = load_checkpoint(path, ramp)
    save_checkpoint(tmp_path / "ours.pt", net)
    assert net.spec.ramp == load_checkpoint(tmp_path / "ours.pt").spec.ramp == ramp


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("model.module.outs.1.conv.bias"), ["1 missing", "stacks.1.heatmap.bias"]),
        (lambda w: w.pop("model.module.pre.1.skip_layer.conv.weight"), ["1 missing", "stem.1.shortcut.weight"]),
        (lambda w: w.pop("model.module.hgs.0.0.up1.bn1.running_mean"), ["1 missing", "hourglass.up1.bn1.running_mean"]),
        (lambda w: w.update({"model.module.extra.weight": torch.zeros(2)}), ["1 unexpected", "extra.weight"]),
        (lambda w: w.update({"model.module.outs.1.conv.bias": torch.zeros(15)}), ["1 of another", "s.1.heatmap.bias"]),
        (
            lambda w: w.update({"model.module.fcin1.1.fc.bias": torch.zeros(4)}),
            ["another shape", "1.modulation.encode"],
        ),
        (lambda w: [w.pop(k) for k in list(w) if ".hgs.1." in k], ["missing", "stacks.1.hourglass", "..."]),
        (lambda w: [w.pop(k) for k in list(w) if ".decoders." in k], ["missing", "stacks.0.modulation"]),
        (lambda w: w.pop("model.module.outs.0.conv.weight"), ["unexpected", "stacks.1."]),
    ],
)
def test_partial_files_are_refused_by_name(change: Change, said: list[str], tmp_path: Path) -> None:
    path = golden.published_checkpoint(tmp_path / "checkpoint.pt", 2, True, change=change, **SMALL)
    with pytest.raises(HgrtError) as refused:
        load_checkpoint(path)
    assert all(word in str(refused.value) for word in [*said, str(path)]), str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "not a stacked-hourglass checkpoint"),
        ({"state_dict": {}}, "not a stacked-hourglass checkpoint"),
        ({"state_dict": {"fc.weight": torch.zeros(3, 3)}}, "fc.weight"),
        ({"state_dict": [1, 2]}, "not a stacked-hourglass checkpoint"),
        ({"state_dict": {"pre.4.conv3.conv.weight": 3}}, "not a stacked-hourglass checkpoint"),
        ({"layer1.0.weight": torch.zeros(2)}, "layer1.0.weight"),
        ([1, 2, 3], "holds a list"),
        (torch.zeros(3), "holds a Tensor"),
        ({1: torch.zeros(2)}, "not a stacked-hourglass checkpoint"),
        ({METADATA_KEY: {"stacks": 40}, "state_dict": {}}, "stacks is 40"),
        ({METADATA_KEY: {"depth": 40}, "state_dict": {}}, "unknown keys depth"),
        ({METADATA_KEY: 7, "state_dict": {}}, "cannot be read"),
        ({METADATA_KEY: asdict(tiny().spec)}, "missing"),
        ({METADATA_KEY: asdict(tiny().spec), "state_dict": {"stem.0.conv.weight": 3}}, "checkpoint.pt"),
        ({METADATA_KEY: asdict(tiny().spec), "state_dict": [1]}, "checkpoint.pt"),
    ],
)
def test_foreign_torch_files_are_refused(content: Any, said: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(HgrtError, match=re.escape(said)):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_networks_of_other_shapes_are_refused(tmp_path: Path) -> None:
    def seventeen(weights: dict[str, Any]) -> None:
        weights["model.module.outs.0.conv.weight"] = torch.zeros(17, 8, 1, 1)

    path = golden.published_checkpoint(tmp_path / "checkpoint.pt", 1, False, change=seventeen, **SMALL)
    with pytest.raises(HgrtError, match="17 joints"):
        load_checkpoint(path)
    with pytest.raises(HgrtError, match="does not build"):
        load_checkpoint(golden.published_checkpoint(tmp_path / "narrow.pt", 1, False, channels=4, latent=1))


# Files that are no checkpoints


def write_text(path: Path) -> None:
    path.write_text("These are not the weights you are looking for.\n" * 20)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")


def write_half(path: Path) -> None:
    save_checkpoint(path, tiny())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_damaged(path: Path) -> None:
    golden.published_checkpoint(path, 1, False, **SMALL)
    path.write_bytes(path.read_bytes()[:-5000])


@pytest.mark.parametrize(
    "write",
    [Path.touch, Path.mkdir, write_text, write_zip, write_half, write_damaged, lambda path: path.write_bytes(b"\x80")],
    ids=["empty", "folder", "text", "zip", "half", "damaged", "one byte"],
)
def test_other_files_are_refused(write: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    write(path)
    with pytest.raises(HgrtError, match=r"checkpoint\.pt"):
        load_checkpoint(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HgrtError, match="There is no checkpoint"):
        load_checkpoint(tmp_path / "nothing.pt")
    with pytest.raises(HgrtError, match="There is no checkpoint"):
        load_checkpoint(str(tmp_path / "nothing.pt"))


pickled = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=40).map(lambda rest: b"\x80\x02" + rest),
    st.text(list("()]}NIKUXqhtRbuse0.01"), max_size=12).map(lambda ops: b"\x80\x02" + ops.encode() + b"."),
)


@given(pickled)
def test_random_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.pt"
    path.write_bytes(content)
    with pytest.raises(HgrtError):
        load_checkpoint(path)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("how", ["torch", "torch old", "pickle"])
def test_code_in_a_file_is_refused_and_not_run(how: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "checkpoint.pt", tmp_path / "executed"
    content = {"state_dict": {"pre.4.conv3.conv.weight": torch.zeros(1)}, "bomb": Bomb(trace)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(HgrtError, match="loaded safely"):
        load_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False) if how != "pickle" else pickle.loads(path.read_bytes())
    assert trace.exists()  # the charge was live


# Our own files


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gate": "none"},
        {"gate": "bounded", "block": "postact", "stem": "light", "growth": 4},
        {"ramp": "integer", "input": 128},
    ],
)
def test_round_trip(changes: dict[str, Any], tmp_path: Path) -> None:
    net = tiny(**changes)
    save_checkpoint(tmp_path / "new" / "folder" / "ours.pt", net, epoch=3, pckh={"val": 51.5})
    back = load_checkpoint(tmp_path / "new" / "folder" / "ours.pt")
    assert back.spec == net.spec and same(back, net) and not back.training
    content = read_checkpoint(tmp_path / "new" / "folder" / "ours.pt")
    assert content["epoch"] == 3 and content["pckh"] == {"val": 51.5}
    with torch.inference_mode():
        image = torch.rand(1, 3, 64, 64)
        torch.testing.assert_close(back(image), net(image), rtol=0, atol=0)


def test_half_the_file_holds_weights_rounded_to_half_and_norms_as_they_are(tmp_path: Path) -> None:
    net = tiny(block="postact", stem="light", growth=4, channels=64)
    far = net.get_buffer("stem.0.bn.running_var")
    far.fill_(1e6)  # beyond what half precision holds
    for name, half in (("whole.pt", False), ("half.pt", True)):
        save_checkpoint(tmp_path / name, net, half, epoch=3)
    assert (tmp_path / "half.pt").stat().st_size < 0.6 * (tmp_path / "whole.pt").stat().st_size
    back = load_checkpoint(tmp_path / "half.pt")
    assert back.spec == net.spec and read_checkpoint(tmp_path / "half.pt")["epoch"] == 3
    for name, value in net.state_dict().items():
        read = back.state_dict()[name]
        assert read.dtype == value.dtype, name
        torch.testing.assert_close(read, value.half().float() if value.ndim > 1 else value, rtol=0, atol=0)


def test_the_ramp_argument_leaves_our_own_files_alone(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "ours.pt", tiny())
    assert load_checkpoint(tmp_path / "ours.pt", ramp="integer").spec.ramp == "linear"


def test_our_own_partial_files_are_refused(tmp_path: Path) -> None:
    net = tiny()
    weights = net.state_dict()
    del weights["stacks.0.merge_heatmap.weight"]
    torch.save({METADATA_KEY: asdict(net.spec), "state_dict": weights}, tmp_path / "ours.pt")
    with pytest.raises(HgrtError, match=r"1 missing: stacks\.0\.merge_heatmap\.weight"):
        load_checkpoint(tmp_path / "ours.pt")


def test_saving_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "ours.pt"
    save_checkpoint(path, tiny(1))
    save_checkpoint(path, tiny(2))
    assert same(load_checkpoint(path), tiny(2)) and not same(load_checkpoint(path), tiny(1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["ours.pt"]


def full_disk_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ours.pt"
    save_checkpoint(path, tiny(1))
    before = path.read_bytes()
    full_disk_at_the_end(monkeypatch)
    with pytest.raises(HgrtError, match="cannot be written") as refused:
        save_checkpoint(path, tiny(2))
    assert "No space left" in refused.value.why
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["ours.pt"]


def test_a_disk_that_fills_up_midway_leaves_the_old_file(tmp_path: Path) -> None:
    """A true failure from the system, in the middle of torch's writing."""
    path = tmp_path / "ours.pt"
    save_checkpoint(path, tiny(1))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(HgrtError, match="cannot be written"):
            save_checkpoint(path, tiny(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["ours.pt"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HgrtError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "ours.pt", tiny())
