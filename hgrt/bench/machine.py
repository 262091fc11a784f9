"""Which machine this is: what a reader wants to know of it, and a key that tells it from others.

Read once and changed by nothing; how busy or warm the machine is belongs to `conditions`. Never raises: what the system
does not tell stays empty.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from pathlib import Path

from hgrt.bench.results import Machine
from hgrt.runtime.base import physical_cores
from hgrt.runtime.library import find_gpu

ROOT = Path("/")
MEGA = 1e6


def describe(root: Path = ROOT) -> Machine:
    """The machine that this runs on, as /proc, /sys and /etc under `root` and the libraries tell it.

    The cores are those that this process may use. `memory_mb` is 0 where the system does not tell it.
    """
    gpu, cpu, cores = find_gpu(), _cpu(root), physical_cores()
    name = gpu.name if gpu else ""
    # The id is mixed with the rest: systemd asks that it is never shown as it stands.
    identity = (told("etc/machine-id", root), cpu, str(cores), name, platform.system(), platform.machine())
    return Machine(
        key=hashlib.sha256("\n".join(identity).encode()).hexdigest()[:12],
        system=f"{platform.system()} {platform.release().partition('-')[0]}",
        python=platform.python_version(),
        cpu=cpu,
        cores=cores,
        memory_mb=_memory_mb(),
        gpu=name,
        driver=gpu.driver if gpu else "",
        virtual=_virtual(root),
        governor=governor(root),
    )


def told(path: str | Path, root: Path = ROOT) -> str:
    """The text of a file of the system, stripped; "" where there is none or it may not be read.

    `path` is relative to `root`, or one that was listed under it.
    """
    try:
        return (root / path).read_text(errors="replace").strip()
    except OSError:  # a sensor may also answer with one, long after it was listed
        return ""


def governor(root: Path = ROOT) -> str:
    """Linux's policy for the clock of the first processor, "" where it is not told."""
    return told("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", root)


def said(command: list[str]) -> str:
    """What a command prints, stripped; "" where it is missing, fails, or takes longer than 5 seconds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.strip()


def _cpu(root: Path) -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", told("proc/cpuinfo", root), re.MULTILINE)
    if found:
        return " ".join(found[1].split())
    apple = said(["sysctl", "-n", "machdep.cpu.brand_string"]) if platform.system() == "Darwin" else ""
    return apple or platform.processor() or platform.machine()


def _memory_mb() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MEGA
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf; others may not know the names
        return 0.0


def _virtual(root: Path) -> bool | None:
    flags = re.search(r"^flags\s*:(.*)$", told("proc/cpuinfo", root), re.MULTILINE)
    return None if flags is None else "hypervisor" in flags[1].split()
