"""How it was while measuring: who else used the processor, and whether clocks, heat or a battery spoilt the numbers.

A look before and a look after, at the files of Linux and at nvidia-smi; elsewhere nothing is told. Never raises: a
benchmark does not fail for want of a thermometer. Judges no runtime and times nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hgrt.bench.machine import MEGA, ROOT, governor, said, told
from hgrt.bench.results import Conditions

KIB, MIB = 1024, 1024**2

STOLEN = 0.05  # of the processor time, from where on it is worth a note
OTHERS = 0.10
FALLEN = 0.90  # of the clock at the start
HOT = 90.0  # degrees Celsius, near where processors and GPUs slow themselves down
THROTTLED = 0x04 | 0x08 | 0x20 | 0x40 | 0x80  # NVML's bits: power cap, slowdown, heat (twice), power brake

_CSV = "--format=csv,noheader,nounits"
_Pair = tuple[float, float]


class Watcher:
    """Looks at the machine when it is made and when it is finished; measure in between."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._before = _Look.take(root)

    def finish(self, own_cpu_seconds: float) -> Conditions:
        """How it was since then. `own_cpu_seconds`: processor time of the benchmark, all its processes together.

        Ask at once after measuring, since clocks and temperatures fall in a pause.
        """
        before, after = self._before, _Look.take(self._root)
        steal, others = _shares(before.ticks, after.ticks, own_cpu_seconds)
        conditions = Conditions(
            load=before.load,
            steal=steal,
            others=others,
            clock_mhz=_both(before.clock, after.clock),
            celsius=_both(before.celsius, after.celsius),
            gpu_clock_mhz=_both(before.gpu.clock, after.gpu.clock),
            gpu_celsius=_both(before.gpu.celsius, after.gpu.celsius),
            battery=after.battery if before.battery is None else before.battery or after.battery,
        )
        throttled = bool((before.gpu.reasons | after.gpu.reasons) & THROTTLED)
        return replace(conditions, notes=tuple(_notes(conditions, governor(self._root), throttled)))


def device_memory_mb(pid: int) -> float | None:
    """What a process holds on all NVIDIA GPUs, as nvidia-smi tells it; None where it does not.

    It tells nothing of processes in another container, and nothing at all on Windows' desktop driver.
    """
    lines = [line.split(",") for line in _nvidia_smi("--query-compute-apps=pid,used_memory", _CSV).splitlines()]
    held = [_number(line[1]) for line in lines if len(line) == 2 and _number(line[0]) == pid]
    known = [each for each in held if each is not None]
    return sum(known) * MIB / MEGA if known else None


def peak_memory_mb(root: Path = ROOT) -> float:
    """The most memory that this process has held at once; 0 where the system does not tell it."""
    found = re.search(r"^VmHWM:\s*(\d+) kB", told("proc/self/status", root), re.MULTILINE)
    if found:
        return int(found[1]) * KIB / MEGA
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else KIB) / MEGA


@dataclass(frozen=True, slots=True)
class _Gpu:
    """Of the first GPU: MHz, degrees, and NVML's bits for whatever holds the clock back."""

    clock: float | None = None
    celsius: float | None = None
    reasons: int = 0

    @classmethod
    def take(cls) -> _Gpu:
        # The first of those that CUDA may use; "" (none of them) is no GPU to nvidia-smi either.
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
        fields = "--query-gpu=clocks.sm,temperature.gpu,clocks_event_reasons.active"
        answer = _nvidia_smi(f"--id={first}", fields, _CSV).split(",")
        if len(answer) != 3:
            return cls()
        bits = re.fullmatch(r"\s*0x([0-9a-fA-F]+)\s*", answer[2])
        return cls(_number(answer[0]), _number(answer[1]), int(bits[1], 16) if bits else 0)


@dataclass(frozen=True, slots=True)
class _Look:
    """One look: load, ticks of all processors (in all, busy, stolen), MHz, degrees, the GPU, and the battery."""

    load: float | None
    ticks: tuple[int, int, int] | None
    clock: float | None
    celsius: float | None
    gpu: _Gpu
    battery: bool | None

    @classmethod
    def take(cls, root: Path) -> _Look:
        load = told("proc/loadavg", root).partition(" ")[0]
        return cls(_number(load), _ticks(root), _clock(root), _celsius(root), _Gpu.take(), _battery(root))


def _ticks(root: Path) -> tuple[int, int, int] | None:
    name, *numbers = told("proc/stat", root).partition("\n")[0].split() or [""]
    if name != "cpu" or len(numbers) < 8:
        return None
    ticks = [int(each) for each in numbers[:8]]  # those of guests, after them, are in the first two already
    idle, waiting, stolen = ticks[3], ticks[4], ticks[7]
    return sum(ticks), sum(ticks) - idle - waiting - stolen, stolen


def _shares(
    before: tuple[int, int, int] | None, after: tuple[int, int, int] | None, own_cpu_seconds: float
) -> tuple[float | None, float | None]:
    """Of the processor time in between, what a hypervisor gave away and what other processes used."""
    if before is None or after is None or after[0] <= before[0]:
        return None, None
    total, busy, stolen = (late - early for early, late in zip(before, after, strict=True))
    ours = own_cpu_seconds * os.sysconf("SC_CLK_TCK")
    return max(0.0, stolen / total), min(1.0, max(0.0, (busy - ours) / total))


def _clock(root: Path) -> float | None:
    """MHz of the fastest processor: the one that works."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    khz = _most(told(file, root) for file in files)
    if khz is not None:
        return khz / 1000
    return _most(re.findall(r"^cpu MHz\s*:\s*(\S+)", told("proc/cpuinfo", root), re.MULTILINE))


def _celsius(root: Path) -> float | None:
    for folder, pattern in (("sys/class/thermal", "thermal_zone*/temp"), ("sys/class/hwmon", "hwmon*/temp*_input")):
        hottest = _most((told(file, root) for file in (root / folder).glob(pattern)), below=150e3)
        if hottest is not None:
            return hottest / 1000
    return None


def _battery(root: Path) -> bool | None:
    """Whether a battery of the machine itself is drained; a mouse or a headset has one, too."""
    supplies = (root / "sys/class/power_supply").glob("*/status")
    states = [told(file, root) for file in supplies if told(file.parent / "scope", root) != "Device"]
    return "Discharging" in states if states else None


def _notes(of: Conditions, policy: str, throttled: bool) -> Iterator[str]:
    if policy in ("powersave", "ondemand"):
        yield f"The clock's governor is '{policy}': the clock may be low, so times are longer and vary more."
    if of.battery:
        yield "The machine runs on its battery: it may save power, and times on mains may be shorter."
    if of.steal is not None and of.steal > STOLEN:
        yield f"The hypervisor gave {of.steal:.0%} of the processor time to others: times are longer and vary more."
    if of.others is not None and of.others > OTHERS:
        yield f"Other processes used {of.others:.0%} of the processor time: times are longer and vary more."
    if of.clock_mhz and of.clock_mhz[1] < FALLEN * of.clock_mhz[0]:
        early, late = of.clock_mhz
        yield f"The clock fell from {early:.0f} to {late:.0f} MHz: what was measured late looks slower than it is."
    if throttled:
        yield "The GPU was throttled for power or heat: its times are longer than it could do."
    for name, pair in (("processor", of.celsius), ("GPU", of.gpu_celsius)):
        if pair and max(pair) > HOT:
            yield f"The {name} was at {max(pair):.0f} degrees Celsius: heat may have slowed it down."


def _nvidia_smi(*arguments: str) -> str:
    program = shutil.which("nvidia-smi")
    return said([program, *arguments]) if program else ""


def _both(before: float | None, after: float | None) -> _Pair | None:
    return None if before is None or after is None else (before, after)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _most(texts: Iterable[str], below: float = float("inf")) -> float | None:
    """The largest number that makes sense; sensors that are not connected give 0, less, or a number beyond belief."""
    numbers = [number for number in map(_number, texts) if number is not None and 0 < number < below]
    return max(numbers, default=None)
