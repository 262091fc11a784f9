"""`hgrt demo`: find and follow a person in a camera, video or picture, and show, record or write down the pose."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hgrt.errors import HgrtError

if TYPE_CHECKING:
    from hgrt.live.clock import Stopwatch
    from hgrt.live.loop import Summary
    from hgrt.live.sink import Sink
    from hgrt.live.source import Frame, Source
    from hgrt.pose.geometry import Box
    from hgrt.pose.pose import Pose

CLIP = "clip"


def demo(
    source: Annotated[
        str,
        typer.Option(
            "--source",
            "-s",
            help="Camera number, video, picture, folder of pictures, or stream address; 'clip' is the bundled one.",
        ),
    ] = CLIP,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", "-w", help="Weights file (.onnx, checkpoint or .engine); bundled ones if left out."),
    ] = None,
    runtime: Annotated[
        str, typer.Option("--runtime", "-r", help="auto, onnxruntime, openvino, torch or tensorrt.")
    ] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where to write: a video or picture by its suffix, else a folder of pictures."
        ),
    ] = None,
    keypoints: Annotated[
        Path | None, typer.Option("--keypoints", "-k", help="Write the joints here, one line of JSON a frame.")
    ] = None,
    box: Annotated[
        str | None, typer.Option("--box", "-b", help="Where the person is, x,y,w,h in pixels, instead of searching.")
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option("--max-frames", "-n", min=1, help="Stop after so many frames.")
    ] = None,
    no_window: Annotated[bool, typer.Option("--no-window", help="Show nothing on the screen.")] = False,
    no_smooth: Annotated[
        bool, typer.Option("--no-smooth", help="Joints as the network gives them, frame by frame.")
    ] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Load an engine that was changed since it was built.")] = False,
) -> None:
    """Find a person's joints in a camera, a video or a picture.

    With no screen and nothing else asked for, a video is written into the current folder. Keys: q or Esc ends it.
    """
    import cv2

    from hgrt.estimator import PoseEstimator
    from hgrt.live.clock import Stopwatch
    from hgrt.live.hud import draw_overlay
    from hgrt.live.loop import run
    from hgrt.live.person import Tracker
    from hgrt.live.sink import WindowSink, can_show
    from hgrt.live.smooth import OneEuro
    from hgrt.live.source import open_source
    from hgrt.live.truth import TruthSink
    from hgrt.runtime.base import asset

    cv2.setNumThreads(1)  # reading, the network and writing have their own threads; a pool beside them only disturbs
    console = Console(highlight=False, soft_wrap=True)
    fixed = parse_box(box) if box else None
    truth = TruthSink(asset("clip.json")) if source == CLIP else None
    with ExitStack() as stack:
        frames = stack.enter_context(open_source(str(asset("clip.mp4")) if source == CLIP else source))
        estimator = stack.enter_context(PoseEstimator(weights, runtime, trust=trust))
        console.print(f"{frames.name}: {estimator.backend.info}", style="dim")
        watch = Stopwatch()
        window = stack.enter_context(WindowSink(frames)) if not no_window and can_show() else None
        if output is None and keypoints is None and window is None:
            output = free_name(source)
        files = [stack.enter_context(sink) for sink in open_files(output, keypoints, source, frames, watch)]
        drawn = output is not None or window is not None
        interrupted = stack.enter_context(_interrupt())
        begin = time.monotonic()
        summary = run(
            frames,
            Tracker(estimator, fixed),
            [sink for sink in (*files, window, truth) if sink is not None],
            draw_overlay if drawn else draw_nothing,
            watch,
            smooth=None if no_smooth else OneEuro(),
            max_frames=max_frames,
            stopped=lambda: interrupted() or (window is not None and window.stopped),
        )
    summary.seconds = time.monotonic() - begin  # a film is done when its file is closed
    report(console, summary, watch)
    scored = truth.result() if truth is not None else None
    if scored is not None:
        console.print(
            f"PCKh@0.5 against the clip's known joints: {100 * scored.total.rate:.1f} %"
            f" ({scored.protocol}, {scored.total.count} joints)"
        )
    for note in frames.notes:
        console.print(f"Note: {note}", style="yellow", markup=False)
    for sink in files:
        if sink.said:
            console.print(f"Written: {sink.said}", markup=False)
    console.print(line_of_numbers(summary))


def open_files(
    output: Path | None, keypoints: Path | None, source: str, frames: Source, watch: Stopwatch
) -> Iterator[Sink]:
    """The files that were asked for, opened one after another; none may be the source, or the other one."""
    from hgrt.live.sink import JsonlSink, open_output

    if output is not None:
        refuse_overwriting(output, source)
        yield open_output(output, frames.fps, lambda ms: watch.add("write", ms))
    if keypoints is not None:
        refuse_overwriting(keypoints, source)
        if output is not None and keypoints.resolve() == output.resolve():
            raise HgrtError(f"{output} is asked for twice.", "As --output and as --keypoints.")
        yield JsonlSink(keypoints)


def draw_nothing(frame: Frame, pose: Pose | None, watch: Stopwatch, source: Source) -> None:
    """Where nobody looks at the picture, none is drawn."""


def report(console: Console, summary: Summary, watch: Stopwatch) -> None:
    """A table of where the time went."""
    from rich.table import Table

    table = Table("stage", "p50 ms", "p95 ms", box=None, header_style="dim")
    for stage, (middle, high) in watch.percentiles(50, 95).items():
        table.add_row(stage, f"{middle:.2f}", f"{high:.2f}")
    console.print(table)


def line_of_numbers(summary: Summary) -> str:
    """The last line: how much, how fast, how often found."""
    parts = [f"{summary.frames} frames in {summary.seconds:.2f} s: {summary.fps:.1f} frames/s end to end"]
    if summary.frames:
        parts.append(f"person found in {100 * summary.found / summary.frames:.0f} %")
    if summary.ages_ms:
        parts.append(
            f"frame age {sorted(summary.ages_ms)[len(summary.ages_ms) // 2]:.0f} ms (median), {summary.dropped} dropped"
        )
    return ", ".join(parts)


def parse_box(text: str) -> Box:
    """`x,y,w,h` in pixels."""
    from hgrt.pose.geometry import Box

    try:
        x, y, w, h = (float(part) for part in text.split(","))
        return Box.from_xywh(x, y, w, h)
    except ValueError as error:
        raise HgrtError(
            f"--box {text} is not a box.",
            "It takes four finite numbers, and a width and height above zero.",
            "Give x,y,w,h in pixels, such as --box 100,50,200,400",
        ) from error


def free_name(source: str) -> Path:
    """A name in the current folder that nothing has yet, after the source's: a video, or pictures for pictures."""
    from hgrt.live.source import PICTURES

    path = Path(source)
    picture = path.suffix.lower() in PICTURES
    stem = "camera" + source if source.isdecimal() else (path.stem if "://" not in source else "stream")
    suffix = ".jpg" if picture else ("" if path.is_dir() else ".mp4")
    name, number = Path(f"hgrt-{stem}{suffix}"), 2
    while name.exists():
        name, number = Path(f"hgrt-{stem}-{number}{suffix}"), number + 1
    return name


def refuse_overwriting(target: Path, source: str) -> None:
    """The source must survive."""
    if target.exists() and Path(source).exists() and target.resolve() == Path(source).resolve():
        raise HgrtError(f"{target} is the source.", "Writing there would destroy it.", "Give another --output.")


@contextmanager
def _interrupt() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM end the loop after the current frame, so that every file is closed properly."""
    asked = False

    def ask(_signal: int, _frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt  # the second time at once: something hangs
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
