"""The papers' numbers as runs: settings as published, pinned one by one."""

import pytest
from transformers import AutoTokenizer

from icotlib.cli import main
from icotlib.costs.lengths import TYPICAL, NominalLengths
from icotlib.data.files import read_examples
from icotlib.data.layout import Layout
from icotlib.errors import ConfigError
from icotlib.experiments.papers import PAPER_RESULTS
from icotlib.experiments.published import get_paper_result
from icotlib.experiments.relatives import RELATIVE_RESULTS
from icotlib.methods.stepwise.schedules import make_schedule
from icotlib.models.known_sizes import GSM8K
from icotlib.planning.plan import plan
from icotlib.tasks import get_task
from icotlib.tasks.questions import draw_questions


def test_every_number_is_a_run_of_its_own():
    configs = {name: result.config() for name, result in PAPER_RESULTS.items()}
    assert len(configs) == 43
    assert len({config.run_name for config in configs.values()}) == len(configs)
    for name, config in configs.items():
        method, task, _ = name.split("/")
        assert config.method.replace("_", "-") == method.removeprefix("kd-")
        assert config.task == (task if task == "gsm8k" else f"mult-{task}")
        assert config.preset == "paper"
        assert config.model.spaced_separators
        assert config.train.batch_size == 32
        assert (config.optim.name, config.optim.clip) == ("adamw", 1.0)
        assert (config.optim.warmup_steps, config.optim.decay_fraction) == (0, 0.0)


def test_the_tables_are_whole():
    """Tables of accuracy: 2405.14838 (11x11 has one number), and 2311.01460."""
    for method in ("icot-si", "no-cot", "explicit-cot"):
        cells = {(c.task, c.model) for c in PAPER_RESULTS.values() if c.method == method}
        digits = {(f"{n}x{n}", "gpt2") for n in (4, 5, 7, 9)}
        words = {("gsm8k", m) for m in ("gpt2", "gpt2-medium", "phi-3", "mistral-7b")}
        assert cells - {("11x11", "gpt2")} == digits | words
    for method in ("icot-kd", "kd-no-cot", "kd-explicit-cot"):
        cells = {(c.task, c.model) for c in PAPER_RESULTS.values() if c.method == method}
        assert len(cells) == 6
        assert {c.paper for c in PAPER_RESULTS.values() if c.method == method} == {"2311.01460"}


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("icot-si/9x9/gpt2", 0.99),
        ("icot-si/gsm8k/mistral-7b", 0.51),
        ("explicit-cot/gsm8k/phi-3", 0.74),
        ("icot-kd/5x5/gpt2", 0.095),
        ("icot-kd/gsm8k/gpt2-medium", 0.219),
        ("kd-no-cot/4x4/gpt2-medium", 0.762),
    ],
)
def test_published_numbers(name, published):
    assert get_paper_result(name).published == published


def test_multiplication_by_stepwise_internalization():
    """lr 5e-5, batch 32, delta 8, lambda 4, 200 epochs of 808,000 examples, no warm-up."""
    config = get_paper_result("icot-si/9x9/gpt2").config(seed=3)
    removal = config.removal
    assert (removal.schedule, removal.pace, removal.smoothing) == ("linear", 8.0, 4.0)
    assert (removal.side, removal.reset_optimizer, removal.remove_all_at) == ("left", True, None)
    assert (removal.warmup_steps, removal.steps_per_epoch) == (0, 25_250)
    assert config.data.train_examples == 808_000
    assert config.train.steps == 200 * 25_250
    assert (config.optim.lr, config.train.precision, config.seed) == (5e-5, "fp32", 3)
    assert config.model.pretrained == "openai-community/gpt2"


@pytest.mark.parametrize("name", ["no-cot/4x4/gpt2", "no-cot/gsm8k/gpt2", "icot-si/4x4/gpt2"])
def test_no_chain_stands_where_stepwise_internalization_ends(name):
    assert not get_paper_result(name).config().input_format.keep_positions


def test_eleven_digits_end_with_320_tokens_removed():
    config = get_paper_result("icot-si/11x11/gpt2").config()
    schedule = make_schedule(config.removal, 369)
    assert schedule.removed_at(config.train.steps - 1) == 320
    assert schedule.removed_at(config.train.steps) == 321


@pytest.mark.parametrize(
    ("model", "lr", "pace", "precision", "parts"),
    [("gpt2-medium", 5e-5, 1.0, "fp32", 1), ("phi-3", 1e-5, 8.0, "bf16", 2)],
)
def test_gsm8k_by_stepwise_internalization(model, lr, pace, precision, parts):
    config = get_paper_result(f"icot-si/gsm8k/{model}").config()
    assert (config.optim.lr, config.removal.pace, config.removal.remove_all_at) == (lr, pace, 39)
    assert (config.train.precision, config.train.accumulation) == (precision, parts)
    assert config.data.path == GSM8K
    assert (config.data.train_examples, config.data.valid_examples) == (None, 500)
    assert config.data.test_examples == 1319
    assert config.removal.steps_per_epoch == 12_051  # 385,620 examples


def test_distillation_by_phase():
    multiplication = get_paper_result("icot-kd/4x4/gpt2").config()
    phases = [*multiplication.phases.values(), multiplication]
    assert [one.method for one in phases] == [
        "explicit_cot",
        "kd_student",
        "kd_emulator",
        "icot_kd",
    ]
    assert [one.train.steps / 25_250 for one in phases] == [1, 40, 40, 40]
    assert multiplication.distill.mixture == 1
    gsm8k = get_paper_result("icot-kd/gsm8k/gpt2").config()
    phases = [*gsm8k.phases.values(), gsm8k]
    assert [one.train.steps / 12_051 for one in phases] == [15, 10, 40, 10]
    distill = gsm8k.phases["emulator"].distill
    assert (distill.mixture, distill.mixture_temperature) == (0, 0.05)
    assert distill.mixture_supervision == 1.0
    assert gsm8k.distill.mixture == 0
    assert {one.train.precision for one in phases} == {"fp32"}
    assert {one.distill.initial_weights for one in phases[1:]} == {"model"}
    assert gsm8k.phases["teacher"] == get_paper_result("kd-explicit-cot/gsm8k/gpt2").config()
    layouts = [get_paper_result(f"{name}/gsm8k/gpt2").config() for name in ("kd-no-cot", "no-cot")]
    assert [config.removal.layout for config in layouts] == ["no_chain", "chain"]
    assert [config.input_format.chain for config in layouts] == [False, True]


def test_overrides_reach_a_papers_run_and_its_phases():
    result = get_paper_result("icot-kd/4x4/gpt2")
    config = result.config(overrides={"student.train.steps": 7, "optim.lr": 1e-4})
    assert config.phases["student"].train.steps == 7
    assert config.phases["emulator"].train.steps == 40 * 25_250
    assert config.phases["teacher"].optim.lr == 1e-4
    short = result.config(overrides={"train.steps": 1000, "emulator.train.steps": 7})
    steps = {role: phase.train.steps for role, phase in short.phases.items()}
    assert (short.train.steps, steps) == (1000, {"teacher": 1000, "student": 1000, "emulator": 7})


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(ConfigError, match=r"Did you mean 'icot-si/9x9/gpt2'"):
        get_paper_result("icot-si/9x9/gtp2")


def test_the_command_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "icot-si/gsm8k/gpt2"]) == 1
    assert "icot prepare whynlp/gsm8k-aug --out data/gsm8k" in capsys.readouterr().err
    assert main(["train", "icot-si/4x4/gpt2", "--preset", "smoke"]) == 1
    assert "leave out --preset" in capsys.readouterr().err
    assert main(["train", "icot_sii"]) == 1
    assert "Did you mean 'icot_si'" in capsys.readouterr().err
    assert main(["train", "tour", "--speed", "h100"]) == 1
    assert "add --plan" in capsys.readouterr().err


def test_the_command_lists_every_number(capsys):
    assert main(["train", "--list"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{name}: arXiv" in printed for name in PAPER_RESULTS | RELATIVE_RESULTS)


def test_a_papers_run_is_planned_without_hub_or_data(runs_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "icot-kd/gsm8k/gpt2", "--plan", "--speed", "h100"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("an H100 as assumed in fp32 (calculated)") == 4
    assert "arXiv 2311.01460 reports 20.0%" in printed
    assert not runs_folder.exists()


def test_typical_lengths_are_those_of_the_authors_files(reference):
    """GPT-2's own tokenizer over real files; of 4x4, 47 tokens to remove and not 46."""
    layout = Layout(AutoTokenizer.from_pretrained(reference / "gpt2-tokenizer"), True)
    for task in ("4x4", "9x9", "11x11"):
        examples = read_examples(reference / "multiplication" / f"{task}_valid.txt")
        real = layout.encode(examples)
        made = NominalLengths(get_paper_result(f"icot-si/{task}/gpt2").config()).batches(0)
        for name in ("question", "chain", "total"):
            assert set(getattr(real, name).tolist()) == set(getattr(made, name).tolist())
    by_steps = Layout(layout.tokenizer, True, ">>")
    check_typical(GSM8K, by_steps, read_examples(reference / "gsm8k" / "valid.txt"))


@pytest.mark.parametrize("task", ["prosqa-23", "prontoqa-5"])
def test_typical_lengths_are_those_of_the_generated_questions(reference, task):
    tokenizer = AutoTokenizer.from_pretrained(reference / "gpt2-tokenizer")
    examples = draw_questions(get_task(task), 400).examples()
    check_typical(task, Layout(tokenizer, True, "."), examples)


def check_typical(data, layout, examples):
    """Their means are those of real examples, and their steps divide whole chains."""
    real, typical = layout.encode(examples), TYPICAL[data]
    mean = sum(typical.question + typical.chain) / 10 + typical.rest
    assert mean == pytest.approx(real.total.double().mean().item(), rel=0.02)
    assert typical.step_ends()[:, -1].tolist() == list(typical.chain)
    steps = real.removal_units.double().mean().item()
    assert sum(typical.steps) / 10 == pytest.approx(steps, abs=0.2)


# --- Coconut and CODI --------------------------------------------------------------------------


def test_every_number_of_the_relatives_is_a_run_of_its_own():
    configs = {name: result.config() for name, result in RELATIVE_RESULTS.items()}
    assert len(configs) == 22
    assert len({config.run_name for config in configs.values()}) == len(configs)
    for name, config in configs.items():
        method, task, _ = name.split("/")
        variants = ("pause-as-thought", "no-curriculum", "without-thought")
        assert config.method == ("coconut" if method in variants else method.replace("-", "_"))
        assert (config.data.path == GSM8K) == (task == "gsm8k")
        assert config.preset == "paper"
        assert RELATIVE_RESULTS[name].doubtful  # from secondary copies


def test_coconut_has_the_curriculum_of_its_paper():
    """GSM8K: 3 epochs a stage, two places, everything gone after stage 3, 25 epochs of 3,013
    steps."""
    config = get_paper_result("coconut/gsm8k/gpt2").config()
    schedule = config.spec.make_schedule(config, 8)
    epoch = 3013
    assert schedule.stages(config.train.steps) == [
        (3 * number * epoch, removed) for number, removed in enumerate([0, 1, 2, 3, 8])
    ]
    assert config.train.steps == 25 * epoch
    assert [int(schedule.places(removed)) for removed in (0, 1, 2, 3, 8)] == [0, 2, 4, 6, 6]
    assert (config.optim.lr, config.optim.weight_decay) == (1e-4, 0.01)
    pairs = get_paper_result("coconut/prontoqa/gpt2").config()  # of sentences
    schedule, epoch = pairs.spec.make_schedule(pairs, 11), 71
    assert schedule.stages(pairs.train.steps) == [
        (5 * number * epoch, removed) for number, removed in enumerate([0, 2, 4, 6, 8, 10, 11])
    ]
    prosqa = get_paper_result("coconut/prosqa/gpt2").config()
    assert prosqa.train.steps == 50 * 140
    assert prosqa.latent.steps_per_stage == 5 * 140
    assert prosqa.latent.reset_every == 140  # a new optimizer at every epoch


def test_the_baselines_of_coconuts_table_have_its_budget():
    for method in ("explicit-cot", "no-cot", "icot-si"):
        config = get_paper_result(f"{method}/prontoqa/gpt2").config()
        assert config.train.steps == 50 * 71
        assert config.train.batch_size == 128
    assert config.removal.schedule == "linear"
    assert (config.removal.pace, config.removal.steps_per_epoch) == (8.0, 71)


def test_codi_has_the_settings_of_its_paper():
    config = get_paper_result("codi/gsm8k/gpt2").config()
    assert config.model.lora == {"r": 128, "lora_alpha": 32}
    assert (config.latent.places, config.latent.distill_weight) == (6, 1.0)
    assert (config.optim.lr, config.optim.weight_decay, config.optim.clip) == (3e-3, 0.1, 2.0)
    assert config.train.steps == 40 * 3013


@pytest.mark.parametrize(
    "name",
    ["coconut/gsm8k/gpt2", "codi/gsm8k/gpt2", "pause/prontoqa/gpt2", "icot-si/prosqa/gpt2"],
)
def test_a_run_of_the_relatives_is_planned_without_hub_or_data(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = get_paper_result(name).config()
    (planned,) = plan(config, speed="h100")
    assert planned.steps == config.train.steps
    ends = [removed for _, removed in planned.stages]
    if name.startswith("coconut"):
        assert ends == [0, 1, 2, 3, 8]  # all of the longest chain's steps after the third stage
    assert planned.cost.trained <= planned.cost.parameters
    assert bool(config.model.lora) == (planned.cost.trained < 1e8)
