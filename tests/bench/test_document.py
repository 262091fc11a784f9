"""A document holds all of a benchmark, nothing else passes for one, and every path in it is described."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from bench.sample import sample_bench
from hgrt.bench.document import as_json, from_json, read, write
from hgrt.bench.results import SCHEMA, Bench
from hgrt.errors import HgrtError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bench.md"


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bench.json"
    write(path, sample_bench())
    document = json.loads(path.read_text())
    assert document == as_json(sample_bench())
    bench = read(path)
    assert as_json(bench) == document
    # Rounding apart it is the same, tuples, whole numbers and all.
    assert bench == from_json(as_json(bench))
    assert bench.rows[2] == sample_bench().rows[2]
    assert bench.conditions == sample_bench().conditions
    assert list(tmp_path.rglob("*.partial")) == []


def test_samples_keep_four_decimals_and_the_rest_six_digits() -> None:
    bench = sample_bench()
    row = bench.rows[0]
    latency = replace(row.latency[0], samples=(11.123456, 0.00004), throughput=1234567.8)
    document: Any = as_json(replace(bench, seconds=0.000123456789, rows=(replace(row, latency=(latency,)),)))
    assert document["rows"][0]["latency"][0]["samples"] == [11.1235, 0.0]
    assert document["rows"][0]["latency"][0]["throughput"] == 1234570.0
    assert document["seconds"] == 0.000123457
    assert document["rounds"] == 5 and isinstance(document["rounds"], int)


def test_a_number_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match=r"conditions\.load is nan"):
        as_json(replace(sample_bench(), conditions=replace(sample_bench().conditions, load=float("nan"))))
    with pytest.raises(TypeError, match=r"rounds is of type bytes"):
        as_json(replace(sample_bench(), rounds=b"5"))  # type: ignore[arg-type]


Document = dict[str, Any]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: d.pop("date"), "the top level lacks date"),
        (lambda d: d["rows"][1].pop("loop"), r"rows\[1\] lacks loop"),
        (lambda d: d["machine"].update(colour="red"), "machine has unknown names: colour"),
        (
            lambda d: d["rows"][0]["latency"][1]["total"].update(p99="6.5"),
            r"\[1\]\.total\.p99 is '6.5', not a num",
        ),
        (lambda d: d.update(rounds=5.0), "rounds is 5.0, not a whole number"),
        (lambda d: d.update(rounds=True), "rounds is True, not a whole number"),
        (lambda d: d.update(seconds=float("nan")), "seconds is nan, not a number"),
        (lambda d: d.update(seconds=10**400), "too large"),
        (lambda d: d.update(date=None), "date is None, not a text"),
        (lambda d: d["conditions"].update(clock_mhz=[1.0]), r"clock_mhz is \[1.0\], not a list of 2"),
        (lambda d: d["conditions"].update(battery=0), "battery is 0, not true or false"),
        (lambda d: d["data"].update(clip="many"), "data.clip is 'many'"),
        (lambda d: d.update(rows={}), "rows is {}, not a list"),
        (lambda d: d.update(machine=[]), r"machine is \[\], not names and values"),
        (lambda d: d.update(reference=[]), r"reference is \[\], not names and values"),
        (lambda d: d.update(schema="1"), "Its schema is '1'"),
        (lambda d: d.update(schema=True), "Its schema is True"),
        (lambda d: d.pop("schema"), "It has no schema"),
    ],
)
def test_what_is_no_such_document_is_refused(spoil: Callable[[Document], object], said: str) -> None:
    document: Document = json.loads(json.dumps(as_json(sample_bench())))
    spoil(document)
    with pytest.raises(HgrtError, match=said) as caught:
        from_json(document)
    assert caught.value.what == "This is no result of hgrt bench."


def test_a_whole_number_does_for_a_fraction() -> None:
    bench = from_json({**as_json(sample_bench()), "seconds": 94})
    assert bench.seconds == 94.0 and isinstance(bench.seconds, float)


def test_a_newer_document_says_so() -> None:
    with pytest.raises(HgrtError, match="newer hgrt") as caught:
        from_json({"schema": SCHEMA + 1})
    assert caught.value.fix == "Update hgrt."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"hgrt": "0.3.0", "weights": {"path": "lite.onnx"}, "protocol": "standard"}', "It has no schema."),
        ("[1, 2]", "It has no schema."),
        ('{"schema": 1, ', "It is not JSON"),
        ("[" * 100_000, "It is not JSON"),
        ("\xff", "It is not JSON"),
    ],
    ids=["hgrt eval", "a list", "cut off", "deep", "not UTF-8"],
)
def test_a_foreign_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(HgrtError, match=said) as caught:
        read(path)
    assert str(path) in caught.value.what
    assert "hgrt bench" in caught.value.fix


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HgrtError, match="cannot be read"):
        read(tmp_path / "none.json")


# The page


def walked(hint: Any, path: str = "") -> Iterator[tuple[str, bool]]:
    """Every path of a value of that type that ends in a plain value, and every one (True) that may be null."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        yield path, True
        yield from walked(inner[0], path)
    elif origin is tuple:
        yield from walked(inner[0], f"{path}[]")
    elif origin is Mapping:
        yield from walked(inner[1], f"{path}.*")
    elif is_dataclass(hint):
        hints = get_type_hints(hint)
        for field in fields(hint):
            yield from walked(hints[field.name], f"{path}.{field.name}".lstrip("."))
    else:
        yield path, False


def listed(columns: int) -> list[str]:
    """The paths in the page's tables of that many columns, every cell of which says something."""
    row = r"^\| `([^`]+)` \|" + r" [^|]+ \|" * (columns - 1) + "$"
    return re.findall(row, PAGE.read_text(encoding="utf-8").split("## JSON")[1], re.MULTILINE)


def test_the_page_describes_every_path_and_no_other() -> None:
    assert sorted(listed(3)) == sorted({path for path, null in walked(Bench) if not null})


def test_the_page_names_everything_that_may_be_null() -> None:
    assert sorted(listed(2)) == sorted(path for path, null in walked(Bench) if null)
