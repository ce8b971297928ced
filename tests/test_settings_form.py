"""The settings form: what is typed becomes overrides, errors stand beside it, the plan follows."""

import ast
import queue

import pytest

import icotlib as icot
from icotlib import experiments
from icotlib.config import settings_of
from icotlib.errors import ConfigError
from icotlib.experiments.drafts import (
    FURTHER,
    WHOLE,
    draft,
    fields_of,
    makeable,
    maker,
    overrides_cell,
)
from icotlib.planning.planner import Planned, Planner
from icotlib.training.trainer import train
from icotlib.widgets import settings_form
from icotlib.widgets.settings_form import Form, settings_table

# --- what is typed -----------------------------------------------------------------------------


@pytest.mark.parametrize("preset", experiments.PRESETS)
def test_every_value_of_every_run_is_read_as_it_is_shown(preset):
    names = makeable(preset)
    assert {"icot_si", "icot_kd", "tour"} <= set(names)
    assert "own_si" not in names  # which needs data
    for name in names:
        make = maker(name, preset)
        found = draft(make, {one.name: one.text for one in fields_of(make({}))})
        assert (found.errors, found.overrides) == ({}, {})
        assert found.config == make({})


def test_only_what_differs_from_the_preset_is_an_override():
    texts = {"train.steps": "300", "train.batch_size": "128", "data.path": "null"}
    found = draft(maker("icot_si", "fast", 3), texts)
    assert found.overrides == {"train.steps": 300}
    assert found.config == experiments.icot_si("fast", 3, {"train.steps": 300})


def test_mistakes_are_told_together_each_with_its_setting():
    texts = {"train.steps": "many", "optim.lr": "-1", "model.dropout": "0.5", "data.task": "mul-2x"}
    found = draft(maker("icot_si"), texts)
    assert found.config is None
    assert found.errors == {
        "train.steps": "train.steps must be a whole number, got 'many'",
        "optim.lr": "optim.lr must be at least 0, got -1.0 (allowed: 0 to 1e+06)",
    }
    assert found.overrides == {"model.dropout": 0.5, "data.task": "mul-2x"}
    found = draft(maker("icot_si"), {"data.task": "mul-2x"})
    assert list(found.errors) == ["data.task"]


@pytest.mark.parametrize(
    ("texts", "further", "concerned", "said"),
    [
        ({"model.width": "100"}, "", "model.width", "must be a multiple of model.heads"),
        ({"removal.side": "right"}, "", "removal.side", "removal.keep_positions needs"),
        ({}, "{train.steps: x}", FURTHER, "train.steps must be a whole number"),
        ({}, "train.steps", FURTHER, "overrides must map setting names to values"),
        ({}, "{student.train.steps: 3}", FURTHER, "student.train.steps"),
    ],
)
def test_what_contradicts_another_setting_stands_beside_the_one_that_was_changed(
    texts, further, concerned, said
):
    found = draft(maker("icot_si"), texts, further)
    assert list(found.errors) == [concerned]
    assert said in found.errors[concerned]


def test_an_error_of_a_phase_concerns_the_whole():
    found = draft(maker("icot_kd"), {}, "{student.stepz: 1}")
    assert list(found.errors) == [WHOLE]


def test_another_schedule_brings_its_own_settings_and_their_values():
    make = maker("icot_si")
    before = {one.name for one in draft(make, {}).fields}
    found = draft(make, {"removal.schedule": "adaptive", "removal.pace": "x"})
    after = {one.name: one.text for one in found.fields}
    assert "removal.pace" in before
    assert "removal.pace" not in after  # what is typed there counts for nothing
    assert after["removal.threshold"] == "0.85"
    assert found.overrides == {"removal.schedule": "adaptive"}


def test_phases_are_reached_by_further_overrides():
    found = draft(maker("icot_kd", "smoke"), {"train.steps": "9"}, "{student.train.steps: 5}")
    assert found.overrides == {"train.steps": 9, "student.train.steps": 5}
    assert found.config.phases["student"].train.steps == 5
    assert found.config.phases["teacher"].train.steps == 9


def test_a_config_is_a_start_too(tiny):
    found = draft(maker(tiny), {"train.steps": "20"})
    assert found.overrides == {"train.steps": 20}
    assert found.config == tiny.override({"train.steps": 20})


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"train.steps": 300},
        {"removal.step_end": "\">'", "data.path": None, "data.holdout": True},
        {
            "model.options": {"n_inner": 64, "activation_function": "relu"},
            "label": "a-long-label-that-fills-the-line",
            "optim.lr": 1e-5,
        },
    ],
)
def test_the_cell_is_python_that_gives_the_overrides(overrides):
    cell = overrides_cell(overrides)
    assert max(map(len, cell.splitlines())) <= 88
    names: dict = {}
    exec(cell, names)
    assert names["overrides"] == overrides


def test_the_table_has_every_setting_that_the_run_reads():
    table = settings_table("icot_si", "smoke", overrides={"train.steps": 9}).set_index("setting")
    assert table.loc["train.steps", ["value", "default", "type"]].tolist() == [
        *("9", "1200", "whole number")
    ]
    assert "removal.pace" in table.index
    assert "removal.threshold" not in table.index  # of another schedule
    helps = {one.name: one.help for one in settings_of("icot_si")}
    assert all(row.meaning == helps[name] for name, row in table.iterrows())
    with pytest.raises(ConfigError, match="Did you mean 'icot_si'"):
        settings_table("icot_s")


# --- plans -------------------------------------------------------------------------------------


@pytest.fixture
def plans():
    """A planner, and the queue of what it tells."""
    told: queue.Queue[Planned] = queue.Queue()
    planner = Planner(told.put)
    yield planner, told
    planner.close()


def test_the_last_config_is_planned_in_another_process(runs_folder, tiny, plans):
    planner, told = plans
    for steps in range(20, 60):
        planner.ask(tiny.override({"train.steps": steps}))
    last = told.get(timeout=120)
    assert last.lines[1].startswith("  59 steps, ")
    assert last.speed is None
    assert not any(" on this machine" in line for line in last.lines)
    assert told.empty()
    planner.ask(tiny, speed="2")
    assert any("2 TFLOP/s (calculated)" in line for line in told.get(timeout=120).lines)
    planner.ask(tiny, speed="fast")
    assert "neither h100, nor TFLOP/s" in told.get(timeout=120).error
    assert not runs_folder.exists()


def test_a_process_that_was_killed_in_between_is_replaced(runs_folder, tiny, plans):
    planner, told = plans
    planner.ask(tiny)
    assert not told.get(timeout=120).error
    [process] = planner._pool._processes.values()
    process.kill()
    process.join()
    for _ in range(2):  # noticed by then or not
        planner.ask(tiny)
        assert not told.get(timeout=120).error


def test_a_closed_planner_starts_nothing(tiny, plans):
    planner, told = plans
    planner.close()
    planner.ask(tiny)
    assert "another form" in told.get(timeout=5).error
    assert planner._pool is None


def test_timing_is_given_up_for_the_next_question(runs_folder, tiny, plans):
    planner, told = plans
    planner.ask(tiny.override({"train.steps": 500}), timed=True)
    planner.ask(tiny, timed=True)
    found = told.get(timeout=120)
    assert found.lines[1].startswith("  12 steps, ")
    assert any("on this machine" in line for line in found.lines)
    assert found.speed > 0
    assert told.empty()
    train(tiny)
    planner.ask(tiny)
    assert told.get(timeout=120).lines == ("finished already",)


# --- the form ----------------------------------------------------------------------------------


class Played:
    """A planner that only notes what it is asked."""

    def __init__(self, tell):
        self.tell, self.asked = tell, []

    def ask(self, config, speed=None, timed=False):
        self.asked.append((config, speed, timed))

    def close(self):
        self.closed = True


@pytest.fixture
def opened(monkeypatch):
    monkeypatch.setattr(settings_form, "Planner", Played)
    return Form


def type_in(form: Form, name: str, text: str) -> None:
    form.find.value = name
    form.rows[name].input.value = text
    form.find.value = ""


def test_what_is_typed_becomes_the_cell_and_is_planned(opened):
    form = opened("icot_si", "smoke", seed=2)
    changes = []
    form.box.observe(lambda change: changes.append(change["new"]), names="value")
    for text in ("3", "30", "300"):
        type_in(form, "train.steps", text)
    assert changes == [{"train.steps": 3}, {"train.steps": 30}, {"train.steps": 300}]
    assert form.cell.value == 'overrides = {"train.steps": 300}'
    config, speed, timed = form.planner.asked[-1]
    assert config == experiments.icot_si("smoke", 2, {"train.steps": 300})
    assert (speed, timed) == (None, False)
    type_in(form, "train.steps", "40")  # that of the preset
    assert form.box.value == {}


def test_a_mistake_stands_beside_its_field_and_keeps_the_last_overrides(opened):
    form = opened("icot_si", "smoke")
    type_in(form, "train.batch_size", "64")
    asked = len(form.planner.asked)
    form.section.value = "optim"
    type_in(form, "train.steps", "0")
    note = form.rows["train.steps"].note.value
    assert 'role="alert"' in note
    assert "train.steps must be at least 1, got 0" in note
    assert form.rows["train.steps"].box in form.fields.children  # though of another section
    assert "look at train.steps" in form.planning.value
    assert form.box.value == {"train.batch_size": 64}
    assert ast.literal_eval(form.cell.value.partition(" = ")[2]) == {"train.batch_size": 64}
    assert len(form.planner.asked) == asked
    form.rows["train.steps"].input.value = "50"
    assert 'role="alert"' not in form.rows["train.steps"].note.value
    assert form.box.value == {"train.steps": 50, "train.batch_size": 64}


def test_sections_and_words_choose_the_settings_that_are_shown(opened):
    form = opened("icot_si", "smoke")
    assert form.section.value == "train"
    assert {name.partition(".")[0] for name in form.shown} == {"train"}
    form.section.value = "removal"
    assert {"linear", "adaptive"} <= {*form.rows["removal.schedule"].input.options}
    form.rows["removal.schedule"].input.value = "adaptive"
    assert "removal.threshold" in form.shown
    form.find.value = "learning rate"
    assert form.shown == ["optim.lr", "optim.muon_lr"]
    form.find.value = ""
    form.section.value = "changed"
    assert form.shown == ["removal.schedule"]
    boxes = [form.rows[name].box for name in form.shown]
    assert list(form.fields.children) == boxes
    assert all(form.rows[name].input.description == name for name in form.rows)


def test_another_run_or_preset_keeps_what_was_typed_and_it_still_reads(opened):
    form = opened("icot_si", "smoke", overrides={"train.steps": 77, "removal.pace": 2})
    assert form.box.value == {"train.steps": 77, "removal.pace": 2}
    form.preset.value = "fast"
    assert form.planner.asked[-1][0] == experiments.icot_si(
        "fast", 0, {"train.steps": 77, "removal.pace": 2}
    )
    form.run.value = "no_cot"
    assert form.box.value == {"train.steps": 77}
    assert not form.draft.errors


def test_overrides_of_phases_begin_in_their_own_field(opened):
    form = opened("icot_kd", "smoke", overrides={"student": {"train": {"steps": 5}}})
    assert form.further.value == "{student.train.steps: 5}"
    assert form.box.value == {"student.train.steps": 5}
    form.further.value = "{student.train.steps: }"
    assert "student.train.steps has no value" in form.problem.value


def test_a_form_of_a_config_or_of_what_makes_one_has_no_other_runs(opened, tiny):
    for run in (tiny, tiny.override):
        form = opened(run, overrides={"optim.lr": 0.01})
        assert (form.run, form.preset) == (None, None)
        type_in(form, "train.steps", "15")
        assert form.box.value == {"optim.lr": 0.01, "train.steps": 15}
        assert form.planner.asked[-1][0] == tiny.override(form.box.value)


def test_a_plan_that_comes_while_something_is_wrong_is_not_shown(opened):
    form = opened("icot_si", "smoke")
    type_in(form, "train.steps", "x")
    form.planner.tell(Planned(("of before",)))
    assert "look at train.steps" in form.planning.value
    assert "of before" not in form.plan.value


def test_the_plan_is_shown_and_a_measured_speed_is_kept(opened):
    form = opened("icot_si", "smoke")
    form.planner.tell(Planned(("a <plan>",)))
    assert "a &lt;plan&gt;" in form.plan.value
    form.time.click()
    assert form.planner.asked[-1][2]
    form.planner.tell(Planned(("timed",), speed=0.0123))
    assert form.speed.value == "0.0123"
    type_in(form, "train.steps", "9")
    assert form.planner.asked[-1][1:] == ("0.0123", False)
    form.planner.tell(Planned(error="no such device"))
    assert 'role="alert"' in form.planning.value


def test_a_form_takes_the_process_of_an_earlier_one(opened):
    first, second = opened("icot_si", "smoke"), opened("icot_si", "smoke")
    assert first.planner.closed
    assert not hasattr(second.planner, "closed")


def test_where_nobody_watches_the_form_is_a_table(tiny):
    shown = icot.settings_form("icot_si", "smoke", overrides={"train.steps": 9}, headless=True)
    assert dict(zip(shown.frame.setting, shown.frame.value, strict=True))["train.steps"] == "9"
    assert icot.settings_form(tiny, headless=True).frame.setting.is_unique
    with pytest.raises(ConfigError, match="unknown preset 'smol'"):
        icot.settings_form("icot_si", "smol", headless=True)


@pytest.fixture
def own(tmp_path):
    """Overrides without which there is no run on own data, and their folder."""
    lines = [f"say {x}||{x} >> #### {x}" for x in range(60)]
    for split, some in {"train": lines[:20], "valid": lines[20:40], "test": lines[40:]}.items():
        (tmp_path / f"{split}.txt").write_text("\n".join(some) + "\n")
    return {"data.path": str(tmp_path), "model.pretrained": str(tmp_path / "model")}


def test_a_run_that_needs_settings_begins_with_those_that_are_given(opened, own):
    given = own | {"train.steps": 7}
    made = settings_table("own_si", "smoke", overrides=given)
    form = opened("own_si", "smoke", overrides=given)
    assert {one.name for one in form.draft.fields} == set(made.setting)
    assert form.box.value == given
    type_in(form, "train.steps", "9")
    assert form.box.value == own | {"train.steps": 9}
    type_in(form, "data.path", "null")
    assert "data.path" in form.problem.value
    assert form.box.value == own | {"train.steps": 9}  # as it was when all was right
    type_in(form, "data.path", own["data.path"])
    assert form.box.value == own | {"train.steps": 9}
    with pytest.raises(ConfigError, match=r"data\.path"):
        opened("own_si", "smoke")


def test_nothing_is_timed_while_something_is_wrong_and_that_is_said(opened):
    form = opened("icot_si", "smoke")
    type_in(form, "train.steps", "0")
    asked = len(form.planner.asked)
    form.time.click()
    assert "Nothing is timed: look at train.steps." in form.planning.value
    assert len(form.planner.asked) == asked
