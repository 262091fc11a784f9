"""`hgrt bench`: how fast, and is it still right? Every runtime in one table, with a verdict."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from hgrt.errors import HgrtError

if TYPE_CHECKING:
    from hgrt.bench.history import Comparison
    from hgrt.bench.pairs import Pair
    from hgrt.bench.results import Bench
    from hgrt.bench.run import Found, Request

FAILED = 1
LAST = "last"


def bench(
    weights: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Weights files (.onnx, .engine, or checkpoints); bundled ones if left out. Files of the same weights "
            "in several forms are compared with each other.",
            show_default=False,
        ),
    ] = None,
    runtimes: Annotated[
        str,
        typer.Option(
            "--runtimes",
            "-r",
            help="auto (every one that can run here), all (or fail), or a list such as onnxruntime,openvino:bf16.",
        ),
    ] = "auto",
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", "-d", help="Compare answers on these labelled people; the bundled clip if left out."),
    ] = None,
    split: Annotated[str, typer.Option(help="Which part of the data.")] = "val",
    batch: Annotated[str, typer.Option(help="People at a time, separated by commas.")] = "1,4",
    rounds: Annotated[int, typer.Option(min=2, help="Rounds, each in fresh processes; more narrow the intervals.")] = 4,
    threads: Annotated[int, typer.Option(min=0, help="Threads to compute with; 0: the physical cores.")] = 0,
    trust: Annotated[bool, typer.Option("--trust", help="Load an engine that was changed since it was built.")] = False,
    max_drop: Annotated[float, typer.Option(help="Points of PCKh that a runtime may lose.")] = 0.5,
    max_p99: Annotated[
        float | None, typer.Option(min=0, help="Milliseconds that 99 % of the answers must keep.", show_default=False)
    ] = None,
    compare: Annotated[
        str | None, typer.Option(help="Compare with this JSON of an earlier run here, or with the 'last' one.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the numbers here.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots and the worst frames here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a table for a README here.")] = None,
    no_history: Annotated[bool, typer.Option("--no-history", help="Do not remember this run.")] = False,
    glass: Annotated[
        bool, typer.Option("--glass", help="Measure from glass to glass instead: point the camera at this screen.")
    ] = False,
    source: Annotated[str, typer.Option("--source", "-s", help="The camera of --glass.")] = "0",
    seconds: Annotated[float, typer.Option(min=1, help="How long --glass looks.")] = 20.0,
) -> None:
    """Measure speed and agreement of every runtime on the same people: PASS (exit code 0) or FAIL (1)."""
    from hgrt.bench import history
    from hgrt.bench.report import lines, tables, verdict
    from hgrt.bench.run import Request
    from hgrt.bench.verdict import Demands

    console = Console(highlight=False, soft_wrap=True)
    if glass:
        run_on_glass(console, source, seconds, weights or [], runtimes)
        return
    request = Request(
        weights=tuple(weights or ()),
        runtimes=runtimes,
        data=tuple(data or ()),
        split=split,
        batches=parse_batches(batch),
        rounds=rounds,
        threads=threads,
        trust=trust,
        demands=Demands(max_drop, max_p99),
        command=join(["hgrt", *sys.argv[1:]]),
    )
    outputs = {"--json": json, "--html": html, "--markdown": markdown}
    check_outputs(outputs, request, compare)
    old = read_old(compare) if compare and compare != LAST else None
    found = run_with_status(request)
    result = found.bench
    if compare == LAST:
        old = history.last(result.machine.key, result)
    comparison = history.compare(old, result) if old is not None else None
    if comparison is not None:
        result = with_checks(result, comparison)
    for shown in tables(result):
        console.print(shown)
        console.print()
    for note in (*result.notes, *result.conditions.notes):
        console.print(f"Note: {note}", style="yellow", markup=False)
    for trace in (ledger.trace for ledger in found.ledgers if ledger.trace):
        Console(stderr=True, highlight=False).print(trace, style="dim", markup=False)
    if compare == LAST and old is None:
        console.print("Note: no earlier run of these weights is remembered here.", style="yellow")
    for text in [*(comparison.lines() if comparison else []), *lines(result)]:
        console.print(text, markup=False)
    write_outputs(console, outputs, found, result)
    if not no_history:
        remember(console, result)
    console.print(verdict(result), style="bold green" if result.passed else "bold red", markup=False)
    if not result.passed:
        raise typer.Exit(FAILED)


def parse_batches(text: str) -> tuple[int, ...]:
    """Numbers from 1 up, separated by commas; each once, in order."""
    try:
        batches = sorted({int(part) for part in text.split(",")})
    except ValueError:
        batches = [0]
    if batches[0] < 1:
        raise HgrtError(f"--batch {text} is not understood.", "It takes numbers of people, 1 or more.", "--batch 1,4")
    return tuple(batches)


def check_outputs(outputs: dict[str, Path | None], request: Request, compare: str | None) -> None:
    """Everything must be writable before minutes are spent, and nothing that is read may be overwritten."""
    from hgrt.cli.evaluate import refuse_overwriting
    from hgrt.files import check_writable

    old = [Path(compare)] if compare and compare != LAST else []
    refuse_overwriting(outputs, [*request.weights, *request.data, *old])
    for path in outputs.values():
        if path is not None:
            check_writable(path)


def read_old(path: str) -> Bench:
    """The earlier benchmark; another machine's is refused before any time is spent."""
    from hgrt.bench.document import read
    from hgrt.bench.history import same_machine
    from hgrt.bench.machine import describe

    old = read(Path(path))
    same_machine(old.machine, describe())
    return old


def run_with_status(request: Request) -> Found:
    """The benchmark, with a line on a terminal that says what it is at."""
    from hgrt.bench.run import run_bench

    screen = Console(stderr=True)
    with screen.status("starting") as status:
        return run_bench(request, lambda line: status.update(line))


def with_checks(result: Bench, comparison: Comparison) -> Bench:
    """The benchmark with what became of it since as one more check of each row."""
    from hgrt.bench.history import row_key

    more = comparison.as_checks()
    rows = (replace(row, checks=(*row.checks, *filter(None, [more.get(row_key(row))]))) for row in result.rows)
    return replace(result, rows=tuple(rows))


def write_outputs(console: Console, outputs: dict[str, Path | None], found: Found, result: Bench) -> None:
    """Every file that was asked for."""
    from hgrt.bench import document
    from hgrt.bench.page import write_page
    from hgrt.bench.report import markdown, verdict
    from hgrt.files import written_whole

    for option, path in outputs.items():
        if path is None:
            continue
        if option == "--json":
            document.write(path, result)
        elif option == "--html":
            write_page(path, result, verdict(result), worst_frames(found, result))
        else:
            with written_whole(path) as partial:
                partial.write_text(markdown(result), encoding="utf-8")
        console.print(f"Written: {path}", markup=False)


def worst_frames(found: Found, result: Bench) -> dict[str, list[Pair]]:
    """Where each runtime's answers differ most from the right ones, under the name that its row has on the page."""
    from hgrt.bench.page import named
    from hgrt.bench.pairs import pairs
    from hgrt.bench.people import open_people

    sets = open_people(found.data, found.split)
    return {
        name: pairs(sets, found.right[row.network], ledger.answers, ledger.info.spec.input / ledger.info.spec.crop)
        for (name, row), ledger in zip(named(result).items(), found.ledgers, strict=True)
        if ledger.info is not None and not ledger.failed
    }


def remember(console: Console, result: Bench) -> None:
    """Add it to the history; that it cannot be written is no reason to lose what was measured."""
    from hgrt.bench.history import append

    try:
        path = append(result)
    except HgrtError as error:
        console.print(f"Note: this run is not remembered. {error.what} {error.why}", style="yellow", markup=False)
    else:
        console.print(f"Remembered: {path}", style="dim", markup=False)


def run_on_glass(console: Console, source: str, seconds: float, weights: list[Path], runtime: str) -> None:
    """Measure with a camera that looks at the screen, and say what came out."""
    from hgrt.bench.glass import run_glass
    from hgrt.estimator import PoseEstimator
    from hgrt.live.source import open_source

    if len(weights) > 1 or "," in runtime or runtime == "all":
        raise HgrtError("--glass looks through one network on one runtime.", fix="Give one of each, or none.")
    with open_source(source) as camera, PoseEstimator(weights[0] if weights else None, runtime) as estimator:
        console.print(f"{camera.name}: {estimator.backend.info}", style="dim", markup=False)
        result = run_glass(camera, estimator, seconds)
    latency, age = result.latency, result.age
    console.print(
        f"Glass to glass: {latency.p50:.0f} ms (median), {latency.p90:.0f} (90 %), {latency.p99:.0f} (99 %), "
        f"from {result.read} codes in {result.frames} frames; up to {result.step:.0f} ms of it is the code's own pace"
    )
    console.print(
        f"Of that the program sees {age.p50:.0f} ms (frame handed over until shown); the rest is the camera and the "
        f"screen. Reading a code took {result.detect_ms:.1f} ms, which are in neither."
    )
