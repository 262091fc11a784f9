"""Glass to glass: from light on the screen through camera, network and drawing back to the screen, with no hardware.

The screen shows a time code beside the camera's picture, a new one with every picture; the camera looks at the screen.
All times are read when the window has just been refreshed; what is refreshed then is light d later, the screen's delay.

    T_k      code k is refreshed          T_k + d  it is light
    E        the camera sees it, at T_k + d or later, and that picture goes through the whole loop
    T'       that picture is refreshed    T' + d   it is light

The latency that an eye meets is (T' + d) - E. What can be read off is T' - T_k. It holds exposure, transfer, grabbing,
computing, drawing, and d once: on the code's way to the glass instead of the picture's, which is the same, for the two
stand side by side in one window. And it holds E - (T_k + d), how long code k had been light when the camera saw it. So
it is never too short, and too long by less than the time between two shown pictures, the `step`: by half of it on
average, but by always the same part where the loop keeps pace with the camera, for then all are whole steps.

Nothing is measured here but this: what a result looks like on a terminal or a page is for others to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from hgrt.bench.results import Spread
from hgrt.bench.statistics import spread
from hgrt.errors import HgrtError
from hgrt.estimator import Mark, PoseEstimator
from hgrt.live.clock import Clock, Stopwatch
from hgrt.live.hud import draw_overlay
from hgrt.live.loop import run
from hgrt.live.person import Tracker
from hgrt.live.sink import Sink, WindowSink, can_show
from hgrt.live.smooth import OneEuro
from hgrt.live.source import Frame, Source
from hgrt.pose.geometry import Array, Box, Image
from hgrt.pose.pose import Pose

# They differ in 11 of 36 blocks at least: what the camera sees of one fading into the next is no third one.
CODES = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36H11)
COUNT = len(CODES.bytesList)
WIDE = 640  # wider pictures are shrunk to this before they are read: a code that fills enough of them stays legible
FEWEST = 10  # codes that a result takes


@dataclass(frozen=True, slots=True)
class GlassResult:
    """Times in milliseconds.

    frames     that went through the loop; `read` of them carried a code that counts
    latency    T' - T_k of those, the screen's delay in it once; up to `step` too long, never too short
    age        of the same frames by the program's own clock: from when it was handed the frame until it was shown
    step       median time between two shown pictures
    detect_ms  median time to find the code. It is spent after the frame was shown and is in neither of the times
               above; a loop that it makes slower than the camera starts up to one camera frame later on the next
    """

    frames: int
    read: int
    latency: Spread
    age: Spread
    step: float
    detect_ms: float


@dataclass(frozen=True, slots=True)
class _Read:
    """A code that was read: where its middle is and how long its sides, in pixels, and the frame's two times in ms."""

    middle: Array
    side: float
    latency: float
    age: float


class GlassSink(Sink):
    """Shows the camera's pictures beside codes and reads the codes out of them.

    `show` is given each picture for the screen, (H, W, 3) uint8 BGR, and returns when it was refreshed. `clock` is the
    one that frames are stamped by, in seconds. The loop must draw by `draw`, which looks before it draws.
    """

    def __init__(self, show: Callable[[Image], None], clock: Clock = time.monotonic) -> None:
        self._show, self._clock = show, clock
        self._detector = cv2.aruco.ArucoDetector(CODES)
        self._seen: Image
        self._shown: list[float] = []
        self._reads: list[_Read] = []
        self._detect_ms: list[float] = []

    def draw(self, frame: Frame, pose: Pose | None, watch: Stopwatch, source: Source) -> None:
        """The overlay of the demo. What was under it is kept in grey: a tenth of a millisecond that counts."""
        self._seen = np.asarray(cv2.cvtColor(frame.bgr, cv2.COLOR_BGR2GRAY), np.uint8)
        draw_overlay(frame, pose, watch, source)

    def write(self, frame: Frame, pose: Pose | None, drawn: Image) -> None:
        self._show(beside_code(drawn, len(self._shown)))
        now = self._clock()
        self._shown.append(now)
        self._read(now, 1000 * (now - frame.t_capture))
        self._detect_ms.append(1000 * (self._clock() - now))

    def _read(self, now: float, age: float) -> None:
        """The newest code in sight. The camera also sees its own picture on the screen, with an older code in it."""
        found = []
        newest = len(self._shown) - 1
        for number, corners in _codes(self._detector, self._seen):
            back = (newest - number) % COUNT
            # One that was shown longer ago may as well be a whole round older; the one just shown cannot be in sight.
            if 1 <= back <= min(newest, COUNT // 2):
                found.append((back, corners))
        if found:
            back, corners = min(found, key=lambda one: one[0])
            side = float(np.ptp(corners, axis=0).max())
            self._reads.append(_Read(corners.mean(axis=0), side, 1000 * (now - self._shown[newest - back]), age))

    def result(self) -> GlassResult:
        """What was found so far. HgrtError below `FEWEST` codes."""
        reads = _in_place(self._reads)
        if len(reads) < FEWEST:
            raise HgrtError(
                f"The camera read {len(reads)} time codes off the screen, and {FEWEST} are needed.",
                f"{len(self._shown)} pictures were shown; the code is the large square of black and white blocks.",
                "Point the camera at it so that it fills a fifth of the picture with white all around, hold it still,"
                " keep reflections off the screen and turn its brightness up.",
            )
        return GlassResult(
            frames=len(self._shown),
            read=len(reads),
            latency=spread([one.latency for one in reads]),
            age=spread([one.age for one in reads]),
            step=1000 * float(np.median(np.diff(self._shown))),
            detect_ms=float(np.median(self._detect_ms)),
        )


def run_glass(
    source: Source,
    estimator: PoseEstimator,
    seconds: float,
    show: Callable[[Image], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
    clock: Clock = time.monotonic,
) -> GlassResult:
    """Measure for so long, or until `stopped()`, with the loop of the demo and one look of the network a frame.

    Without `show` a window is opened, and closing it or pressing q ends the measurement. HgrtError for what is no
    camera, without a screen, and where too few codes were read.
    """
    if not source.live:
        raise HgrtError(f"{source.name} is not a camera.", "Only a camera can look at the screen.", "Give --source 0")
    if show is None:
        with _window(source) as window:
            return run_glass(
                source,
                estimator,
                seconds,
                lambda picture: window.write(Frame(picture, 0, 0.0, 0.0), None, picture),
                lambda: stopped() or window.stopped,
                clock,
            )
    sink, end = GlassSink(show, clock), clock() + seconds
    run(
        source,
        _Whole(estimator),
        [sink],
        sink.draw,
        Stopwatch(),
        OneEuro(),
        stopped=lambda: stopped() or clock() >= end,
        clock=clock,
    )
    return sink.result()


def beside_code(drawn: Image, index: int) -> Image:
    """The picture for the screen: the code of shown picture `index` on white, as high as `drawn`, and `drawn`.

    They stand side by side, so that a screen that is lit from top to bottom lights both at once.
    """
    high = drawn.shape[0]
    sheet = np.full((high, high, 3), 255, np.uint8)
    side = 2 * high // 3
    edge = (high - side) // 2
    code = cv2.aruco.generateImageMarker(CODES, index % COUNT, side)
    sheet[edge : edge + side, edge : edge + side] = code[:, :, None]
    return np.hstack([sheet, drawn])


class _Whole(Tracker):
    """Looks at the whole picture: nobody needs to be there, and each frame costs what following somebody costs."""

    def __call__(self, image: Image, mark: Mark = lambda stage: None) -> Pose:
        return self._look(image, Box.whole(image.shape[1], image.shape[0]), mark)


def _window(source: Source) -> WindowSink:
    if not can_show():
        raise HgrtError(
            "There is no screen to show a time code on.",
            "No window can be opened here.",
            "Run it at the machine's own screen, with a camera that can be pointed at it; or leave out --glass.",
        )
    return WindowSink(source, "hgrt bench --glass")


def _codes(detector: cv2.aruco.ArucoDetector, grey: Image) -> list[tuple[int, Array]]:
    """Numbers of the codes in a (H, W) picture, with their corners (4, 2) in pixels of the picture as it was read."""
    high, wide = grey.shape
    if wide > WIDE:
        small = cv2.resize(grey, (WIDE, round(high * WIDE / wide)), interpolation=cv2.INTER_AREA)
        grey = np.asarray(small, np.uint8)
    corners, numbers, _ = detector.detectMarkers(grey)
    if numbers is None:
        return []
    return [
        (int(number), np.asarray(four, np.float64).reshape(4, 2))
        for number, four in zip(np.ravel(numbers), corners, strict=True)
    ]


def _in_place(reads: list[_Read]) -> list[_Read]:
    """Those that stand where most do.

    Now and then only the camera's own picture on the screen could be read, whose code is a whole round older: it would
    count the loop twice. It stands elsewhere.
    """
    if not reads:
        return []
    usual = np.median([one.middle for one in reads], axis=0)
    reach = float(np.median([one.side for one in reads])) / 2
    return [one for one in reads if float(np.abs(one.middle - usual).max()) < reach]
