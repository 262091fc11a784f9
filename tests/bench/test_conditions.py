"""What disturbed a measurement, from files and an nvidia-smi that the tests write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hgrt.bench.conditions import Watcher, device_memory_mb, peak_memory_mb
from hgrt.bench.results import Conditions

TICK = os.sysconf("SC_CLK_TCK")
FREQUENCY = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"


def write(root: Path, path: str, text: object) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def stat(root: Path, user: int, idle: int, steal: int = 0) -> None:
    """Processor times in seconds; a second of waiting for the disk counts as idle, and guests are in `user`."""
    ticks = [each * TICK for each in (user, 0, 0, idle, 1, 0, 0, steal, user, 0)]
    write(root, "proc/stat", f"cpu  {' '.join(map(str, ticks))}\ncpu0 1 2 3\n")


@pytest.fixture(autouse=True)
def programs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder with programs: no GPU unless a test puts one there."""
    folder = tmp_path_factory.mktemp("programs")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return folder


def nvidia_smi(folder: Path, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_a_system_that_tells_nothing_leaves_everything_open(tmp_path: Path) -> None:
    assert Watcher(tmp_path).finish(1.0) == Conditions()


def test_this_machine_can_be_watched() -> None:
    found = Watcher().finish(0.0)
    assert found.others is None or 0 <= found.others <= 1


def test_processor_time_is_shared_between_us_others_and_the_hypervisor(tmp_path: Path) -> None:
    write(tmp_path, "proc/loadavg", "0.75 0.50 0.25 1/100 4242")
    stat(tmp_path, user=100, idle=1000, steal=10)
    watcher = Watcher(tmp_path)
    write(tmp_path, "proc/loadavg", "3.00 0.50 0.25 1/100 4242")
    stat(tmp_path, user=140, idle=1050, steal=20)
    found = watcher.finish(own_cpu_seconds=25)
    assert found.load == 0.75
    assert (found.steal, found.others) == (pytest.approx(0.10), pytest.approx(0.15))
    assert len(found.notes) == 2
    assert "10%" in found.notes[0] and "hypervisor" in found.notes[0]
    assert "15%" in found.notes[1] and "Other processes" in found.notes[1]
    quiet = watcher.finish(own_cpu_seconds=50)  # ticks are coarse: ours may seem to be more than all
    assert quiet.others == 0 and len(quiet.notes) == 1


@pytest.mark.parametrize("text", ["", "cpu", "cpu 1 2 3 4", "intr 1 2 3 4 5 6 7 8"])
def test_processor_times_in_another_form_are_not_guessed_at(text: str, tmp_path: Path) -> None:
    write(tmp_path, "proc/stat", text)
    found = Watcher(tmp_path).finish(0.0)
    assert found.steal is None and found.others is None


def test_a_fallen_clock_is_noted_and_a_steady_one_is_not(tmp_path: Path) -> None:
    write(tmp_path, FREQUENCY.format(0), 800_000)
    write(tmp_path, FREQUENCY.format(1), 3_000_000)
    watcher = Watcher(tmp_path)
    write(tmp_path, FREQUENCY.format(1), 2_800_000)
    assert watcher.finish(0.0) == Conditions(clock_mhz=(3000.0, 2800.0))
    write(tmp_path, FREQUENCY.format(1), 2_000_000)
    (note,) = watcher.finish(0.0).notes
    assert "from 3000 to 2000 MHz" in note


def test_the_clock_is_read_elsewhere_where_linux_has_no_policy(tmp_path: Path) -> None:
    write(tmp_path, "proc/cpuinfo", "cpu MHz\t\t: 1800.0\nx\ncpu MHz\t\t: 2600.5")
    assert Watcher(tmp_path).finish(0.0).clock_mhz == (2600.5, 2600.5)


def test_heat_comes_from_the_hottest_sensor_that_is_connected(tmp_path: Path) -> None:
    for name, value in (("hwmon0/temp1_input", 50_000), ("hwmon1/temp2_input", 95_500), ("hwmon1/temp3_input", -1)):
        write(tmp_path, f"sys/class/hwmon/{name}", value)
    found = Watcher(tmp_path).finish(0.0)
    assert found.celsius == (95.5, 95.5)
    (note,) = found.notes
    assert "processor was at 96 degrees" in note
    for number, value in enumerate((-274_000, 61_000, 255_000)):
        write(tmp_path, f"sys/class/thermal/thermal_zone{number}/temp", value)
    assert Watcher(tmp_path).finish(0.0) == Conditions(celsius=(61.0, 61.0))


def test_only_the_battery_of_the_machine_counts(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/power_supply/mouse/status", "Discharging")
    write(tmp_path, "sys/class/power_supply/mouse/scope", "Device")
    assert Watcher(tmp_path).finish(0.0) == Conditions()
    write(tmp_path, "sys/class/power_supply/BAT0/status", "Charging")
    watcher = Watcher(tmp_path)
    assert watcher.finish(0.0) == Conditions(battery=False)
    write(tmp_path, "sys/class/power_supply/BAT0/status", "Discharging")
    unplugged = watcher.finish(0.0)
    assert unplugged.battery and "battery" in unplugged.notes[0]
    watcher = Watcher(tmp_path)
    write(tmp_path, "sys/class/power_supply/BAT0/status", "Charging")
    assert watcher.finish(0.0).battery  # it began on the battery


@pytest.mark.parametrize(("policy", "noted"), [("powersave", 1), ("ondemand", 1), ("performance", 0), ("schedutil", 0)])
def test_a_policy_that_saves_power_is_noted(policy: str, noted: int, tmp_path: Path) -> None:
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", policy)
    notes = Watcher(tmp_path).finish(0.0).notes
    assert [policy in note for note in notes] == [True] * noted


@pytest.mark.parametrize(
    ("answer", "clock", "celsius", "words"),
    [
        ("1980, 45, 0x0000000000000001", 1980.0, 45.0, []),  # idle
        ("1400, 84, 0x0000000000000024", 1400.0, 84.0, ["throttled"]),
        ("1400, 93, 0x0000000000000040", 1400.0, 93.0, ["throttled", "GPU was at 93"]),
        ("[N/A], 50, [N/A]", None, 50.0, []),
        ("Field is not a valid field to query.", None, None, []),
    ],
)
def test_the_gpu_tells_clock_heat_and_what_holds_it_back(
    answer: str, clock: float | None, celsius: float | None, words: list[str], programs: Path, tmp_path: Path
) -> None:
    nvidia_smi(programs, f"echo '{answer}'")
    found = Watcher(tmp_path).finish(0.0)
    assert found.gpu_clock_mhz == (None if clock is None else (clock, clock))
    assert found.gpu_celsius == (None if celsius is None else (celsius, celsius))
    assert len(found.notes) == len(words) and all(word in note for word, note in zip(words, found.notes, strict=True))


def test_the_gpu_that_cuda_uses_is_asked(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(programs, 'case "$1" in --id=2) echo "1000, 40, 0x0";; --id=0) echo "500, 30, 0x0";; *) exit 6;; esac')
    assert Watcher(tmp_path).finish(0.0).gpu_clock_mhz == (500.0, 500.0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert Watcher(tmp_path).finish(0.0).gpu_clock_mhz == (1000.0, 1000.0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert Watcher(tmp_path).finish(0.0).gpu_clock_mhz is None


def test_memory_on_the_device_is_that_of_the_one_process(programs: Path) -> None:
    assert device_memory_mb(42) is None
    nvidia_smi(programs, "echo '7, 999'; echo '42, 100'; echo '42, 28'; echo '43, [N/A]'")
    assert device_memory_mb(42) == pytest.approx(128 * 1.048576)
    assert device_memory_mb(43) is None and device_memory_mb(44) is None
    nvidia_smi(programs, "echo '42, 100'; exit 9")
    assert device_memory_mb(42) is None


def test_the_most_memory_held_is_read_or_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/status", "VmPeak:\t 9999 kB\nVmHWM:\t    2000 kB\nVmRSS:\t 1000 kB")
    assert peak_memory_mb(tmp_path) == pytest.approx(2.048)
    told, asked = peak_memory_mb(), peak_memory_mb(tmp_path / "none")
    assert told > 20 and asked == pytest.approx(told, rel=0.2)
