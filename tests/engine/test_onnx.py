"""The exported file is the network: the same numbers, its description inside, and nothing of this machine."""

from __future__ import annotations

import getpass
import socket
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

import onnxruntime as ort  # noqa: E402  # after the skips

from hgrt.engine.onnx import INPUT, OUTPUT, export_onnx  # noqa: E402
from hgrt.errors import HgrtError  # noqa: E402
from hgrt.model.fold import folded  # noqa: E402
from hgrt.model.hourglass import StackedHourglass  # noqa: E402
from hgrt.model.spec import METADATA_KEY, ModelSpec  # noqa: E402
from hgrt.pose.skeleton import MPII  # noqa: E402
from runtime.make_golden import LITE, NETWORKS, crops, files  # noqa: E402

TINY = ModelSpec(stacks=2, channels=8, gate="none", latent=4, block="postact", stem="light", input=128)


def make(spec: ModelSpec, seed: int = 0) -> StackedHourglass:
    """A network with weights and batch statistics that are not the trivial initial ones."""
    torch.manual_seed(seed)
    net = StackedHourglass(spec)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.75, 1.25)
            module.bias.data.uniform_(-0.1, 0.1)
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net.eval()


@pytest.fixture(scope="module")
def tiny() -> StackedHourglass:
    return make(TINY)


@pytest.fixture(scope="module")
def fixed(tiny: StackedHourglass, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stacks with a fixed batch of three, in a folder that was not there."""
    path = tmp_path_factory.mktemp("fixed") / "new" / "tiny.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's exporter about torch itself
        export_onnx(tiny, path, batch=3)
    return path


def session(path: Path) -> Any:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def answer(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(session(path).run([OUTPUT], {INPUT: pixels})[0])


# Folding


VARIANTS = [
    replace(TINY, block=block, gate=gate, stacks=stacks, input=size, stem=stem)
    for block, gate, stacks, size, stem in [
        ("preact", "raw", 1, 128, "published"),
        ("preact", "bounded", 2, 192, "light"),
        ("preact", "none", 2, 256, "published"),
        ("postact", "raw", 2, 256, "light"),
        ("postact", "bounded", 1, 192, "published"),
        ("postact", "none", 1, 128, "light"),
    ]
] + [
    replace(TINY, growth=4, gate="bounded", stacks=1),
    replace(TINY, gate="raw", ramp="integer", stacks=1, latent=1),
]


@pytest.mark.parametrize("spec", VARIANTS, ids=str)
def test_a_folded_network_is_the_same_function(spec: ModelSpec) -> None:
    net = make(spec).double()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    image = torch.rand((2, 3, spec.input, spec.input), generator=torch.Generator().manual_seed(0)).double()
    with torch.inference_mode():
        expected, found = net(image), folded(net).double()(image)
    assert found.shape == expected.shape
    # The tolerance allows for single precision in the decoder's combined matrix, for nothing else.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.max() - expected.min()))
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), f"folding changed the original's {name}"


@pytest.mark.parametrize("spec", VARIANTS, ids=str)
def test_folding_leaves_only_the_norms_that_have_nothing_before_them(spec: ModelSpec) -> None:
    left = [name for name, module in folded(make(spec)).named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if spec.block == "postact":
        assert left == []
    else:
        assert left and all(name.endswith(".bn1") for name in left)


# The file


def test_the_description_travels_in_the_file(fixed: Path) -> None:
    for path, spec in ((fixed, TINY), (files("lite")[".onnx"], LITE)):
        found = session(path).get_modelmeta()
        assert ModelSpec.from_json(found.custom_metadata_map[METADATA_KEY]) == spec
        assert found.producer_name == "hgrt"


def test_a_free_batch_takes_any_number_of_crops() -> None:
    path = files("lite")[".onnx"]
    (taken,), (given,) = session(path).get_inputs(), session(path).get_outputs()
    assert (taken.name, taken.type, taken.shape[1:]) == (INPUT, "tensor(uint8)", [192, 192, 3])
    assert (given.name, given.type, given.shape[1:]) == (OUTPUT, "tensor(float)", [len(MPII), 48, 48])
    assert isinstance(taken.shape[0], str)
    pixels = crops(192)
    for count in (1, 3, 7):
        assert answer(path, np.resize(pixels, (count, 192, 192, 3))).shape == (count, len(MPII), 48, 48)


def test_a_fixed_batch_takes_just_that_many(fixed: Path) -> None:
    (taken,), (given,) = session(fixed).get_inputs(), session(fixed).get_outputs()
    assert taken.shape == [3, 128, 128, 3] and given.shape == [3, len(MPII), 32, 32]
    with pytest.raises(Exception, match="dimension"):
        answer(fixed, crops(128)[:1])


def test_the_file_answers_with_the_last_stack(fixed: Path, tiny: StackedHourglass) -> None:
    pixels = crops(128)
    rgb = torch.from_numpy(pixels[..., ::-1] / 255.0).permute(0, 3, 1, 2)
    with torch.inference_mode():
        expected = make(TINY).double()(rgb)
    span = float(np.ptp(expected.numpy()))
    np.testing.assert_allclose(answer(fixed, pixels), expected[:, -1].numpy(), atol=1e-5 * span)
    assert not np.allclose(expected[:, 0].numpy(), expected[:, -1].numpy(), atol=1e-2 * span)
    assert not tiny.training


def test_all_batch_norms_of_a_postact_network_are_gone(fixed: Path) -> None:
    for path in (fixed, files("lite")[".onnx"]):
        kinds = {node.op_type for node in onnx.load(path).graph.node}
        assert "Conv" in kinds and "BatchNormalization" not in kinds


def test_the_decoder_is_a_single_transposed_convolution() -> None:
    for name in NETWORKS:
        kinds = [node.op_type for node in onnx.load(files(name)[".onnx"]).graph.node]
        assert kinds.count("ConvTranspose") == 1


def test_the_file_is_one_file_and_passes_the_checker(fixed: Path) -> None:
    assert [path.name for path in fixed.parent.iterdir()] == [fixed.name]
    for path in (fixed, *(files(name)[".onnx"] for name in NETWORKS)):
        onnx.checker.check_model(str(path), full_check=True)
        assert not any(tensor.external_data for tensor in onnx.load(path, load_external_data=False).graph.initializer)


def test_nothing_of_the_exporting_machine_is_in_the_file(fixed: Path) -> None:
    here = Path(__file__).resolve()
    words = [str(here.parents[2]), str(Path.home()), "site-packages", ".py", "stack_trace", 'File "', "/tmp/"]
    words += [name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 4]
    for path in (fixed, *(files(name)[".onnx"] for name in NETWORKS)):
        content = path.read_bytes()
        assert [word for word in words if word.encode() in content] == []


# When it cannot be written


class _Program:
    """What torch's exporter returns, at no cost."""

    def __init__(self) -> None:
        self.model_proto = onnx.load(files("lite")[".onnx"])
        del self.model_proto.metadata_props[:]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: _Program())


@pytest.mark.usefixtures("quick")
def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(
    tiny: StackedHourglass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(HgrtError, match="cannot be written") as error:
        export_onnx(tiny, path)
    assert "No space left" in error.value.why
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.usefixtures("quick")
def test_a_folder_in_the_place_of_the_file_is_said_and_nothing_is_left(tiny: StackedHourglass, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").mkdir()
    with pytest.raises(HgrtError, match="cannot be written"):
        export_onnx(tiny, tmp_path / "net.onnx")
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.usefixtures("quick")
def test_a_place_that_cannot_be_is_said(tiny: StackedHourglass, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(HgrtError, match="cannot be written"):
        export_onnx(tiny, tmp_path / "file" / "net.onnx")


@pytest.mark.parametrize("module", ["torch", "onnx", "onnxscript"])
def test_without_the_extra_the_line_that_installs_it_is_said(
    module: str, tiny: StackedHourglass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(HgrtError, match=f"'{module}'") as error:
        export_onnx(tiny, tmp_path / "net.onnx")
    assert 'pip install "hgrt[train]"' in error.value.fix
    assert list(tmp_path.iterdir()) == []
