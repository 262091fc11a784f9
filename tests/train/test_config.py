"""A run's configuration: who has the last word on a value, where it came from, and that its file says it all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hgrt.errors import HgrtError
from hgrt.model.spec import PRESETS, ModelSpec
from hgrt.train.config import Config, assignments, read_config, resolve, write_config
from hgrt.train.recipe import OPTIMIZERS, RECIPES, REFERENCE, Recipe, Stage, recipe_for

NAMES = {recipe: list(resolve("lite", recipe, {}).values()) for recipe in RECIPES}
CHOICES = {
    "recipe.optimizer": OPTIMIZERS,
    "spec.gate": ["none", "raw", "bounded"],
    "spec.block": ["preact", "postact"],
    "spec.stem": ["published", "light"],
    "spec.ramp": ["linear", "integer"],
    "spec.colour": ["rgb"],
}
RANGES = {
    "spec.stacks": st.integers(1, 8),
    "spec.channels": st.integers(2, 99).map(lambda n: 4 * n),
    "spec.growth": st.integers(0, 99).map(lambda n: 4 * n),
    "recipe.teacher_weight": st.floats(0, 1),
    "recipe.calm": st.floats(0, 1),
    "recipe.ema": st.floats(0, 1, exclude_max=True),
    "synthetic": st.integers(0, 10**6),
    "spec.crop": st.floats(0.25, 4),
}
STAGES = st.lists(st.floats(0.01, 0.99), max_size=3, unique=True).flatmap(
    lambda starts: st.tuples(
        *(st.builds(Stage, st.just(start), st.integers(1, 8).map(lambda n: 64 * n), st.integers(1, 512))
          for start in [0.0, *sorted(starts)])
    )
)  # fmt: skip


def other(name: str, now: Any) -> st.SearchStrategy[Any]:
    """Values that `name` may have, of the type of the value that it has `now`."""
    if name in CHOICES:
        return st.sampled_from(CHOICES[name])
    if name in RANGES:
        return RANGES[name]
    if name.startswith("recipe.augmentation.") and name.endswith("_p"):
        return st.floats(0, 1)
    if name in ("data", "select"):
        return st.lists(st.text(), max_size=3)
    if isinstance(now, bool):
        return st.booleans()
    if isinstance(now, int):
        return st.integers(1, 10**6)
    if isinstance(now, float):
        return st.floats(1e-9, 1e9)
    if isinstance(now, list | tuple):
        return st.tuples(*(other("", one) for one in now)).map(list)
    return st.text()


@st.composite
def changed(draw: st.DrawFn) -> Config:
    """A configuration in which any number of values are not the usual ones."""
    recipe = draw(st.sampled_from(RECIPES))
    config = resolve(draw(st.sampled_from(sorted(PRESETS))), recipe, {})
    stages = draw(STAGES)
    said = {"recipe.stages": [asdict(stage) for stage in stages], "spec.input": stages[-1].size}
    for name in draw(st.lists(st.sampled_from(NAMES[recipe]), unique=True)):
        if name not in said:
            said[name] = draw(other(name, config.values()[name]))
    origins = st.sampled_from(["--set", "--stacks", "--data"])
    return resolve(config.preset, recipe, {name: (value, draw(origins)) for name, value in said.items()})


# Who has the last word


def test_a_preset_and_the_recipe_for_its_input_are_the_start() -> None:
    for preset in PRESETS:
        for recipe in RECIPES:
            config = resolve(preset, recipe, {})
            assert config.spec == PRESETS[preset]
            assert config.recipe == recipe_for(recipe, config.spec.input)
            assert not config.origins
    assert resolve("reference", "reference", {}).recipe == REFERENCE


def test_what_is_said_counts_more_than_preset_and_recipe() -> None:
    said = {
        "recipe.learning_rate": (1e-4, "--set"),
        "spec.stacks": (4, "--stacks"),
        "recipe.augmentation.flip_p": (0.25, "--set"),
        "data": (["a", "b"], "--data"),
    }
    config = resolve("lite", "modern", said)
    assert config.recipe.learning_rate == 1e-4 and config.spec.stacks == 4 and config.data == ("a", "b")
    assert config.recipe.augmentation.flip_p == 0.25
    usual = resolve("lite", "modern", {})
    for name, value in config.values().items():
        assert config.origin(name) == (said[name][1] if name in said else usual.origin(name))
        assert name in said or value == usual.values()[name]


def test_the_last_that_is_said_of_a_value_counts() -> None:
    config = resolve("lite", "modern", {}).changed("recipe.epochs", 5, "--epochs").changed("recipe.epochs", 7, "--set")
    assert config.recipe.epochs == 7 and config.origin("recipe.epochs") == "--set"


def test_usual_origins_name_preset_and_recipe() -> None:
    config = resolve("lite", "reference", {})
    assert config.origin("spec.stacks") == "preset lite"
    assert config.origin("recipe.epochs") == config.origin("recipe.augmentation.hue") == "recipe reference"
    assert {config.origin(name) for name in ("data", "synthetic", "doubts", "teacher", "init", "select")} == {"default"}


def test_every_value_has_a_name() -> None:
    names = NAMES["modern"]
    assert {f"spec.{name}" for name in ModelSpec().shape()} < set(names)
    recipe = asdict(Recipe())
    augmentation = recipe.pop("augmentation")
    assert {f"recipe.{name}" for name in recipe} | {f"recipe.augmentation.{name}" for name in augmentation} < set(names)
    assert len(names) == len(ModelSpec().shape()) + len(recipe) + len(augmentation) + 6


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", [64, 128, 192, 256])
@pytest.mark.parametrize("preset", PRESETS)
def test_another_input_alone_brings_its_own_stages(preset: str, size: int, recipe: str) -> None:
    config = resolve(preset, recipe, {"spec.input": (size, "--set")})
    assert config.recipe == recipe_for(recipe, size)
    assert config.recipe.stages[-1].size == size == config.spec.input
    assert config.origin("recipe.stages") == f"recipe {recipe}"


def test_stages_that_are_said_stay_whatever_the_order() -> None:
    said = {"recipe.stages": ([[0, 64, 5], [0.5, 128, 2]], "--set"), "spec.input": (128, "--set")}
    for items in (said.items(), reversed(said.items())):
        config = resolve("lite", "modern", dict(items))
        assert config.recipe.stages == (Stage(0.0, 64, 5), Stage(0.5, 128, 2))
        assert all(isinstance(stage.start, float) for stage in config.recipe.stages)


# The file


@given(config=changed())
def test_the_file_brings_back_every_value_and_origin(config: Config, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("run")
    write_config(folder, config)
    (folder / "last.pt").touch()
    again = read_config(folder)
    assert (again.spec, again.recipe) == (config.spec, config.recipe)
    assert (again.data, again.synthetic, again.teacher) == (config.data, config.synthetic, config.teacher)
    assert (again.preset, again.recipe_name) == (config.preset, config.recipe_name)
    assert again.as_json() == config.as_json()


@given(config=changed())
def test_what_is_printed_can_be_said(config: Config) -> None:
    """Every value as `--print-config` shows it, given back to --set, is the same configuration."""
    texts = [f"{name}={json.dumps(value)}" for name, value in config.values().items()]
    said = {name: (value, "--set") for name, value in assignments(texts).items()}
    again = resolve(config.preset, config.recipe_name, said)
    assert again.values() == config.values() and (again.spec, again.recipe) == (config.spec, config.recipe)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_value_of_both_recipes_reaches_the_file(recipe: str, tmp_path: Path) -> None:
    """One value after another, changed to another one."""
    fixed = {"spec.colour": "rgb"}
    draws: dict[str, Any] = {"spec.stacks": 3, "spec.input": 128, "recipe.ema": 0.5, "recipe.teacher_weight": 0.75}
    draws |= {"spec.gate": "none", "spec.block": "preact", "spec.stem": "published", "spec.ramp": "integer"}
    usual = resolve("lite", recipe, {})
    draws["recipe.optimizer"] = "muon" if usual.recipe.optimizer == "adamw" else "adamw"
    draws["select"] = ["coco"]
    (tmp_path / "last.pt").touch()
    for name in NAMES[recipe]:
        if name in fixed:
            continue
        now = usual.values()[name]
        value: Any = draws.get(name) or _another(name, now)
        config = resolve("lite", recipe, {name: (value, "--set")})
        assert config.values()[name] != now, name
        write_config(tmp_path, config)
        assert read_config(tmp_path).as_json() == config.as_json(), name


def _another(name: str, now: Any) -> Any:
    if name == "recipe.stages":
        return [[0, 64, 3], [0.25, 192, 2]]
    if isinstance(now, bool):
        return not now
    if isinstance(now, int):
        return now + 4
    if isinstance(now, float):
        return now / 2 + 0.27  # what is in 0..1 stays there
    if isinstance(now, str):
        return now + "x"
    return [_another("", one) for one in now] or ["somewhere"]


def test_the_file_is_for_people_too(tmp_path: Path) -> None:
    write_config(tmp_path, resolve("lite", "modern", {"recipe.seed": (3, "--seed")}))
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["preset"] == "lite" and content["recipe"] == "modern"
    assert content["values"]["recipe.seed"] == {"value": 3, "origin": "--seed"}
    assert content["values"]["spec.channels"] == {"value": 96, "origin": "preset lite"}


def _no_values(content: dict[str, Any]) -> None:
    del content["values"]


def _value(name: str, entry: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content["values"].update({name: entry})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_values, "values"),
        (_value("recipe.epochs", 3), "config.json"),
        (_value("recipe.epochs", {"value": 3}), "origin"),
        (_value("recipe.epochs", {"value": "many", "origin": "x"}), "expected int"),
        (_value("recipe.epoch", {"value": 3, "origin": "x"}), "recipe.epoch"),
        (_value("spec.gate", {"value": "wide", "origin": "x"}), "wide"),
        (_value("spec.input", {"value": 128, "origin": "x"}), "128"),
        (lambda content: content.update(preset="huge"), "no preset 'huge'"),
        (lambda content: content.update(preset=["lite"]), "config.json"),
        (lambda content: content.update(values=[1, 2]), "config.json"),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    spoil: Callable[[dict[str, Any]], None], words: str, tmp_path: Path
) -> None:
    content = resolve("lite", "modern", {}).as_json()
    spoil(content)
    (tmp_path / "last.pt").touch()
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(HgrtError, match=words) as refused:
        read_config(tmp_path)
    assert refused.value.what == f"{tmp_path / 'config.json'} cannot be read."


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"3", b'{"preset": "lite"}', b"\xff\xfe{}"])
def test_a_broken_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "last.pt").touch()
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(HgrtError, match=r"config\.json cannot be read") as refused:
        read_config(tmp_path)
    assert refused.value.why


@pytest.mark.parametrize("there", [None, "last.pt", "config.json"])
def test_a_folder_without_a_run_is_refused(there: str | None, tmp_path: Path) -> None:
    if there:
        (tmp_path / there).write_text("{}")
    missing = "config.json" if there == "last.pt" else "last.pt"
    with pytest.raises(HgrtError, match="There is no run in") as refused:
        read_config(tmp_path)
    assert f"{missing} does not exist" in refused.value.why


# What is refused


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    "name",
    ["", "epochs", "recipe", "recipe.", "recipe.epoch", "recipe.epochs.first", "recipe.augmentation", "spec.stack",
     "recipe.augmentation.turn", "data.folder", "Recipe.epochs", "recipe.stages.0", "preset", "origins"],
)  # fmt: skip
def test_an_unknown_name_is_refused_and_all_names_are_told(name: str, recipe: str) -> None:
    with pytest.raises(HgrtError) as refused:
        resolve("lite", recipe, {name: (1, "--set")})
    assert refused.value.what == f"There is no value '{name}'."
    assert refused.value.why == f"Known: {', '.join(NAMES[recipe])}."


def test_names_of_the_other_recipes_augmentation_are_unknown() -> None:
    for recipe, name in (("modern", "recipe.augmentation.hue"), ("reference", "recipe.augmentation.paste_p")):
        with pytest.raises(HgrtError, match="no value"):
            resolve("lite", recipe, {name: (0.1, "--set")})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("recipe.epochs", "many", "expected int, not str"),
        ("recipe.epochs", 3.0, "expected int, not float"),
        ("recipe.epochs", True, "expected int, not bool"),
        ("recipe.epochs", None, "expected int, not NoneType"),
        ("recipe.epochs", 0, "at least 1"),
        ("recipe.learning_rate", "fast", "expected float, not str"),
        ("recipe.learning_rate", False, "expected float, not bool"),
        ("recipe.learning_rate", [0.1], "expected float, not list"),
        ("recipe.learning_rate", -1, "learning_rate positive"),
        ("recipe.learning_rate", float("nan"), "finite"),
        ("recipe.clip", float("inf"), "finite"),
        ("recipe.bf16", 1, "expected bool, not int"),
        ("recipe.augmentation.scale", 1.5, "expected a list of 2"),
        ("recipe.augmentation.scale", [1.5], "expected a list of 2"),
        ("recipe.augmentation.scale", "ab", "expected a list of 2"),
        ("recipe.augmentation.scale", [1, "x"], "expected float, not str"),
        ("recipe.stages", 64, "expected a list of stages"),
        ("recipe.stages", [], "first stage"),
        ("recipe.stages", [64], r"a stage is \[start, size, batch\]"),
        ("recipe.stages", [[0, 64]], r"a stage is \[start, size, batch\]"),
        ("recipe.stages", [[0, 192, 8.5]], "expected int, not float"),
        ("recipe.stages", [[0, "x", 8]], "expected int, not str"),
        ("recipe.stages", [{"start": 0, "size": 192}], r"a stage is \[start, size, batch\]"),
        ("recipe.stages", [{"start": 0, "size": 192, "batch": 8, "speed": 1}], r"a stage is \[start, size, batch\]"),
        ("recipe.stages", [[0, 100, 8]], "multiples of 64"),
        ("recipe.stages", [[0.5, 192, 8]], "starts at 0"),
        ("recipe.augmentation.cut_p", 2.0, "0..1"),
        ("recipe.augmentation.dark_p", -0.1, "0..1"),
        ("spec.gate", "wide", "not one of none, raw, bounded"),
        ("spec.stacks", 9, "1 to 8"),
        ("spec.input", 100, "multiple of 64"),
        ("spec.joints", ["nose"], "expected a list of 16"),
        ("data", "folder", "expected a list of names"),
        ("data", 3, "expected a list of names"),
        ("data", ["folder", 3], "expected a list of names"),
        ("synthetic", -1, "at least 0"),
        ("synthetic", "many", "expected int, not str"),
        ("teacher", 3, "expected str, not int"),
        ("doubts", None, "expected str, not NoneType"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(name: str, value: Any, words: str) -> None:
    with pytest.raises(HgrtError, match=words) as refused:
        resolve("lite", "modern", {name: (value, "--set")})
    assert refused.value.what == f"{name} cannot be {value!r}."


def test_whole_numbers_are_numbers() -> None:
    config = resolve("lite", "modern", {"recipe.learning_rate": (1, "--set")})
    assert type(config.recipe.learning_rate) is float and config.recipe.learning_rate == 1


@pytest.mark.parametrize(("preset", "recipe", "known"), [("huge", "modern", PRESETS), ("lite", "classic", RECIPES)])
def test_an_unknown_preset_or_recipe_is_refused(preset: str, recipe: str, known: Any) -> None:
    with pytest.raises(HgrtError, match="There is no (preset 'huge'|recipe 'classic')") as refused:
        resolve(preset, recipe, {})
    assert all(name in refused.value.why for name in known)


def test_stages_and_input_must_agree() -> None:
    with pytest.raises(HgrtError, match=r"ends with inputs of 128 pixels, the network is for 192") as refused:
        resolve("lite", "modern", {"recipe.stages": ([[0, 128, 8]], "--set")})
    assert "recipe.stages and spec.input" in refused.value.fix


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=1e-3", 1e-3),
        ("a=true", True),
        ("a=lite", "lite"),
        ('a="1"', "1"),
        ("a=[[0,64,8]]", [[0, 64, 8]]),
        ("a=", ""),
        ("a=b=c", "b=c"),
        ("a = 3 ", 3),
        ("a= two words ", "two words"),
    ],
)
def test_assignments(text: str, value: Any) -> None:
    assert assignments([text]) == {"a": value}


@pytest.mark.parametrize("text", ["", "a", "=1", "a:1"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(HgrtError, match="is not NAME=VALUE"):
        assignments([text])


def test_a_name_that_is_set_twice_has_its_last_value() -> None:
    assert assignments(["a=1", "b=2", "a=3"]) == {"a": 3, "b": 2}
