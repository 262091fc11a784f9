"""What a benchmark found, as plain numbers: the one form that tables, pages, files and comparisons are made from.

Times are milliseconds, memory is megabytes (10^6), shares are 0 to 1. None stands where nothing could be measured, so
that all of it is JSON as it stands. Nothing is measured or judged here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SCHEMA = 1
"""Of the JSON that `Bench` becomes; `docs/bench.md` describes it."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and the 95 % interval around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Machine:
    """What the benchmark ran on. `key` stands for the machine: results of different keys are never compared.

    `memory_mb` of the machine, `gpu` and `driver` "" without one; `virtual`: inside a virtual machine, where neighbours
    may disturb (None: unknown). `governor` is Linux's policy for the clock, "" where it is not told.
    """

    key: str
    system: str
    python: str
    cpu: str
    cores: int
    memory_mb: float
    gpu: str
    driver: str
    virtual: bool | None
    governor: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """How it was while measuring.

    load          mean number of running processes in the minute before the start, ours not among them
    steal         share of the processor time that a hypervisor gave to others
    others        share of the processor time that other processes used
    clock_mhz     of the processor, before and after
    celsius       of the hottest sensor, before and after
    gpu_clock_mhz, gpu_celsius  the same of the GPU
    battery       running on it
    notes         in words: whatever makes the numbers less worth, such as a throttled clock
    """

    load: float | None = None
    steal: float | None = None
    others: float | None = None
    clock_mhz: tuple[float, float] | None = None
    celsius: tuple[float, float] | None = None
    gpu_clock_mhz: tuple[float, float] | None = None
    gpu_celsius: tuple[float, float] | None = None
    battery: bool | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spread:
    """How a time is distributed over `runs` runs."""

    runs: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Latency:
    """From `batch` crops in host memory to their joints in host memory.

    throughput  people a second
    ratio       of the median to that of the reference runtime; a repeated benchmark lands in the interval 19 times of
                20. None for the reference itself
    stages      median of "copy in", "network", "copy out" and "decode"; the copies only where a device tells them, no
                decode where it decodes by itself
    samples     every run, in the order in which they were made
    """

    batch: int
    total: Spread
    throughput: float
    ratio: Interval | None
    stages: Mapping[str, float]
    samples: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """The whole loop of `hgrt demo` on a film, nothing shown or written: time a frame, the first one left out.

    first       of the first frame, in which the person is searched all over it
    fps         frames a second
    stages      of "read" (on a thread of its own), "wait" (for it), "find", "crop", "network", "decode", "draw"; each
                over the frames that have it
    age         of a frame when its pose is drawn, from a camera that is acted at `camera_fps`; `dropped` of `frames`
    """

    first: float
    total: Spread
    fps: float
    stages: Mapping[str, Spread]
    camera_fps: float
    age: Spread
    frames: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Start:
    """What it takes to begin, each the median over processes: starting Python with hgrt; loading the runtime's library
    and opening the weights; the first answer. Then how many calls until the time settled, and whether it did."""

    load: float
    open: float
    first: float
    warm_up: int
    settled: bool


@dataclass(frozen=True, slots=True)
class Memory:
    """The most that the process held, and what it holds on the device."""

    process_mb: float
    device_mb: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the answers differ from the reference's on the same crops, person by person.

    people, joints  that were compared
    shift           of a joint, in pixels of the crop that the network sees: median, 99th percentile, largest
    bias            what is common to all joints: the median shift in x and in y, crop pixels
    flipped         joints that took another peak: more than one heatmap cell away
    noise           root mean square of the scores' differences, over joints that took no other peak
    pckh            PCKh@0.5 in percent under `protocol`; `pckh_reference` the reference's
    drop            percentage points lost against the reference (negative: gained), people drawn again with replacement
    by_joint        joint name -> (found, found by the reference, counted)
    """

    people: int
    joints: int
    shift_p50: float
    shift_p99: float
    shift_max: float
    bias: tuple[float, float]
    flipped: int
    noise: float
    protocol: str
    pckh: float | None
    pckh_reference: float | None
    drop: Interval | None
    by_joint: Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class Roofline:
    """What the network asks for, what the device was measured to give, and how far the runtime gets, at batch 1.

    gflop          floating-point operations of one crop, 10^9 (a multiply-add is two)
    weights_mb, activations_mb  bytes of the weights; of all layers' inputs and outputs
    layers         operations in the graph that the runtime starts from
    peak_gflops    measured: a large matrix product in the precision that runs
    peak_gbs       measured: copying memory, 10^9 bytes read or written a second
    floor          the least time: arithmetic at peak, or weights and pixels read once, whichever is longer
    share          `floor` over the median time of the network
    words          what holds it back, in one sentence
    """

    gflop: float
    weights_mb: float
    activations_mb: float
    layers: int
    peak_gflops: float
    peak_gbs: float
    floor: float
    share: float
    words: str


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was demanded of a runtime, whether it holds, and the evidence in one sentence."""

    name: str
    passed: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Row:
    """One network on one runtime. Where `failed` says why it could not run, nothing was measured.

    network   which weights, by name
    weights   where the file that was opened is from, `sha256` of it
    asked, running  precision; `threads` of a CPU, 0 on a GPU
    """

    network: str
    runtime: str
    device: str
    asked: str
    running: str
    threads: int
    versions: Mapping[str, str]
    weights: str
    sha256: str
    start: Start | None = None
    memory: Memory | None = None
    latency: tuple[Latency, ...] = ()
    loop: Loop | None = None
    agreement: Agreement | None = None
    roofline: Roofline | None = None
    checks: tuple[Check, ...] = ()
    failed: str = ""

    @property
    def passed(self) -> bool:
        """It ran, and every check holds."""
        return not self.failed and all(check.passed for check in self.checks)

    @property
    def name(self) -> str:
        """Runtime and precision, as rows are told apart."""
        return f"{self.runtime} {self.running}"


@dataclass(frozen=True, slots=True)
class Bench:
    """A whole benchmark.

    date        ISO 8601, UTC; `seconds` it took, `rounds` it went through, each in fresh processes
    command     the line that ran it
    data        names of the sets of people, with how many people each has
    reference   network -> whose answers were taken as right
    notes       what else should be known: runtimes left out, and why
    """

    schema: int
    hgrt: str
    date: str
    seconds: float
    rounds: int
    command: str
    machine: Machine
    conditions: Conditions
    data: Mapping[str, int]
    reference: Mapping[str, str]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Every row passed, and there is one."""
        return bool(self.rows) and all(row.passed for row in self.rows)
