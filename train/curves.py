"""The course of a training as one picture: PCKh of every validation set, loss, learning rate and pace over the epochs.

Reads the rows of a run's table and nothing else. Draws on a figure of its own: pyplot, its state and its windows stay
out of it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

from hgrt.errors import HgrtError
from hgrt.files import written_whole

Numbers = NDArray[np.float64]

WIDTH, HEIGHT, DPI = 1200, 800, 100
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#000000",
)  # told apart by colour-blind eyes
DASHES = ("-", "--", ":")  # for the second and third round of colours
GREY, PALE = "#666666", "#DDDDDD"
DOTS = 60  # epochs up to which each is marked
LONGEST = 32  # letters of a set's name that are shown


def draw_curves(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Draw the rows of a run's table (`hgrt.train.log`) as a PNG of 1200 x 800 pixels.

    Columns named `set/split`, and `synthetic`, are PCKh@0.5 in percent. The dot marks the best epoch at the last input
    size, as scores and losses at different sizes do not compare; for the same reason a line ends where the size
    changes. Cells that are empty or not finite are left out. HgrtError where no row has an epoch, and where the file
    cannot be written.
    """
    rows = [row for row in rows if math.isfinite(_number(row.get("epoch", "")))]
    if not rows:
        raise HgrtError("There are no curves to draw.", "The log has no epoch yet.")
    epoch, size = _column(rows, "epoch"), _column(rows, "size")
    sets = [name for name in dict.fromkeys(name for row in rows for name in row) if "/" in name or name == "synthetic"]
    figure = Figure((WIDTH / DPI, HEIGHT / DPI), DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 2 if sets else 1, width_ratios=(3, 2) if sets else None)
    panels = [figure.add_subplot(grid[row, -1]) for row in range(3)]
    _draw_loss(panels[0], epoch, _column(rows, "loss"), size)
    _draw_from_zero(panels[1], epoch, _column(rows, "lr"), np.full_like(size, np.nan), "learning rate")
    _draw_from_zero(panels[2], epoch, _column(rows, "images_per_s"), size, "images/s")
    if sets:
        panels.append(figure.add_subplot(grid[:, 0]))
        _draw_scores(panels[3], epoch, {name: _column(rows, name) for name in sets}, size)
    for k, axes in enumerate(panels):
        _finish(axes, epoch, size, top=k in (0, 3), bottom=k in (2, 3))
    figure.align_ylabels(panels[:3])
    with written_whole(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a set's name may be in any script
        figure.savefig(partial, format="png", dpi=DPI)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _column(rows: Sequence[Mapping[str, str]], name: str) -> Numbers:
    values = np.array([_number(row.get(name, "")) for row in rows])
    return np.where(np.isfinite(values), values, np.nan)


def _changes(size: Numbers) -> list[int]:
    """The rows that begin an input size, the first included."""
    return [k for k in range(len(size)) if k == 0 or (size[k] != size[k - 1] and math.isfinite(size[k] + size[k - 1]))]


def _line(axes: Axes, epoch: Numbers, values: Numbers, size: Numbers, colour: str, dashes: str = "-") -> None:
    """A line for each stretch of one input size, over the epochs that have a value."""
    starts = _changes(size)
    for start, end in zip(starts, [*starts[1:], len(size)], strict=True):
        x, y = epoch[start:end], values[start:end]
        there = np.isfinite(y)
        marker = "." if there.sum() == 1 or len(epoch) <= DOTS else ""
        axes.plot(x[there], y[there], color=colour, linestyle=dashes, marker=marker, markersize=4)


def _draw_loss(axes: Axes, epoch: Numbers, loss: Numbers, size: Numbers) -> None:
    axes.set_ylabel("loss")
    loss = np.where(loss > 0, loss, np.nan)
    if not np.isfinite(loss).any():
        return
    low, high = np.nanmin(loss), np.nanmax(loss)
    axes.set_yscale("log")
    axes.set_ylim(low / 1.25, high * 1.25)
    narrow = high < 5 * low  # too few round numbers of a logarithmic kind lie in between
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]) if narrow else LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.yaxis.minorticks_off()
    _line(axes, epoch, loss, size, COLOURS[0])


def _draw_from_zero(axes: Axes, epoch: Numbers, values: Numbers, size: Numbers, label: str) -> None:
    axes.set_ylabel(label)
    _line(axes, epoch, values, size, COLOURS[0])
    axes.set_ylim(0, 1.08 * np.max(values, initial=0, where=np.isfinite(values)) or 1)


def _draw_scores(axes: Axes, epoch: Numbers, sets: Mapping[str, Numbers], size: Numbers) -> None:
    axes.set_ylabel("PCKh@0.5 (%)")
    scores = np.concatenate(list(sets.values()))
    if not np.isfinite(scores).any():
        return
    high = min(100, 10 * math.ceil(np.nanmax(scores) / 10 + 0.05))
    axes.set_ylim(min(high - 10, 10 * math.floor(np.nanmin(scores) / 10)), high)
    axes.yaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10]))
    last = _changes(size)[-1]
    entries = []
    for k, (name, values) in enumerate(sets.items()):
        colour, dashes = COLOURS[k % len(COLOURS)], DASHES[k // len(COLOURS) % len(DASHES)]
        _line(axes, epoch, values, size, colour, dashes)
        if np.isfinite(values[last:]).any():
            best = last + int(np.nanargmax(values[last:]))
            style = f"o{dashes}"
            dot = axes.plot(
                epoch[best], values[best], style, color=colour, markersize=8, markeredgecolor="white", clip_on=False
            )
            shown = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
            entries.append((values[best], dot[0], f"{values[best]:.1f}  {shown}, epoch {epoch[best]:.0f}"))
    if entries:
        _list_best(axes, entries, size[last])


def _list_best(axes: Axes, entries: list[tuple[float, Line2D, str]], size: float) -> None:
    """The legend, the best set first."""
    entries.sort(key=lambda entry: -entry[0])
    legend = axes.legend(
        [dot for _, dot, _ in entries],
        [text for _, _, text in entries],
        title=f"best at {size:.0f} px" if math.isfinite(size) else "best",
        alignment="left",
        edgecolor="none",
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar sign in a name is a dollar sign


def _finish(axes: Axes, epoch: Numbers, size: Numbers, top: bool, bottom: bool) -> None:
    """What all panels share: whole epochs along the bottom, a pale grid, and thin lines where the input size changes;
    the sizes are named at the top.
    """
    if not any(np.size(line.get_xdata()) for line in axes.lines):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no values", color=GREY, ha="center", va="center", transform=axes.transAxes)
    margin = max(0.5, 0.01 * (epoch.max() - epoch.min()))
    axes.set_xlim(epoch.min() - margin, epoch.max() + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.tick_params(labelbottom=bottom, color=GREY)
    axes.set_xlabel("epoch" if bottom else "")
    axes.grid(color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    for start in _changes(size):
        left = (epoch[start - 1] + epoch[start]) / 2 if start else epoch[0] - margin
        if start:
            axes.axvline(left, color=GREY, linewidth=0.8)
        if top and math.isfinite(size[start]):
            place = axes.get_xaxis_transform()  # epochs along, the panel's height up
            axes.annotate(f"{size[start]:.0f} px", (left, 1), xycoords=place, xytext=(3, 3), textcoords="offset points")
