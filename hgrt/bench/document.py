"""A benchmark as a JSON document and back, by the types of its dataclasses, so that no field is named twice.

Knows how values are written, not what they mean: `results.py` and `docs/bench.md` say that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints

from hgrt.bench.results import SCHEMA, Bench
from hgrt.errors import HgrtError
from hgrt.evaluation.export import write_json
from hgrt.files import written_whole

_SIX_DIGITS, _FOUR_DECIMALS = ".6g", ".4f"
_WORDS = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}


def as_json(bench: Bench) -> dict[str, object]:
    """The benchmark as JSON values: samples to 0.0001 ms, all other fractions to six significant digits.

    ValueError for a number that is not finite, TypeError for a value that JSON has not, with their paths.
    """
    return cast("dict[str, object]", _plain(bench, ""))


def from_json(values: object) -> Bench:
    """The inverse of `as_json`; HgrtError, with what is wrong, for anything else."""
    return _parse(values, "This")


def read(path: Path) -> Bench:
    """The benchmark in a file; HgrtError where there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HgrtError(f"{path} cannot be read.", error.strerror or str(error), "Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise _foreign(str(path), f"It is not JSON: {error}") from error
    return _parse(values, str(path))


def write(path: Path, bench: Bench) -> None:
    """Write the benchmark, whole or not at all; HgrtError where the system refuses."""
    document = as_json(bench)
    with written_whole(path) as scratch:
        write_json(scratch, document)


def _plain(value: object, path: str, form: str = _SIX_DIGITS) -> object:
    if is_dataclass(value):
        forms = {field.name: _FOUR_DECIMALS if field.name == "samples" else form for field in fields(value)}
        return {name: _plain(getattr(value, name), f"{path}.{name}", own) for name, own in forms.items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry, f"{path}.{key}", form) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_plain(entry, f"{path}[{i}]", form) for i, entry in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path[1:]} is {value}, which JSON has not")
        return float(format(value, form))
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{path[1:]} is of type {type(value).__name__}, which JSON has not")


def _parse(values: object, name: str) -> Bench:
    schema = values.get("schema") if isinstance(values, dict) else None
    if schema is None:
        raise _foreign(name, "It has no schema.")
    if type(schema) is int and schema > SCHEMA:
        why = f"Its schema is {schema}, and this version reads {SCHEMA}."
        raise HgrtError(f"{name} was written by a newer hgrt.", why, "Update hgrt.")
    if type(schema) is not int or schema != SCHEMA:
        raise _foreign(name, f"Its schema is {schema!r:.60}, and this version reads {SCHEMA}.")
    try:
        return cast("Bench", _typed(values, Bench, ""))
    except (ValueError, OverflowError) as error:
        raise _foreign(name, f"In it {error}.") from error


def _foreign(name: str, why: str) -> HgrtError:
    return HgrtError(f"{name} is no result of hgrt bench.", why, "Give a JSON file that hgrt bench wrote.")


def _typed(value: object, hint: Any, path: str) -> object:
    """The value as its type says; ValueError with its path where it is something else."""
    origin, inner = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return _record(value, cast("type[Any]", hint), path)
    if origin is UnionType:  # of one type and None
        return None if value is None else _typed(value, inner[0], path)
    if origin is Mapping:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise _wrong(value, path, "names and values")
        return {key: _typed(entry, inner[1], f"{path}.{key}") for key, entry in value.items()}
    if origin is tuple:
        return _list(value, inner, path)
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint or (isinstance(value, float) and not math.isfinite(value)):
        raise _wrong(value, path, _WORDS[hint])
    return value


def _record(value: object, kind: type[Any], path: str) -> object:
    if not isinstance(value, dict):
        raise _wrong(value, path, "names and values")
    hints = get_type_hints(kind)
    wanted = [field.name for field in fields(kind)]
    here = path[1:] or "the top level"
    missing = [name for name in wanted if name not in value]
    if missing:
        raise ValueError(f"{here} lacks {', '.join(missing)}")
    unknown = [str(name) for name in value if name not in wanted]
    if unknown:
        raise ValueError(f"{here} has unknown names: {', '.join(unknown)}")
    return kind(**{name: _typed(value[name], hints[name], f"{path}.{name}") for name in wanted})


def _list(value: object, inner: tuple[Any, ...], path: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise _wrong(value, path, "a list")
    kinds = inner
    if inner[-1] is Ellipsis:
        kinds = (inner[0],) * len(value)
    elif len(value) != len(inner):
        raise _wrong(value, path, f"a list of {len(inner)}")
    return tuple(_typed(entry, kind, f"{path}[{i}]") for i, (entry, kind) in enumerate(zip(value, kinds, strict=True)))


def _wrong(value: object, path: str, wanted: str) -> ValueError:
    return ValueError(f"{path[1:]} is {value!r:.60}, not {wanted}")
