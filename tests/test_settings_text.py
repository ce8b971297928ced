"""Settings as people type them: texts as typed, numbers in range, names that are names."""

import math
from pathlib import Path
from typing import Optional, Union

import numpy as np
import pytest

from icotlib.cli import main
from icotlib.cli.options import overrides_of
from icotlib.config import RunConfig, known_settings, parse_overrides, settings_of
from icotlib.errors import ConfigError
from icotlib.experiments import run_config
from icotlib.methods.stepwise.schedules import SCHEDULES
from icotlib.registry import METHODS
from icotlib.running.grids import grid_cells, parse_grid, read_cells
from icotlib.settings import LARGEST_SEED
from icotlib.values import coerce, is_text, type_name

#: Texts that YAML takes for something else, or refuses.
TEXTS = [">>", "@", "%", "?", "|", "=>", "=#", "#", "~", "no", "yes", "off", "2024", "1e3", "0x10"]
TEXTS += ["12:30", "2024-01-01", "None", "* a", "&x", "`", "a: b", "a, b", ". ", "<<", "!x", "→"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_setting_takes_text_as_typed(text, tmp_path):
    typed = overrides_of([f"removal.step_end={text}"])
    assert typed == {"removal.step_end": text}
    inline = text if text == text.strip() else f"'{text}'"
    for written in (
        f"{{removal.step_end: {inline}}}",
        f"{{removal.step_end: {inline}, seed: 3}}",
        f"{{removal: {{step_end: {inline}}}, seed: 3}}",
        f"removal.step_end: {inline}\nseed: 3",
    ):
        assert parse_overrides(written)["removal.step_end"] == text
    assert parse_overrides({"removal": {"step_end": text}})["removal.step_end"] == text
    config = RunConfig().override(typed | {"removal.keep_positions": False})
    assert config.removal.step_end == text
    if "," not in text:
        assert parse_grid([f"removal.step_end={text},x"])["removal.step_end"] == [text.strip(), "x"]
    cells = tmp_path / "cells.csv"
    quoted = text.replace('"', '""')
    cells.write_text(f'removal.step_end,seed\n"{quoted}",2\n')
    assert read_cells(cells) == [{"removal.step_end": text, "seed": 2}]


def test_null_is_nothing_unless_it_is_quoted():
    assert overrides_of(["removal.step_end=null"]) == {"removal.step_end": None}
    assert parse_overrides("{removal.step_end: null}") == {"removal.step_end": None}
    assert parse_overrides("{removal.step_end: 'null'}") == {"removal.step_end": "null"}
    assert overrides_of(["data.train_examples=none"]) == {"data.train_examples": None}
    assert overrides_of(["label=null"]) == {"label": "null"}  # which is never nothing


@pytest.mark.parametrize(
    "name", ["data.path", "data.task", "removal.step_end", "train.steps", "optim.lr", "model.lora"]
)
def test_a_variable_that_is_not_set_is_said(name):
    with pytest.raises(ConfigError, match=rf"{name} .*was a variable not set\?"):
        RunConfig().override(overrides_of([f"{name}="]))


def test_an_empty_label_is_no_label():
    assert RunConfig().override(overrides_of(["label="])) == RunConfig()


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("seed=010", 10),  # eight in YAML
        ("train.steps=1e3", 1000),
        ("train.steps=2.0", 2),
        ("optim.lr=1e-3", 0.001),
        ("optim.weight_decay=-0.0", 0.0),
        ("removal.keep_positions=No", False),
        ("removal.keep_positions=true", True),
        ("student.train.steps=1e2", 100),
        ("model.options={n_inner: 3, activation_function: relu}", None),
    ],
)
def test_what_is_no_text_is_read_by_its_type(pair, value):
    read = next(iter(overrides_of([pair]).values()))
    if value is None:
        assert read == {"n_inner": 3, "activation_function": "relu"}
        return
    assert read == value
    assert type(read) is type(value)
    assert math.copysign(1, read) == 1


@pytest.mark.parametrize(
    "pair",
    [
        *("train.steps=12:30", "train.steps=0x10", "train.steps=1,000", "train.steps=true"),
        *("optim.lr=1,5", "optim.lr=.", "removal.keep_positions=maybe", "removal.keep_positions=2"),
        *("model.options=x", "model.options=[1]", "model.options={a: &x 1, b: *x}"),
        *("model.options={a: 1, a: 2}", "model.lora={r: {", "model.options={1: 2}"),
        *("model.options={a: 2024-01-01}", "model.options={a: .nan}", "optim.name=adam"),
        *("model.options={a: !!python/object/apply:os.getcwd []}", "seed=" + "9" * 5000),
    ],
)
def test_what_is_no_value_of_its_setting_is_refused_by_name(pair):
    name = pair.partition("=")[0]
    with pytest.raises(ConfigError, match=name) as raised:
        RunConfig().override(overrides_of([pair]))
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": False}, "label must be text, got False; put text in quotes"),
        ({"data.path": 2024}, r"data\.path must be text or null, got 2024; put text in quotes"),
        ({5: 3}, "names of settings are text, got 5"),
        ({"train.steps": 3, "train": {"steps": 4}}, r"overrides name train\.steps twice"),
        ({"model.options.n_inner": 3}, r"model\.options={n_inner: \.\.\.}"),
        ("{train.steps: 3, train.steps: 4}", "twice"),
        ("[1, 2]", "must map setting names to values"),
        ("{a: [", "overrides is not valid YAML"),
    ],
)
def test_overrides_that_are_none_are_explained(changes, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig().override(changes)


def test_nested_overrides_are_accepted_to_any_depth():
    deep = {"student": {"train": {"steps": 7}}, "model": {"options": {"n_inner": 3}}}
    flat = {"student.train.steps": 7, "model.options": {"n_inner": 3}}
    text = "{student: {train: {steps: 7}}, model: {options: {n_inner: 3}}}"
    typed = overrides_of(["student={train: {steps: 7}}", "model={options: {n_inner: 3}}"])
    for given in (deep, text, typed, {"student.train": {"steps": 7}, "model": deep["model"]}):
        assert parse_overrides(given) == flat
    assert run_config("icot_kd", "smoke", 0, deep) == run_config("icot_kd", "smoke", 0, flat)
    cells = grid_cells({"train": [{"steps": 3}]})
    assert [parse_overrides(cell) for cell in cells] == [{"train.steps": 3}]


def test_paths_hold_wherever_the_settings_are_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "asked.txt").write_text("1 2 * 3||4 #### 5\n")
    whole = {"data.path": f"{tmp_path}/mine", "teacher.model.pretrained": f"{tmp_path}/mine"}
    whole |= {"data.hold_out": f"{tmp_path}/asked.txt"}
    typed = ["data.path=mine", "teacher.model.pretrained=./mine", "data.hold_out=asked.txt"]
    assert overrides_of(typed) == whole
    assert parse_overrides("{data: {path: mine}}") == {"data.path": f"{tmp_path}/mine"}
    # What is not there stays as it is: the id of a model on the hub, a folder still to be made.
    for name, value in {"model.pretrained": "openai-community/gpt2", "data.path": "later"}.items():
        assert parse_overrides({name: value}) == {name: value}
    assert parse_overrides({"label": "mine"}) == {"label": "mine"}


def test_paths_of_the_home_folder_and_path_objects_are_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("~/mine", tmp_path / "mine"):
        assert RunConfig().override({"data.path": given}).data.path == str(tmp_path / "mine")
    typed = RunConfig().override(overrides_of(["model.pretrained=~/model"]))
    assert typed.model.pretrained == str(tmp_path / "model")
    assert RunConfig().override({"data.path": "a~b"}).data.path == "a~b"
    with pytest.raises(ConfigError, match=r"data\.path: '~nobody-here/x' names no home folder"):
        RunConfig().override({"data.path": "~nobody-here/x"})


def test_numbers_of_numpy_are_numbers():
    config = RunConfig().override({"train.steps": np.int64(7), "optim.lr": np.float32(0.5)})
    assert config == RunConfig().override({"train.steps": 7, "optim.lr": 0.5})


# --- ranges ------------------------------------------------------------------------------------


def described():
    return {one.name: one for method in METHODS.names() for one in settings_of(method)}


def test_every_number_has_a_range():
    numbers = [one for one in described().values() if "number" in one.type]
    assert len(numbers) > 30
    assert [one.name for one in numbers if " to " not in one.range] == []


#: Values at and beyond the ends of what a computer counts.
EXTREMES = ["nan", "inf", "-inf", "1e400", "-1", "-1e-300", "1e30", "2.5", "9223372036854775808"]
EXTREMES += ["18446744073709551616", "1000000001", "4294967296", "1" * 5000, "x", "", "null"]


def test_extreme_values_of_every_setting_are_taken_or_refused_by_name():
    """Whatever is typed for any setting, a config is made or a `ConfigError` names the setting."""
    others = [">>", "\x00", "\ud800", "../x", "a" * 300, "{a: 1}", "{1: 2}", "[]", "{a: .inf}"]
    refused: list[tuple[str, str]] = []
    for run, given in [
        *(("icot_si", [f"removal.schedule={name}"]) for name in SCHEDULES),
        *((name, []) for name in ("no_cot", "explicit_cot", "icot_kd", "kd_emulator")),
    ]:
        base = run_config(run, "smoke", 0, overrides_of(given))
        sections = {name.partition(".")[0] for name in ("removal", "distill") if name in base.own}
        for one in settings_of(base.method):
            own = one.name.partition(".")[0] in sections
            if (not own and run != "no_cot") or one.name == "removal.schedule":
                continue
            for text in [*(EXTREMES if "number" in one.type else []), *others]:
                try:
                    base.override(overrides_of([f"{one.name}={text}"]))
                except ConfigError as error:
                    refused.append((one.name, str(error)))
    assert len(refused) > 500
    assert [pair for pair in refused if pair[0] not in pair[1] and pair[0] != "method"] == []


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("optim.lr", math.nan, r"got nan \(allowed: 0 to 1e\+06\)"),
        ("optim.lr", math.inf, "at most"),
        ("optim.beta1", 1.0, r"at most 0\.99999, got 1\.0"),
        ("seed", 2**64, r"at most 4,294,967,295, got 18446744073709551616 \(allowed: 0 to"),
        ("train.threads", 10_000, r"at most 256, got 10000 \(allowed: 1 to 256\)"),
        ("train.steps", 2**63, r"at most 1,000,000,000"),
        ("train.batch_size", 10**7, "at most 65,536"),
        ("optim.weight_decay", 10**400, "at most 1,000"),
        ("removal.pace", -math.inf, "at least 0"),
    ],
)
def test_an_error_of_a_range_names_setting_value_and_range(name, value, allowed):
    with pytest.raises(ConfigError, match=rf"{name} must be .*{allowed}"):
        RunConfig().override({name: value})


def test_a_negative_zero_is_zero():
    zero, negative = ({"optim.lr": value} for value in (0.0, -0.0))
    assert RunConfig().override(negative).digest == RunConfig().override(zero).digest


def test_the_ends_of_ranges_are_allowed():
    config = RunConfig().override({"seed": LARGEST_SEED, "train.threads": 256, "optim.beta1": 0})
    assert (config.seed, config.optim.beta1) == (LARGEST_SEED, 0.0)


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        *(("eos_token_id", "leave it out"), ("pad_token_id", "leave it out")),
        *(("n_positions", "model.extra_positions"), ("max_position_embeddings", "extra_positions")),
        *(("n_embd", "model.width"), ("hidden_size", "model.width"), ("n_layer", "model.layers")),
        *(("num_attention_heads", "model.heads"), ("model_type", "model.architecture")),
    ],
)
def test_options_may_not_contradict_the_data_or_other_settings(option, instead):
    with pytest.raises(ConfigError, match=rf"model\.options: {option} is decided.*{instead}"):
        RunConfig().override({"model.options": {option: 8}})


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label", ["../x", "a/b", "=1+1", "-x", ".x", "a b", "a\\b", "x" * 81, "a:b"]
)
def test_a_label_is_a_name(label):
    with pytest.raises(ConfigError, match=r"label .* becomes the name of a folder"):
        RunConfig().override({"label": label})


@pytest.mark.parametrize("label", ["wide", "2-layers", "größer", "v1.2_a+b", "x" * 64, "模型"])
def test_labels_of_letters_and_digits_are_allowed(label):
    assert f"-{label}-" in RunConfig().override({"label": label}).run_name


@pytest.mark.parametrize(
    "folder", ["=cmd", "my data", "..", "/", "a" * 200, "x/../..", "+-", "q:r"]
)
def test_the_name_of_a_folder_of_data_cannot_lead_elsewhere(folder, monkeypatch):
    name = RunConfig().override({"data.path": folder}).run_name
    assert Path(name).name == name
    assert len(name.encode()) < 160
    assert not set(name) & set("/\\=: ")


@pytest.mark.parametrize("name", ["../out", "a/b", "=x", "", ".hidden"])
def test_a_sweep_has_a_name_too(name, runs_folder, capsys):
    words = ["sweep", "icot_si", "--grid", "seed=0..1", "--preset", "smoke", f"--name={name}"]
    shown = main(["sweep", f"--show={name}"]) if name else main(["sweep", "--show=x/.."])
    assert shown == 1
    assert "becomes the name of a folder" in capsys.readouterr().err
    if name:
        assert main(words) == 1
        assert not runs_folder.exists() or not list(runs_folder.rglob("plan.json"))


def test_text_settings_are_known_by_their_type():
    assert is_text(known_settings().type_of("student.removal.step_end"))
    assert is_text(known_settings().type_of("optim.name"))
    assert not is_text(known_settings().type_of("train.steps"))
    assert known_settings().type_of("train.stepz") is None


@pytest.mark.parametrize("hint", [int | None, Optional[int], Union[int, None]])  # noqa: UP007, UP045
def test_a_setting_that_may_be_null_is_written_in_any_way(hint):
    assert type_name(hint) == "whole number or null"
    assert coerce(3, hint, "x") == 3
    assert coerce(None, hint, "x") is None
    with pytest.raises(ConfigError, match="x must be a whole number"):
        coerce("three", hint, "x")
