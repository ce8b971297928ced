"""Settings: checked, overridable by name, hashed."""

import dataclasses
import inspect
import json
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from icotlib import config as config_module
from icotlib import experiments
from icotlib.asked import as_configs
from icotlib.cli import main
from icotlib.config import RunConfig, field_names, from_dict, settings_of, to_dict
from icotlib.errors import ConfigError, RunError, RunWarning
from icotlib.experiments import base, distillation, stepwise
from icotlib.experiments.base import names_read
from icotlib.experiments.own import FIRST_TRY, OWN, SIZES
from icotlib.methods.stepwise.schedules import SCHEDULES
from icotlib.registry import METHODS
from icotlib.reporting.groups import find_group
from icotlib.runs import FORMAT, Run, all_runs, find_run

#: The methods of the library; `METHODS` may hold those of other tests besides.
BUILT_IN = ("explicit_cot", "no_cot", "icot_si", "kd_student", "kd_emulator", "icot_kd")


def test_a_config_survives_json():
    config = RunConfig().override({"train.steps": 7, "model.options": {"n_inner": 3}, "seed": 4})
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    coupled = experiments.icot_kd("smoke", overrides={"distill.mixture": 2})
    assert from_dict(json.loads(json.dumps(to_dict(coupled)))) == coupled


# --- overrides ---------------------------------------------------------------------------------


def every_kind() -> dict[str, RunConfig]:
    """A config of every method, and of stepwise internalization with every schedule."""
    teacher = RunConfig().override(method="explicit_cot")
    distilled = {"phases": {"teacher": teacher}}
    kinds = {
        name: RunConfig().override({"method": name, **(distilled if "kd" in name else {})})
        for name in BUILT_IN
        if name != "icot_si"
    }
    for name in SCHEDULES:
        settings = {"removal.schedule": name, "removal.keep_positions": False}
        kinds[f"icot_si {name}"] = RunConfig().override(settings)
    return kinds


#: Another value than the default, where doubling or halving it gives none that is allowed.
OTHER = {
    "data.path": "x",
    "data.task": "mult-3x3",
    "model.pretrained": "x",
    "model.architecture": "llama",
    "model.heads": 3,
    "model.lora": {"r": 2},
    "removal.step_end": ">>",
    "data.hold_out": "questions.txt#0123456789abcdef",
}

#: Settings that make sense only beside others.
BESIDE = {
    "data.growth_steps": {"data.task": "graph-23"},
    "distill.mixture_offset": {"distill.mixture": 0, "distill.mixture_supervision": 0.5},
    "distill.mixture_supervision": {"distill.mixture": 0},
    "model.lora": {"model.pretrained": "a folder"},
}

#: Settings that a method refuses whatever their value.
REFUSED = {"kd_emulator": {"train.stop_accuracy"}}


def other_value(config: RunConfig, name: str) -> Any:
    """A value of the setting that differs from the config's."""
    section, _, last = name.rpartition(".")
    holder = getattr(config, section) if section else config
    value, hint = getattr(holder, last), get_type_hints(type(holder))[last]
    if name in OTHER:
        return OTHER[name]
    if get_origin(hint) is Literal:
        return next(choice for choice in get_args(hint) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value / 2 or 0.5
    if isinstance(value, int):
        return 2 * value or 1
    if isinstance(value, dict):
        return {"a": 1}
    return "x" if value == "" or hint == str | None else 0.5 if float in get_args(hint) else 3


def with_change(config: RunConfig, name: str) -> RunConfig:
    """The config with one setting changed, in its teacher too where both must agree."""
    changes = {name: other_value(config, name)} | BESIDE.get(name, {})
    shared = any(
        one in config_module.MUST_MATCH
        or one.startswith("model.")
        or one in ("data.path", "data.content")
        for one in changes
    )
    if config.phases and shared:
        changes["phases"] = {"teacher": config.phases["teacher"].override(changes)}
    return config.override(changes)


def test_every_field_can_be_overridden_and_changes_the_digest():
    seen: set[str] = set()
    digests: list[str] = []
    for kind, config in every_kind().items():
        digests.append(config.digest)
        given = {"method": config.method}
        given |= {"removal.schedule": kind.split()[1]} if " " in kind else {}
        names = names_read(given) - {"method", "removal.schedule", "phases"}
        seen |= names
        names -= REFUSED.get(config.method, set())
        digests += [with_change(config, name).digest for name in sorted(names)]
    assert len(set(digests)) == len(digests)
    everything = {name for method in BUILT_IN for name in field_names(method)}
    assert seen == everything - {"method", "removal.schedule"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.step": 5}, "unknown setting 'train.step'. Did you mean 'train.steps'"),
        ({"steps": 5}, "unknown setting 'steps'"),
        ({"train": 5}, "unknown setting 'train': it is a section of settings"),
        ({"removal": None}, "unknown setting 'removal': it is a section of settings"),
        ({"train.steps.x": 5}, r"unknown setting 'train\.steps\.x'"),
        ({"own": {"a": 1}}, r"unknown setting 'own\.a'"),
        ({"seed.x": 1}, r"unknown setting 'seed\.x'"),
        ({"label.name": "a"}, r"unknown setting 'label\.name'"),
        ({"phases.teacher": 1}, r"unknown setting 'phases\.teacher'"),
        ({"phases": 3}, "phases must map roles to configs of runs, got 3"),
        ({"train.steps": "many"}, r"train\.steps must be a whole number, got 'many'"),
        ({"train.steps": 2.5}, r"train\.steps must be a whole number, got 2\.5"),
        ({"train.steps": True}, r"train\.steps must be a whole number, got True"),
        ({"train.steps": 0}, r"train\.steps must be at least 1, got 0"),
        ({"model.dropout": 1.5}, r"model\.dropout must be at most 0\.9, got 1\.5"),
        ({"optim.name": "adam"}, "must be one of 'muon', 'adamw'.*Did you mean 'adamw'"),
        ({"model.heads": 5}, r"model\.width \(192\) must be a multiple of model\.heads \(5\)"),
        ({"data.task": "mult-0x2"}, "digits must be 1 to 20"),
        ({"method": "icot_sii"}, "unknown method 'icot_sii'.*Did you mean 'icot_si'"),
        ({"removal.schedule": "lnear"}, r"removal\.schedule must be one of .*mean 'linear'"),
        ({"removal.schedule": "none"}, r"removal\.schedule must be one of .*got 'none'"),
    ],
)
def test_a_bad_override_says_what_is_wrong(changes, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig().override(changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"removal.threshold": 0.5},
            r"removal\.threshold needs removal\.schedule=adaptive; this run has "
            r"removal\.schedule=linear$",
        ),
        (
            {"removal.all_fraction": 0.3},
            r"removal\.all_fraction does not apply: method 'icot_si' does not read it; "
            "it is a setting of one_model$",
        ),
        (
            {"method": "explicit_cot", "removal.pace": 4},
            r"removal\.pace does not apply: method 'explicit_cot' does not read it; "
            "it is a setting of icot_si$",
        ),
        (
            {"method": "no_cot", "removal.pace": 4},
            r"removal\.pace does not apply: method 'no_cot' does not read it; "
            "it is a setting of icot_si$",
        ),
        (
            {"method": "no_cot", "removal.schedule": "all"},
            r"removal\.schedule does not apply: method 'no_cot' does not read it; "
            "it is a setting of icot_si$",
        ),
        (
            {"distill.mixture": 2},
            r"distill\.mixture does not apply: method 'icot_si' does not read it; "
            "it is a setting of kd_emulator and icot_kd$",
        ),
    ],
)
def test_a_setting_without_effect_is_an_error_that_names_who_reads_it(changes, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig().override(changes)


def test_a_setting_that_only_another_phase_reads_is_refused():
    teacher = RunConfig().override(method="explicit_cot")
    changes = {"method": "kd_student", "phases": {"teacher": teacher}, "distill.mixture": 2}
    readers = "it is a setting of kd_emulator and icot_kd$"
    with pytest.raises(ConfigError, match=f"method 'kd_student' does not read it; {readers}"):
        RunConfig().override(changes)
    with pytest.raises(ConfigError, match=f"none of these runs reads it; {readers}"):
        experiments.kd_student("smoke", overrides={"distill.mixture": 2})


def test_overrides_may_be_yaml_text():
    assert RunConfig().override("{train.steps: 5, optim.lr: 1e-4}").optim.lr == 1e-4
    assert RunConfig().override("").train.steps == RunConfig().train.steps
    for text in ("train.steps", "{a: ["):
        with pytest.raises(ConfigError, match="overrides"):
            RunConfig().override(text)


@pytest.mark.parametrize(
    ("nested", "dotted"),
    [
        ({"train": {"steps": 3}}, {"train.steps": 3}),
        ({"train": {"steps": 3, "threads": 2}}, {"train.steps": 3, "train.threads": 2}),
        ("{train: {steps: 3}, label: wide}", {"train.steps": 3, "label": "wide"}),
        ({"model": {"options": {"n_inner": 3}}}, {"model.options": {"n_inner": 3}}),
        (
            {"removal": {"schedule": "linear", "pace": 2.5}},
            {"removal.schedule": "linear", "removal.pace": 2.5},
        ),
    ],
)
def test_nested_overrides_are_dotted_ones(nested, dotted):
    assert RunConfig().override(nested) == RunConfig().override(dotted) != RunConfig()
    for preset in experiments.PRESETS:
        made = [experiments.icot_si(preset, overrides=changes) for changes in (nested, dotted)]
        assert made[0] == made[1] != experiments.icot_si(preset)


def test_nested_overrides_reach_the_phases_of_distillation():
    nested = {"student": {"train": {"steps": 7}}, "model": {"width": 96}}
    dotted = {"student.train.steps": 7, "model.width": 96}
    made = [experiments.icot_kd("fast", overrides=changes) for changes in (nested, dotted)]
    assert made[0] == made[1]
    assert made[0].phases["student"].train.steps == 7
    with pytest.raises(ConfigError, match="unknown setting 'student'"):
        experiments.icot_kd("fast", overrides={"student": 3})


def test_overrides_are_applied_together():
    """Width and heads fit each other only once both are changed."""
    config = RunConfig().override({"model.width": 64, "model.heads": 4})
    assert (config.model.width, config.model.heads) == (64, 4)


def test_switching_the_schedule_drops_what_the_new_one_does_not_read():
    linear = {"removal.schedule": "linear", "removal.pace": 3.0, "removal.side": "right"}
    linear |= {"removal.keep_positions": False, "removal.warmup_steps": 7}
    config = RunConfig().override(linear).override({"removal.schedule": "adaptive"})
    kept = {"removal.side": "right", "removal.keep_positions": False, "removal.warmup_steps": 7}
    assert config == RunConfig().override(kept | {"removal.schedule": "adaptive"})
    assert not hasattr(config.removal, "pace")
    again = config.override({"removal.schedule": "linear"})
    assert again.removal.pace == RunConfig().override({"removal.schedule": "linear"}).removal.pace


def test_switching_the_method_drops_what_the_new_one_does_not_read():
    stepwise_run = RunConfig().override({"removal.keep_positions": False, "train.steps": 7})
    bare = stepwise_run.override(method="no_cot")
    assert bare == RunConfig().override(
        {"method": "no_cot", "removal.keep_positions": False, "train.steps": 7}
    )
    explicit = stepwise_run.override(method="explicit_cot")
    assert explicit == RunConfig().override({"method": "explicit_cot", "train.steps": 7})
    with pytest.raises(AttributeError, match="config of 'explicit_cot' has no 'removal'"):
        _ = explicit.removal


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().seed = 3


# --- what settings mean ------------------------------------------------------------------------


def test_every_setting_of_every_method_is_described():
    for method in METHODS.names():
        described = list(settings_of(method))
        assert {one.name for one in described} == set(field_names(method))
        assert len(described) == len(field_names(method))  # each once
        for one in described:
            assert one.help.strip(), f"{method}: {one.name}"
            assert one.type, f"{method}: {one.name}"


def test_settings_of_schedules_say_which_read_them():
    described = {one.name: one for one in settings_of("icot_si")}
    for name, kind in SCHEDULES.items():
        for field in dataclasses.fields(kind.settings):
            one = described[f"removal.{field.name}"]
            assert not one.only or name in one.only.removeprefix("schedule ").split(", ")
    assert described["removal.pace"].only == "schedule linear"
    assert described["removal.smoothing"].only == ""
    assert described["removal.threshold"].only == "schedule adaptive"
    assert described["removal.side"].only == ""
    choice = described["removal.schedule"]
    assert choice.type == "linear | geometric | adaptive | rollback"
    assert choice.default == "linear"
    assert all(f"{name}" in choice.help for name in SCHEDULES)


# --- names of runs -----------------------------------------------------------------------------


def test_the_run_name_tells_what_it_is():
    name = RunConfig().override({"seed": 2, "label": "x"}).run_name
    assert name.startswith("icot_si-linear-mult-4x2-x-s2-v2-")
    assert name.endswith(RunConfig().override({"seed": 2, "label": "x"}).digest[:10])


def test_a_run_whose_name_no_archive_could_hold_is_refused(tmp_path):
    folder = tmp_path / ("d" * 80)
    long = RunConfig().override({"data.path": str(folder), "label": "x" * 80, "seed": 10**9})
    with pytest.raises(ConfigError, match="choose a shorter label"):
        _ = long.plain_name
    with pytest.raises(ConfigError, match="80 bytes at most"):
        RunConfig().override(label="ж" * 41)


def test_the_version_of_the_numerics_is_part_of_the_name_and_the_digest(monkeypatch):
    before = RunConfig().digest
    assert config_module.NUMERICS == 2
    assert f"-s0-v2-{before[:10]}" in RunConfig().run_name
    monkeypatch.setattr(config_module, "NUMERICS", 3)
    after = RunConfig()
    assert f"-s0-v3-{after.digest[:10]}" in after.run_name
    assert after.digest != before


def test_settings_at_their_default_do_not_name_a_run():
    """A setting that is added later leaves the names of finished runs as they were."""
    default = RunConfig()
    assert default.override({"train.steps": default.train.steps}).digest == default.digest
    assert default.override({"removal.schedule": "linear"}).digest == default.digest
    teacher = experiments.kd_teacher("smoke")
    changed = experiments.kd_teacher("smoke", overrides={"train.steps": 9})
    student = experiments.kd_student("smoke")
    assert student.override({"phases": {"teacher": teacher}}).digest == student.digest
    assert student.override({"phases": {"teacher": changed}}).digest != student.digest


@pytest.fixture
def begun(runs_folder):
    """Writes the directory of a run that has begun."""

    def begin(**changes: Any) -> Run:
        config = RunConfig().override(changes)
        run = Run.of(config)
        run.begin(config, "a device", {"data": "data"})
        return run

    return begin


def test_a_run_stored_in_another_format_is_refused_and_left_out(begun):
    run, old = begun(), begun(seed=1)
    assert FORMAT == 3
    path = old.folder / "config.json"
    stored = json.loads(path.read_text())
    assert stored["format"] == 3
    path.write_text(json.dumps(stored | {"format": 2}))
    with pytest.raises(RunError, match=r"was stored by another version of icotlib, .*train it aga"):
        _ = old.config
    del stored["format"]  # as before formats were numbered
    path.write_text(json.dumps(stored))
    with pytest.warns(RunWarning, match=rf"left out: {old.name}: .*by another version of icotlib"):
        assert [one.name for one in all_runs(finished=False)] == [run.name]
    with pytest.raises(RunError, match="by another version of icotlib"):
        find_run(old.name)


def test_an_empty_name_stands_for_no_run(begun, capsys):
    begun()
    for words in (["show", ""], ["stop", " "], ["runs", "ship", ""], ["ask", "", "1 * 2"]):
        assert main(words) == 1
        error = capsys.readouterr().err
        assert "the name of a run is empty" in error or "no run is in training" in error
    with pytest.raises(RunError, match="was a variable not set"):
        find_group("")


@pytest.mark.parametrize("name", ["preset", "seed"])
def test_preset_and_seed_are_said_once(name):
    other = {"preset": "smoke", "seed": 2}[name]
    with pytest.raises(ConfigError, match=rf"{name}={other!r} among the settings.* --{name}"):
        experiments.icot_si("fast", 1, {name: other})
    same = {"preset": "fast", "seed": 1}
    assert experiments.icot_si("fast", 1, same) == experiments.icot_si("fast", 1)


def test_what_is_no_config_is_named():
    config = experiments.icot_si("smoke")
    assert as_configs(config) == as_configs([config]) == [config]
    for asked in ("icot_si", ["icot_si"], [None]):
        with pytest.raises(ConfigError, match="is no config: make one"):
            as_configs(asked)


def test_a_run_is_found_by_how_its_name_begins(begun):
    plain, labelled, seeded = begun(), begun(label="wide"), begun(seed=1)
    assert find_run(seeded.name).name == seeded.name
    assert find_run("icot_si-linear-mult-4x2-w").name == labelled.name
    # Without a label goes before labels, and then seed 0 before others.
    assert find_run("icot_si").name == plain.name
    assert find_run("icot_si-linear-mult-4x2-s1").name == seeded.name


def test_an_ambiguous_name_lists_the_choices(begun):
    choices = [begun(seed=seed) for seed in (1, 2)]
    labelled = begun(label="wide")
    with pytest.raises(RunError, match="several runs begin with 'icot_si'; type more") as raised:
        find_run("icot_si")
    assert all(f"\n  {run.name}" in str(raised.value) for run in choices)
    assert labelled.name not in str(raised.value)  # a run without a label would have gone before
    with pytest.raises(RunError, match=r"no run under .* begins with 'no_cot'; see"):
        find_run("no_cot")


# --- presets -----------------------------------------------------------------------------------


def setting_names(values: Any) -> set[str]:
    """The names of settings in nested tables of presets, without the phases they address."""
    names: set[str] = set()
    for key, value in values.items():
        first, _, rest = str(key).partition(".")
        name = rest if first in distillation.PHASE_METHODS else str(key)
        if isinstance(value, dict) and "." not in name:
            names |= setting_names(value)
        else:
            names.add(name)
    return names


@pytest.mark.parametrize(
    "table",
    [
        *(base.PAPER_OPTIM, base.PAPER_REMOVAL, base.MAIN),
        *(
            stepwise.MODEL,
            stepwise.REMOVAL,
            stepwise.SMALL,
            stepwise.SCHEDULE_ABLATIONS_BASE,
            stepwise.SCHEDULE_ABLATIONS,
        ),
        *(distillation.NO_CHAIN, distillation.COMMON, distillation.PAPER_PHASE),
        *(distillation.PHASES, distillation.WEAK_MODEL, distillation.UNTRAINED_GPT2),
        *(distillation.TWO_CHAINS, distillation.MIXTURES),
        *(OWN, SIZES, FIRST_TRY),
    ],
)
def test_every_name_in_a_preset_is_a_setting_of_some_method(table):
    names = setting_names(table)
    assert names <= set(field_names())
    assert names or not any(table.values())


def test_presets_of_methods_name_their_own_settings():
    for name, spec in METHODS.items().items():
        for preset, settings in spec.presets.items():
            assert preset in experiments.PRESETS
            assert set(settings) <= set(field_names(name))


@pytest.mark.parametrize("preset", experiments.PRESETS)
def test_every_preset_makes_every_run(preset):
    configs = experiments.workbook(preset, seed=1)
    assert len({config.digest for config in configs}) == len(configs)
    assert all(config.seed == 1 for config in configs)
    methods = {config.method for config in configs}
    assert methods == {"no_cot", "explicit_cot", "icot_si", "one_model", "icot_kd"}
    assert all(config.preset == preset for config in experiments.all_studies(preset))


def test_a_misspelt_phase_is_not_taken_for_a_setting():
    with pytest.raises(ConfigError, match=r"'studnt' is no phase .* Did you mean 'student'"):
        experiments.icot_kd("smoke", overrides={"studnt.train.steps": 3})


def test_every_experiment_names_the_preset_that_is_meant():
    tried = 0
    for make in (getattr(experiments, name) for name in experiments.__all__):
        if inspect.isfunction(make) and next(iter(inspect.signature(make).parameters)) == "preset":
            with pytest.raises(ConfigError, match="Did you mean 'fast'"):
                make("fsat")
            tried += 1
    assert tried > 20


def test_the_ablations_share_one_teacher_and_as_many_examples():
    rows = experiments.ablations("fast")
    assert len(rows) == 9
    assert len({config.run_name for config in rows.values()}) == 9
    assert len({config.phases["teacher"].digest for config in rows.values()}) == 1

    def examples(config):
        before = sum(examples(one) for role, one in config.phases.items() if role != "teacher")
        return config.train.steps * config.train.batch_size + before

    assert len({examples(config) for config in rows.values()}) == 1
    subset = rows["last column"]
    parts = [subset, subset.phases["student"], subset.phases["emulator"]]
    assert [one.distill.subset for one in parts] == ["last_column"] * 3
    assert not rows["fixed emulator"].distill.train_emulator
    assert rows["fixed emulator"].phases["emulator"] == rows["full"].phases["emulator"]
    assert rows["both skipped"].phases.keys() == {"teacher"}
    bare = experiments.kd_no_cot("fast")
    teacher = rows["full"].phases["teacher"].train
    assert examples(bare) == examples(rows["full"]) + teacher.steps * teacher.batch_size
    assert bare.model == rows["full"].model
    own = {"coupled.train.steps": 300, "coupled.optim.lr": 1e-5}
    changed = experiments.ablations("fast", overrides=own)
    assert changed["full"].train.steps == 300
    assert len({examples(config) for config in changed.values()}) == 1
    few = experiments.few_examples("fast", overrides=own)
    rates = {name: config.optim.lr for name, config in few.items()}
    assert rates["a tenth of the rate"] == pytest.approx(rates["everything trained"] / 10)
    assert {config.train.steps for config in few.values()} == {300}


def test_an_override_may_concern_one_phase_of_distillation():
    config = experiments.icot_kd("fast", overrides={"student.train.steps": 7, "model.width": 96})
    phases = config.phases
    assert phases["student"].train.steps == 7
    assert phases["emulator"].train.steps != 7
    assert {one.model.width for one in [config, *phases.values()]} == {96}
    other = experiments.icot_kd("fast", overrides={"distill.subset": "top_row", "model.width": 96})
    assert other.phases["emulator"].distill.subset == "top_row"
    assert other.phases["teacher"] == phases["teacher"]  # the same whatever is distilled from it
    with pytest.raises(ConfigError, match=r"unknown setting 'train\.stepz'"):
        experiments.icot_kd("fast", overrides={"student.train.stepz": 7})
    with pytest.raises(
        ConfigError,
        match=r"student: distill\.mixture does not apply: method 'kd_student' does not read it; "
        "it is a setting of kd_emulator and icot_kd$",
    ):
        experiments.icot_kd("fast", overrides={"student.distill.mixture": 2})
    with pytest.raises(ConfigError, match=r"unknown setting 'emulator\.train\.steps'"):
        experiments.kd_student("fast", overrides={"emulator.train.steps": 7})
    with pytest.raises(ConfigError, match=r"distill\.subset does not apply"):
        experiments.kd_no_cot("fast", overrides={"distill.subset": "top_row"})


def test_shared_overrides_give_each_run_what_it_reads():
    changes = {"train.steps": 3, "removal.keep_positions": True, "distill.mixture": 2}
    shared = experiments.SharedOverrides.of(changes, BUILT_IN)
    assert shared.for_method("explicit_cot") == {"train.steps": 3}
    assert shared.for_method("no_cot") == {"train.steps": 3, "removal.keep_positions": True}
    assert shared.for_method("kd_student") == {"train.steps": 3}
    assert shared.for_method("icot_kd") == {"train.steps": 3, "distill.mixture": 2}
    assert experiments.explicit_cot("fast", overrides=shared).train.steps == 3
    bare = experiments.no_cot("fast", overrides=shared)
    assert (bare.train.steps, bare.removal.keep_positions) == (3, True)
    coupled = experiments.icot_kd("fast", overrides=shared)
    assert (coupled.train.steps, coupled.distill.mixture) == (3, 2)
    assert experiments.icot_si("fast", overrides=shared) == experiments.icot_si(
        "fast", overrides={"train.steps": 3, "removal.keep_positions": True}
    )
    del changes["removal.keep_positions"]  # removal from the right cannot keep them
    for config in experiments.workbook("fast", overrides=changes):
        assert config.train.steps == 3


def test_shared_overrides_refuse_what_none_of_the_runs_reads():
    unread = "does not apply: none of these runs reads it; it is a setting of"
    with pytest.raises(ConfigError, match=rf"distill\.mixture {unread} kd_emulator and icot_kd$"):
        experiments.series("fast", overrides={"distill.mixture": 2})
    with pytest.raises(ConfigError, match=rf"removal\.pace {unread} icot_si$"):
        experiments.icot_kd("fast", overrides={"removal.pace": 2})
    with pytest.raises(ConfigError, match=r"unknown setting 'train\.stepz'. Did you mean 'train\."):
        experiments.workbook("fast", overrides={"train.stepz": 2})
    with pytest.raises(ConfigError, match=r"removal\.pace does not apply: method 'explicit_cot'"):
        experiments.explicit_cot("fast", overrides={"removal.pace": 2})  # one run alone


def test_presets_take_overrides_and_refuse_typos():
    config = experiments.icot_si("fast", overrides={"train.steps": 3})
    assert config.train.steps == 3
    for make in (
        experiments.icot_si,
        experiments.schedule_ablations,
        experiments.tour,
        experiments.workbook,
    ):
        with pytest.raises(ConfigError, match="Did you mean 'fast'"):
            make("fsat")
    with pytest.raises(ConfigError, match="unknown setting"):
        experiments.icot_si("fast", overrides={"stepz": 3})


def test_a_presets_settings_of_another_schedule_are_left_out():
    config = experiments.icot_si("paper", overrides={"removal.schedule": "adaptive"})
    assert config.removal.schedule == "adaptive"
    assert config.removal.warmup_steps == experiments.icot_si("paper").removal.warmup_steps
    assert not hasattr(config.removal, "pace")


@pytest.mark.parametrize(
    "other", [{"model.architecture": "llama"}, {"model.pretrained": "somewhere"}]
)
def test_what_a_preset_sets_for_its_architecture_is_left_out_of_another(other):
    usual = experiments.icot_si("fast").model.options
    assert usual
    for make in (
        experiments.icot_si,
        experiments.no_cot,
        experiments.explicit_cot,
        experiments.icot_kd,
    ):
        assert make("fast", overrides={"model.architecture": "gpt2"}).model.options == usual
        assert make("fast", overrides=other).model.options == {}
        asked = other | {"model.options": {"attention_bias": True}}
        assert make("fast", overrides=asked).model.options == {"attention_bias": True}
        phases = make("fast", overrides=other).phases.values()
        assert all(phase.model.options == {} for phase in phases)


def test_the_paper_preset_is_the_papers():
    """Section 4 of arXiv 2405.14838: delta 8, lambda 4, learning rate 5e-5, batch 32."""
    config = experiments.icot_si("paper")
    removal, optim = config.removal, config.optim
    assert (removal.schedule, removal.pace, removal.smoothing) == ("linear", 8, 4)
    assert (removal.side, removal.reset_optimizer, removal.remove_all_at) == ("left", True, None)
    assert (optim.name, optim.lr, optim.clip, config.train.batch_size) == ("adamw", 5e-5, 1, 32)
    assert config.data.train_examples / config.train.batch_size == removal.steps_per_epoch


def test_no_cot_gets_as_many_examples_as_one_model():
    for preset in experiments.PRESETS:
        implicit = experiments.one_model(preset)
        bare = experiments.no_cot(preset, budget="examples")
        assert implicit.train == bare.train
        assert implicit.model == bare.model
        # Each has the learning rate that suits it.
        tuned = dataclasses.replace(implicit.optim, muon_lr=bare.optim.muon_lr)
        assert tuned == bare.optim
        assert experiments.no_cot(preset).train.steps > implicit.train.steps  # in as many seconds
