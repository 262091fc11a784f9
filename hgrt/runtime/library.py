"""Which TensorRT is installed, whether there is a GPU for it, and what it says while it works.

Nothing here is imported before it is asked for. Full TensorRT ends the whole process where there is no driver, so the
GPU is looked for with ctypes alone, before any object of that library is made. Knows neither engines nor passports.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import sys
from collections import deque
from contextlib import suppress
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

from hgrt.errors import HgrtError
from hgrt.require import require

Flavour = Literal["tensorrt", "rtx"]

MODULES: dict[Flavour, str] = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}
TITLES: dict[Flavour, str] = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}
OLDEST: dict[Flavour, tuple[int, int]] = {"tensorrt": (10, 12), "rtx": (1, 0)}

_LIBCUDA = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_LIBNVML = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
_PROC_VERSION = Path("/proc/driver/nvidia/version")
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
_KEPT = 20  # lines of a kind
_KINDS = {"INTERNAL_ERROR": "error", "ERROR": "error", "WARNING": "warning"}


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first GPU that the driver shows.

    `capability` as "9.0", `driver` as "580.65.06" ("CUDA 13.0" where only that is known), `memory` in bytes, and
    `count` of all visible devices.
    """

    name: str
    capability: str
    driver: str
    memory: int
    count: int


@dataclass(frozen=True, slots=True)
class Library:
    """An imported TensorRT. `module` has the classes, `version` is its full one ("11.4.0.106")."""

    module: Any
    flavour: Flavour
    version: str


class TrtLog(Protocol):
    """A logger to hand to TensorRT that remembers the last lines. Keep it as long as whatever it was handed to."""

    def errors(self) -> str:
        """The errors since `clear`, one a line, without repeats; else the warnings; "" where nothing was said."""
        ...

    def clear(self) -> None:
        """Forget what was said."""
        ...


def find_gpu() -> Gpu | None:
    """The first GPU, or None where there is no driver or no device. Never raises, makes no CUDA context."""
    found = probe()
    return found if isinstance(found, Gpu) else None


def load_library(flavour: Flavour | Literal["auto"] = "auto") -> Library:
    """Import TensorRT; "auto": `tensorrt` where it is installed, else `tensorrt_rtx`. Safe without a GPU.

    HgrtError with the pip line where it is not installed, or is installed and does not load or is too old. Then "auto"
    does not move on to the other one: an engine of one does not run on the other.
    """
    if flavour != "auto":
        return _load(flavour)
    for name in MODULES:
        if _installed(MODULES[name]):
            return _load(name)
    raise HgrtError(
        "TensorRT is not installed.",
        f"Looked for the Python packages {' and '.join(MODULES.values())}.",
        'Install it with: pip install "hgrt[tensorrt]"   (RTX cards, or no GPU: pip install "hgrt[rtx]")',
    )


def need_gpu(library: Library) -> Gpu:
    """The GPU, or HgrtError with the reason. Ask before making any object of `tensorrt` (RTX may build without one)."""
    found = probe()
    if isinstance(found, str):
        raise no_gpu(TITLES[library.flavour], found)
    return found


def no_gpu(what: str, reason: str) -> HgrtError:
    """The error where `what` needs a GPU and `probe` gave `reason` instead of one."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    return HgrtError(
        f"{what} needs an NVIDIA GPU, and none is to be found here.",
        reason,
        "Check that nvidia-smi shows it (in a container: start it with --gpus all)"
        + ("." if hidden is None else f"; CUDA_VISIBLE_DEVICES is set to '{hidden}'."),
    )


def probe() -> Gpu | str:
    """The first GPU, or one sentence that says why there is none. Never raises, makes no CUDA context."""
    try:
        return _ask(libcuda())
    except OSError:
        return f"There is no NVIDIA driver: {_LIBCUDA} is not to be found."
    except AttributeError as error:  # a stub library, as toolkits bring for linking
        return f"{_LIBCUDA} is there, but is no whole driver: {error}."


def libcuda() -> Any:
    """The driver's library with the types of the calls asked of it here. OSError where there is no driver."""
    library = ctypes.CDLL(_LIBCUDA)
    calls: dict[str, list[Any]] = {
        "cuInit": [c_uint],
        "cuGetErrorName": [c_int, POINTER(c_char_p)],
        "cuDriverGetVersion": [POINTER(c_int)],
        "cuDeviceGetCount": [POINTER(c_int)],
        "cuDeviceGet": [POINTER(c_int), c_int],
        "cuDeviceGetName": [c_char_p, c_int, c_int],
        "cuDeviceGetAttribute": [POINTER(c_int), c_int, c_int],
        "cuDeviceTotalMem_v2": [POINTER(c_size_t), c_int],
    }
    for name, arguments in calls.items():
        declare(library, name, arguments)
    return library


def declare(library: Any, name: str, arguments: list[Any]) -> None:
    """Tell ctypes the argument types of a call that answers with a CUresult. AttributeError where it is missing."""
    function = getattr(library, name)
    function.argtypes, function.restype = arguments, c_int


def error_name(library: Any, code: int) -> str:
    """The driver's name of a CUresult, as "CUDA_ERROR_NO_DEVICE"."""
    text = c_char_p()
    library.cuGetErrorName(code, byref(text))
    return text.value.decode() if text.value else f"error {code}"


def _ask(cuda: Any) -> Gpu | str:
    number = c_int()
    for call, arguments in (("cuInit", (0,)), ("cuDeviceGetCount", (byref(number),))):
        code = getattr(cuda, call)(*arguments)
        if code:
            return f"The driver answers {call} with {error_name(cuda, code)}."
    count = number.value
    if not count:
        return "The driver shows no device."
    device, major, minor = c_int(), c_int(), c_int()
    name, memory = ctypes.create_string_buffer(256), c_size_t()
    for code in (
        cuda.cuDeviceGet(byref(device), 0),
        cuda.cuDeviceGetName(name, len(name), device),
        cuda.cuDeviceGetAttribute(byref(major), _CAPABILITY_MAJOR, device),
        cuda.cuDeviceGetAttribute(byref(minor), _CAPABILITY_MINOR, device),
        cuda.cuDeviceTotalMem_v2(byref(memory), device),
    ):
        if code:
            return f"The driver counts {count} devices and answers with {error_name(cuda, code)} about the first."
    return Gpu(
        name=name.value.decode(errors="replace"),
        capability=f"{major.value}.{minor.value}",
        driver=_driver(cuda),
        memory=memory.value,
        count=count,
    )


def _driver(cuda: Any) -> str:
    """The driver's version: from the kernel, else from NVML (Windows has no other), else the CUDA it was made for."""
    with suppress(OSError):
        found = re.search(r"\s(\d{3,}\.\d+(\.\d+)?)\s", _PROC_VERSION.read_text())
        if found:
            return found[1]
    with suppress(OSError, AttributeError):
        nvml = ctypes.CDLL(_LIBNVML)
        text = ctypes.create_string_buffer(80)
        if nvml.nvmlInit_v2() == 0:
            code = nvml.nvmlSystemGetDriverVersion(text, c_uint(len(text)))
            nvml.nvmlShutdown()
            if code == 0:
                return text.value.decode(errors="replace")
    version = c_int()
    cuda.cuDriverGetVersion(byref(version))
    return f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"


def _installed(module: str) -> bool:
    """Whether such a package is there, whole or broken. A bare folder of that name is not one."""
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # already imported, and made by hand
        return True
    return spec is not None and spec.origin is not None


def _load(flavour: Flavour) -> Library:
    name, title = MODULES[flavour], TITLES[flavour]
    try:
        module = require(name, flavour)
    except OSError as error:  # its own search for the libraries inside the package
        raise _unusable(flavour, f"The Python package '{name}' is installed but does not load: {error}") from error
    version = getattr(module, "__version__", None)
    numbers = re.match(r"(\d+)\.(\d+)", str(version))
    if numbers is None or not hasattr(module, "Builder"):
        raise _unusable(flavour, f"The Python package '{name}' loads, but is not NVIDIA's: {module}.")
    if (int(numbers[1]), int(numbers[2])) < OLDEST[flavour]:
        needed = ".".join(map(str, OLDEST[flavour]))
        raise _unusable(flavour, f"{title} {version} is installed, and hgrt needs {needed} or newer.")
    return Library(module, flavour, str(version))


def _unusable(flavour: Flavour, why: str) -> HgrtError:
    return HgrtError(
        f"{TITLES[flavour]} cannot be used.",
        why,
        f'Install it afresh with: pip install -U "hgrt[{flavour}]"   (in a checkout: pip install -U -e ".[{flavour}]")',
    )


def open_log(library: Library) -> TrtLog:
    """The library's one `TrtLog`, empty, an instance of its `ILogger`. Safe without a GPU.

    One, because TensorRT goes on writing to the log of its oldest living builder or runtime, whichever is given later.
    """
    log = _log_of(library.module.ILogger)
    log.clear()
    return log


@cache
def _log_of(logger: Any) -> TrtLog:
    class Log(logger):  # type: ignore[misc]
        """Called from TensorRT's own threads, where an exception would end the process."""

        def __init__(self) -> None:
            logger.__init__(self)
            self._said: dict[str, deque[str]] = {"error": deque(maxlen=_KEPT), "warning": deque(maxlen=_KEPT)}

        def log(self, severity: Any, msg: str) -> None:
            name = severity.name
            if name in _KINDS:
                self._said[_KINDS[name]].append(msg)

        def errors(self) -> str:
            lines = self._said["error"] or self._said["warning"]
            return "\n".join(dict.fromkeys(_short(line) for line in list(lines)))

        def clear(self) -> None:
            for lines in self._said.values():
                lines.clear()

    log: TrtLog = Log()
    return log


def _short(line: str) -> str:
    """A line without the places in TensorRT's own sources, which tell a user nothing."""
    line = re.sub(r"^\[[^\]]*::[^\]]*\]\s*", "", line.strip())  # "[parser.cpp::parse::123] ..."
    return re.sub(r"\s+In \w+ at \S+:\d+(?=\)?$)", "", line)  # "... In validate at /src/network.cpp:3810)"
