"""Settings: checked, overridable by name, hashed."""

import dataclasses
import json

import pytest

from icotlib import experiments
from icotlib.config import RunConfig, field_names, from_dict, to_dict
from icotlib.errors import ConfigError


def test_a_config_survives_json():
    config = RunConfig().override({"train.steps": 7, "model.options": {"n_inner": 3}, "seed": 4})
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_every_field_can_be_overridden_and_changes_the_digest():
    other = {"method": None, "data.path": "x", "model.pretrained": "x", "data.task": "mult-3x3"}
    other |= {"optim.name": "adamw", "removal.schedule": "linear", "removal.side": "right"}
    other |= {"train.precision": "fp32", "label": "x", "preset": "x", "model.architecture": "llama"}
    other |= {"model.options": {"a": 1}, "removal.smoothing": 1.0, "removal.remove_all_at": 3}
    other |= {"data.train_examples": 5, "train.stop_accuracy": 0.5, "model.heads": 3}
    other |= {"model.width": 96, "distill.subset": "top_row", "distill.start": "model"}
    other |= {"distill.delta": 1.5, "distill.mixture_offset": 1}
    other |= {"model.lora": {"r": 2}, "removal.step_end": ">>"}
    #: Settings that make sense only beside others.
    beside = {"removal.direct": {"method": "no_cot", "removal.schedule": "all"}}
    beside |= {"distill.mixture_supervision": {"distill.mixture": 0}}
    beside |= {"model.lora": {"model.pretrained": "a folder"}}
    base = RunConfig().override({"removal.keep_positions": False})
    digests = {base.digest}
    for name in field_names():
        if name == "method":
            continue
        value = base
        for part in name.split("."):
            value = getattr(value, part)
        if name in other:
            value = other[name]
        elif isinstance(value, bool):
            value = not value
        elif isinstance(value, float):
            value = value / 2 or 0.5
        else:
            value = 2 * value or 1
        digests.add(base.override({name: value} | beside.get(name, {})).digest)
    assert len(digests) == len(field_names())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.step": 5}, "unknown setting 'train.step'. Did you mean 'train.steps'"),
        ({"steps": 5}, "unknown setting 'steps'"),
        ({"train": 5}, "unknown setting 'train'"),
        ({"train.steps.x": 5}, "unknown setting"),
        ({"train.steps": "many"}, "TrainConfig.steps must be int, got 'many'"),
        ({"train.steps": 2.5}, "TrainConfig.steps must be int"),
        ({"train.steps": True}, "TrainConfig.steps must be int"),
        ({"train.steps": 0}, "TrainConfig.steps must be at least 1"),
        ({"model.dropout": 1.5}, "ModelConfig.dropout must be at most 0.9"),
        ({"optim.name": "adam"}, "must be one of 'muon', 'adamw'.*Did you mean 'adamw'"),
        ({"model.heads": 5}, "must be a multiple of heads"),
        ({"data.task": "mult-0x2"}, "digits must be 1 to 20"),
        ({"method": "no_cot"}, "method 'no_cot' needs removal.schedule='all'"),
        ({"removal.schedule": "none"}, "cannot use removal.schedule='none'"),
    ],
)
def test_a_bad_override_says_what_is_wrong(changes, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig().override(changes)


def test_overrides_may_be_yaml_text():
    assert RunConfig().override("{train.steps: 5, optim.lr: 1e-4}").optim.lr == 1e-4
    assert RunConfig().override("").train.steps == RunConfig().train.steps
    for text in ("train.steps", "{a: ["):
        with pytest.raises(ConfigError, match="overrides"):
            RunConfig().override(text)


def test_overrides_are_applied_together():
    """Width and heads fit each other only once both are changed."""
    config = RunConfig().override({"model.width": 64, "model.heads": 4})
    assert (config.model.width, config.model.heads) == (64, 4)


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().seed = 3


def test_the_run_name_tells_what_it_is():
    name = RunConfig().override({"seed": 2, "label": "x"}).run_name
    assert name.startswith("icot_si-random-mult-4x2-x-s2-")


@pytest.mark.parametrize("preset", experiments.PRESETS)
def test_every_preset_makes_every_run(preset):
    configs = experiments.workbook(preset, seed=1)
    assert len({config.digest for config in configs}) == len(configs)
    assert all(config.seed == 1 for config in configs)
    methods = {config.method for config in configs}
    assert methods == {"no_cot", "explicit_cot", "icot_si", "icot_kd"}
    assert all(config.preset == preset for config in experiments.studies(preset))
    with pytest.raises(ConfigError, match="Did you mean 'fast'"):
        experiments.studies("fsat")


def test_the_ablations_share_one_teacher_and_as_many_examples():
    rows = experiments.ablations("fast")
    assert len(rows) == 9
    assert len({config.run_name for config in rows.values()}) == 9
    assert len({config.teacher.digest for config in rows.values()}) == 1

    def examples(config):
        parents = sum(examples(one) for role, one in config.parents.items() if role != "teacher")
        return config.train.steps * config.train.batch_size + parents

    assert len({examples(config) for config in rows.values()}) == 1
    subset = rows["last column"]
    parts = [subset, subset.student, subset.emulator]
    assert [one.distill.subset for one in parts] == ["last_column"] * 3
    assert not rows["fixed emulator"].distill.train_emulator
    assert rows["fixed emulator"].emulator == rows["full"].emulator
    assert rows["both skipped"].parents.keys() == {"teacher"}
    bare = experiments.kd_no_cot("fast")
    teacher = rows["full"].teacher.train
    assert examples(bare) == examples(rows["full"]) + teacher.steps * teacher.batch_size
    assert bare.model == rows["full"].model


def test_an_override_may_concern_one_stage_of_distillation():
    config = experiments.icot_kd("fast", overrides={"student.train.steps": 7, "model.width": 96})
    assert config.student.train.steps == 7
    assert config.emulator.train.steps != 7
    assert {one.model.width for one in [config, *config.parents.values()]} == {96}
    other = experiments.icot_kd("fast", overrides={"distill.subset": "top_row", "model.width": 96})
    assert other.emulator.distill.subset == "top_row"
    assert other.teacher == config.teacher  # it is the same whatever is distilled from it
    with pytest.raises(ConfigError, match=r"unknown setting 'train\.stepz'"):
        experiments.icot_kd("fast", overrides={"student.train.stepz": 7})


def test_settings_at_their_default_do_not_name_a_run():
    """A setting that is added later leaves the names of finished runs as they were."""
    base = RunConfig()
    assert base.override({"train.steps": base.train.steps}).digest == base.digest
    teacher = experiments.kd_teacher("smoke")
    changed = experiments.kd_teacher("smoke", overrides={"train.steps": 9})
    student = experiments.kd_student("smoke")
    assert student.override({"teacher": teacher}).digest == student.digest
    assert student.override({"teacher": changed}).digest != student.digest


def test_presets_take_overrides_and_refuse_typos():
    config = experiments.icot_si("fast", overrides={"train.steps": 3})
    assert config.train.steps == 3
    for make in (experiments.icot_si, experiments.levers, experiments.tour, experiments.workbook):
        with pytest.raises(ConfigError, match="Did you mean 'fast'"):
            make("fsat")
    with pytest.raises(ConfigError, match="unknown setting"):
        experiments.icot_si("fast", overrides={"stepz": 3})


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
        asked = make("fast", overrides=other | {"model.options": {"vocab_size": 99}})
        assert asked.model.options == {"vocab_size": 99}
        parents = make("fast", overrides=other).parents.values()
        assert all(parent.model.options == {} for parent in parents)


def test_the_paper_preset_is_the_papers():
    """Section 4 of arXiv 2405.14838: delta 8, lambda 4, learning rate 5e-5, batch 32."""
    config = experiments.icot_si("paper")
    removal, optim = config.removal, config.optim
    assert (removal.schedule, removal.pace, removal.smoothing) == ("linear", 8, 4)
    assert (removal.side, removal.reset_optimizer, removal.remove_all_at) == ("left", True, None)
    assert (optim.name, optim.lr, optim.clip, config.train.batch_size) == ("adamw", 5e-5, 1, 32)
    assert config.data.train_examples / config.train.batch_size == removal.steps_per_epoch


def test_no_cot_gets_as_many_examples_as_stepwise_internalization():
    for preset in experiments.PRESETS:
        stepwise = experiments.icot_si(preset)
        bare = experiments.no_cot(preset, budget="examples")
        assert stepwise.train == bare.train
        assert stepwise.model == bare.model
        assert stepwise.optim == bare.optim
        assert experiments.no_cot(preset).train.steps > stepwise.train.steps  # in as many seconds
