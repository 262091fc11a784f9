"""What a run is made of, each value with its origin: the network, the recipe, the data, and what the user changed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hgrt.errors import HgrtError
from hgrt.files import written_whole
from hgrt.model.spec import PRESETS, ModelSpec
from hgrt.train.recipe import RECIPES, Recipe, Stage, recipe_for


@dataclass(frozen=True, slots=True)
class Config:
    """A run, resolved.

    `data` paths and so many `synthetic` people to learn from, a file of `doubts` about their labels, a `teacher` to
    learn to answer like, a checkpoint to begin with (`init`). The weights kept as best are those with the highest mean
    over the validation sets `select` names, () over all. `origins` says where each value comes from, by the names of
    `values`.
    """

    preset: str
    recipe_name: str
    spec: ModelSpec
    recipe: Recipe
    data: tuple[str, ...] = ()
    synthetic: int = 0
    doubts: str = ""
    teacher: str = ""
    init: str = ""
    select: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.synthetic < 0:
            raise ValueError("at least 0 people are generated")

    def values(self) -> dict[str, Any]:
        """Every value by its dotted name."""
        flat: dict[str, Any] = {}
        for part, value in (("spec", self.spec.shape()), ("recipe", asdict(self.recipe))):
            flat |= _flat(part, value)
        return {
            **flat,
            "data": list(self.data),
            "synthetic": self.synthetic,
            "doubts": self.doubts,
            "teacher": self.teacher,
            "init": self.init,
            "select": list(self.select),
        }

    def origin(self, name: str) -> str:
        """Where the value `name` comes from."""
        part = name.partition(".")[0]
        usual = {"spec": f"preset {self.preset}", "recipe": f"recipe {self.recipe_name}"}.get(part, "default")
        return self.origins.get(name, usual)

    def changed(self, name: str, value: Any, origin: str) -> Config:
        """The same with one value changed; HgrtError for a name that does not exist or a value that does not fit."""
        if name not in self.values():
            raise HgrtError(f"There is no value '{name}'.", f"Known: {', '.join(self.values())}.")
        try:
            change: dict[str, Any]
            if name in ("data", "select"):
                change = {name: _names(value)}
            else:
                first, *rest = name.split(".")
                change = {first: _set(getattr(self, first), rest, value)}
            return replace(self, **change, origins={**self.origins, name: origin})
        except (TypeError, ValueError) as error:
            raise HgrtError(f"{name} cannot be {value!r}.", str(error)) from error

    def as_json(self) -> dict[str, Any]:
        """Names, values and origins as JSON takes them."""
        values = {name: {"value": value, "origin": self.origin(name)} for name, value in self.values().items()}
        return {"preset": self.preset, "recipe": self.recipe_name, "values": values}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Config:
        """The inverse of `as_json`; HgrtError, KeyError or TypeError for anything else."""
        said = {name: (entry["value"], entry["origin"]) for name, entry in content["values"].items()}
        return resolve(content["preset"], content["recipe"], said)


def resolve(preset: str, recipe: str, said: Mapping[str, tuple[Any, str]]) -> Config:
    """A preset's network with the recipe that fits its input, and what else was `said`: values and their origins.

    HgrtError for unknown names and for values that do not fit.
    """
    if preset not in PRESETS:
        raise HgrtError(f"There is no preset '{preset}'.", f"Known: {', '.join(PRESETS)}.")
    if recipe not in RECIPES:
        raise HgrtError(f"There is no recipe '{recipe}'.", f"Known: {', '.join(RECIPES)}.")
    spec = PRESETS[preset]
    config = Config(preset, recipe, spec, recipe_for(recipe, spec.input))
    for name, (value, origin) in said.items():
        if name.startswith("spec."):
            config = config.changed(name, value, origin)
    config = replace(config, recipe=recipe_for(recipe, config.spec.input))
    for name, (value, origin) in said.items():
        if not name.startswith("spec."):
            config = config.changed(name, value, origin)
    last = config.recipe.stages[-1].size
    if last != config.spec.input:
        raise HgrtError(
            f"The recipe ends with inputs of {last} pixels, the network is for {config.spec.input}.",
            fix="Set recipe.stages and spec.input to agree.",
        )
    return config


def write_config(folder: Path, config: Config) -> None:
    """`config.json`: what the run is, for whoever finds its folder, and for `--resume`."""
    with written_whole(folder / "config.json") as partial:
        partial.write_text(json.dumps(config.as_json(), indent=1) + "\n")


def read_config(folder: Path) -> Config:
    """What the run in `folder` is; HgrtError where there is none or it cannot be read."""
    path = folder / "config.json"
    for needed in (folder / "last.pt", path):
        if not needed.exists():
            raise HgrtError(f"There is no run in {folder} to resume.", f"{needed} does not exist.")
    try:
        return Config.from_json(json.loads(path.read_text()))
    except HgrtError as error:
        raise HgrtError(f"{path} cannot be read.", f"{error.what} {error.why}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HgrtError(f"{path} cannot be read.", str(error) or type(error).__name__) from error


def assignments(texts: list[str]) -> dict[str, Any]:
    """`NAME=VALUE` as the user types it, the value as JSON or a bare word; HgrtError without an equals sign."""
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise HgrtError(f"--set {text} is not NAME=VALUE.", fix="For example: --set recipe.learning_rate=1e-3")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value.strip()
    return found


def _flat(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        parts = [_flat(f"{name}.{key}", inner) for key, inner in value.items()]
        return {key: inner for part in parts for key, inner in part.items()}
    return {name: value}


def _set(old: Any, path: list[str], value: Any) -> Any:
    """A copy of `old` in which the field at `path` is `value`, which takes the type of what was there."""
    if not path:
        return _cast(old, value)
    name, *rest = path
    return replace(old, **{name: _set(getattr(old, name), rest, value)})


def _cast(old: Any, value: Any) -> Any:
    """`value` as what `old` is: of its type and, but for stages, of its length."""
    if isinstance(old, tuple):
        stages = isinstance(old[0], Stage)
        if not isinstance(value, list | tuple) or (len(value) != len(old) and not stages):
            raise ValueError("expected a list of stages" if stages else f"expected a list of {len(old)}")
        if stages:
            return tuple(_stage(old[0], one) for one in value)
        return tuple(_cast(one, other) for one, other in zip(old, value, strict=True))
    if isinstance(old, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(old):
        raise ValueError(f"expected {type(old).__name__}, not {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value


def _stage(old: Stage, value: Any) -> Stage:
    names = [one.name for one in fields(Stage)]
    if isinstance(value, list | tuple) and len(value) == len(names):
        value = dict(zip(names, value, strict=True))
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise ValueError(f"a stage is [{', '.join(names)}]")
    return Stage(**{name: _cast(getattr(old, name), value[name]) for name in names})


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise ValueError('expected a list of names: ["one", "other"]')
    return tuple(value)
