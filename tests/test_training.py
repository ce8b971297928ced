"""The training loop: it learns, resumes to the same numbers, and fails kindly."""

import signal
import time
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from icotlib import experiments
from icotlib.cli import main
from icotlib.config import OptimConfig, RunConfig, TrainConfig, to_dict
from icotlib.data.corpus import examples_of, load_corpus
from icotlib.data.files import write_examples
from icotlib.data.run_data import RunData
from icotlib.errors import RunError, TrainingError
from icotlib.evaluation.generation import MORE
from icotlib.evaluation.stage_model import StageModel
from icotlib.methods.micro_batches import length_groups
from icotlib.methods.schedule import BLOCK
from icotlib.methods.stepwise.rollback import Rollback
from icotlib.models.loading import load_stage
from icotlib.planning.plan import plan
from icotlib.runs import Run
from icotlib.sharing.hub import export
from icotlib.system.seeding import generator_for
from icotlib.tasks import Example
from icotlib.training import checkpoints, devices, interruption, optim
from icotlib.training import trainer as trainer_module
from icotlib.training.trainer import Trainer, train
from tests.helpers import TINY, TINY_SIZES, ended, trainer_in

TIMING = ["seconds", "train_seconds"]
ADAPTIVE = {
    "method": "icot_si",
    "removal.schedule": "adaptive",
    "removal.threshold": 0.0,
    "removal.window": 1,
    "removal.smoothing": 1.0,
    "removal.replay": 0.3,
    "removal.reset_optimizer": True,
    "removal.max_steps_per_stage": 3,
    "model.dropout": 0.1,
}


def tables(run):
    return (
        run.metrics.drop(columns=TIMING[0]),
        run.stages.drop(columns=TIMING[1]),
        run.samples,
    )


def assert_same_numbers(one, other):
    for left, right in zip(tables(one), tables(other), strict=True):
        pd.testing.assert_frame_equal(left, right, check_exact=True)
    weights = [(run.folder / "model" / "model.safetensors").read_bytes() for run in (one, other)]
    assert weights[0] == weights[1]


def elsewhere(config, tmp_path, monkeypatch):
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "again"))
    return train(config)


def killed_at(killed, config, monkeypatch):
    """Train a run until this step."""
    step = Trainer.step

    def stopped(self, number):
        if number == killed:
            raise KeyboardInterrupt
        step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(config)


@pytest.mark.parametrize("method", ["no_cot", "icot_si"])
def test_layers_that_are_computed_again_attend_as_the_first_time(runs_folder, tiny, method):
    """In bf16 on a CPU, whose short sequences have an attention of their own without that."""
    config = tiny.override({"method": method, "train.precision": "bf16"})
    plain = train(config).metrics.loss
    again = train(config.override({"train.gradient_checkpointing": True})).metrics.loss
    assert again.tolist() == pytest.approx(plain.tolist(), rel=0.02)


def test_a_run_learns_and_describes_itself(runs_folder, tiny):
    config = tiny.override({"train.steps": 60, "train.batch_size": 32, "train.eval_every": 20})
    run = train(config)
    assert run.done
    assert run.config == config
    assert run.metrics.step.tolist() == [20, 40, 60]
    assert run.metrics.examples.tolist() == [640, 1280, 1920]
    assert run.metrics.loss.iloc[-1] < 0.9 * run.metrics.loss.iloc[0]
    assert run.stages.removed.tolist() == list(range(9))
    assert set(run.stages.n_test) == {24}
    assert {"commit", "device", "data", "versions", "command"} <= set(run.provenance)
    assert (run.totals["chain_length"], run.totals["unit"]) == (8, "tokens")
    assert not (run.folder / "checkpoint").exists()
    files = {path.name for path in run.folder.iterdir()}
    assert files == {
        "config.json",
        "provenance.json",
        "metrics.csv",
        "stages.csv",
        "samples.jsonl",
        "history.jsonl",
        "answers.parquet",
        "model",
        "done.json",
    }


def test_tokens_are_counted_after_removal(runs_folder, tiny):
    plain = tiny.override({"train.steps": 4, "method": "explicit_cot"})
    bare = plain.override({"method": "no_cot"})
    length = 5 + 1 + 8 + 1 + 1 + 4 + 1
    assert train(plain).totals["tokens"] == 4 * 8 * length
    assert train(bare).totals["tokens"] == 4 * 8 * (length - 8)


def test_a_finished_run_is_not_trained_again(tiny_run, tiny):
    run = tiny_run
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    train(tiny)
    assert before == {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}


def test_the_same_config_gives_the_same_numbers(runs_folder, tiny, tmp_path, monkeypatch):
    config = tiny.override(ADAPTIVE)
    assert_same_numbers(train(config), elsewhere(config, tmp_path, monkeypatch))


def test_every_stage_leaves_a_checkpoint_and_an_accuracy(runs_folder, tiny):
    settings = {
        "method": "icot_si",
        "removal.schedule": "linear",
        "removal.pace": 1,
        "removal.steps_per_epoch": 2,
    }
    run = train(tiny.override(settings))
    assert run.stages.removed.tolist() == [0, 1, 2, 3, 4]
    assert run.stages.train_steps.tolist() == [4, 6, 8, 10, 12]
    one, last = (load_stage(run, removed)[0] for removed in (1, 4))
    final = load_stage(run)[0]
    weights = [model.get_input_embeddings().weight for model in (one, last, final)]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])


@pytest.mark.parametrize("kept", ["all", "last"])
def test_a_stage_that_no_step_has_trained_is_neither_kept_nor_tested(runs_folder, tiny, kept):
    at_once = {
        "method": "icot_si",
        "removal.schedule": "linear",
        "removal.remove_all_at": 0,
        "removal.warmup_steps": 0,
        "train.stage_weights": kept,
    }
    config = tiny.override(at_once)
    run = train(config)
    assert run.stages.removed.tolist() == [8]
    assert [path.name for path in run.folder.glob("stages/*")] == ["removed-008"] * (kept == "all")
    assert config.spec.planned_test_stages(config, 8, config.train.steps) == [8]


def test_a_specialist_is_tested_at_its_stage_alone_as_planned(runs_folder, tiny):
    config = tiny.override({"removal.stage": 4, "removal.warmup_steps": 3})
    assert config.spec.planned_test_stages(config, 8, config.train.steps) == [4]
    assert train(config).stages.removed.tolist() == [4]


def test_when_a_run_evaluates_does_not_change_what_is_removed(runs_folder, tiny):
    """Stages are decided on every ten steps, here by the cap of three."""
    decided = []
    for every in (7, 10):
        more = {"removal.replay": 0.0, "train.steps": 45, "train.eval_every": every}
        run = train(tiny.override(ADAPTIVE | more))
        decided.append(dict(zip(run.stages.train_steps, run.stages.removed, strict=True)))
    assert list(decided[0]) == [10, 20, 30, 40, 45]
    assert decided[0] == decided[1]


def test_only_the_last_stages_weights_are_kept_where_asked(runs_folder, tiny, monkeypatch, capsys):
    linear = {
        "method": "icot_si",
        "removal.schedule": "linear",
        "removal.pace": 1,
        "removal.steps_per_epoch": 2,
    }
    every, config = (tiny.override(linear | {"train.stage_weights": x}) for x in ("all", "last"))
    killed_at(11, config, monkeypatch)  # after a stage that ended after the last checkpoint
    (planned,) = plan(config)
    run, whole = train(config), train(every)
    for left, right in zip(tables(run), tables(whole), strict=True):
        pd.testing.assert_frame_equal(left, right, check_exact=True)
    assert len(run.stages) == 5
    weights = list(run.folder.rglob("*.safetensors"))
    assert weights == [run.folder / "model" / "model.safetensors"]
    assert planned.cost.disk == pytest.approx(weights[0].stat().st_size, rel=0.1)
    assert StageModel.of(run).stages == [4]
    assert torch.equal(
        StageModel.of(run).model.get_input_embeddings().weight,
        StageModel.of(whole, 4).model.get_input_embeddings().weight,
    )
    for ask in (lambda: StageModel.of(run, 1), lambda: StageModel.of(run).at(1)):
        with pytest.raises(RunError, match="1 removed, but did not keep the weights"):
            ask()
    with pytest.raises(RunError, match="did not keep the weights"):
        export(run, runs_folder / "hub", removed=1)
    assert main(["show", run.name]) == 0
    assert "weights are there at 4 removed" in capsys.readouterr().out
    one_model = train(tiny.override({"train.stage_weights": "last"}))  # serves every stage
    assert StageModel.of(one_model).stages == list(range(9))


#: Every stage is good, and every one but the first collapses, until there are no returns left.
ROLLBACK = {
    "method": "icot_si",
    "removal.schedule": "rollback",
    "removal.stage_steps": 10,
    "removal.warmup_steps": 10,
    "removal.good": 0.0,
    "removal.collapsed": 1.0,
    "removal.slower": 1.0,
    "removal.returns": 2,
    "train.steps": 60,
}


@pytest.mark.parametrize("kept", ["all", "last"])
def test_weights_come_back_after_a_collapse(runs_folder, tiny, monkeypatch, kept):
    config = tiny.override(ROLLBACK | {"train.stage_weights": kept})
    at = {}
    step = Trainer.step

    def noted(self, number):
        weights = self.method.model.get_input_embeddings().weight.detach()
        moments = sum(len(optimizer.state) for optimizer in self.optimizers)
        at[number] = self.method.schedule.removed, weights.clone(), moments
        step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", noted)
        run = train(config)
    assert [at[number][0] for number in range(0, 60, 10)] == [0, 1, 1, 1, 2, 3]
    for back in (20, 30):
        assert torch.equal(at[back][1], at[10][1])
        assert not torch.equal(at[back][1], at[back - 1][1])
        assert at[back][2] == 0
    assert run.stages.removed.tolist() == [0, 1, 2, 3]
    assert run.stages.train_steps.tolist() == [10, 40, 50, 60]
    events = run.history.event.tolist()
    assert events == ["started", *["went back to 0 removed"] * 2, "finished"]
    assert not (run.folder / "checkpoint").exists()


@pytest.mark.parametrize("kept", ["all", "last"])
def test_stages_that_a_run_has_gone_back_behind_are_forgotten(runs_folder, tiny, monkeypatch, kept):
    """The stage of one removed ends neither well nor in collapse, that of two in collapse."""
    matches = iter([1.0, 0.5, 0.0, 0.5, 0.5, 0.5])
    rest = {"removal.good": 0.9, "removal.collapsed": 0.1, "train.stage_weights": kept}

    def given(self, step, correct, at_eval_stage):
        if step % BLOCK == 0:
            self.given = next(matches)
        self.recent = [self.given]

    monkeypatch.setattr(Rollback, "update", given)
    run = train(tiny.override(ROLLBACK | rest))
    assert run.stages.removed.tolist() == [0, 1, 2, 3]
    assert run.stages.train_steps.tolist() == [10, 40, 50, 60]


@pytest.fixture(scope="module")
def gone_back(tmp_path_factory):
    """Runs that go back and are never killed, by how often they evaluate."""
    goes_back = RunConfig().override(TINY | ROLLBACK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("gone_back")))
        return {x: train(goes_back.override({"train.eval_every": x})) for x in (15, 25)}


@pytest.mark.parametrize(("every", "killed"), [(15, 20), (15, 21), (15, 39), (15, 47), (25, 45)])
def test_a_run_that_goes_back_resumes_to_the_same_numbers(
    gone_back, runs_folder, monkeypatch, every, killed
):
    """Killed at step 45, it goes back once more, though another stage ended well meanwhile."""
    whole = gone_back[every]
    killed_at(killed, whole.config, monkeypatch)
    assert_same_numbers(train(whole.config), whole)


def test_lost_weights_to_go_back_to_are_named(runs_folder, tiny, monkeypatch):
    config = tiny.override(ROLLBACK)
    step = Trainer.step

    def without(self, number):
        for file in (self.run.folder / "checkpoint").glob("good-*.safetensors"):
            file.unlink()
        step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", without)
        with pytest.raises(RunError, match=r"good-00000010\.safetensors: the weights to which"):
            train(config)


def test_gradients_do_not_depend_on_groups_or_accumulation(runs_folder, tiny):
    losses = []
    for groups, parts in ((1, 1), (3, 1), (1, 4), (2, 3)):
        settings = {"train.length_groups": groups, "train.accumulation": parts}
        settings |= {"train.steps": 8, "data.valid_examples": 1, "data.test_examples": 1}
        losses.append(train(tiny.override(settings)).metrics.loss.tolist())
    for other in losses[1:]:
        assert losses[0] == pytest.approx(other, rel=1e-4)


def test_training_stops_early_on_a_reached_target(runs_folder, tiny, monkeypatch):
    config = tiny.override({"train.stop_accuracy": 0.0})
    with monkeypatch.context() as patch:  # killed after it has stopped: it must not go on
        patch.setattr(Trainer, "_finish", lambda self, rows: None)
        train(config)
    assert train(config).metrics.step.tolist() == [4]


def test_a_target_counts_only_where_it_was_measured_at_the_last_stage(runs_folder, tiny):
    """The last stage begins between two evaluations, of which the first is of the stage before."""
    linear = {"method": "icot_si", "removal.schedule": "linear", "removal.pace": 8.0}
    linear |= {"removal.steps_per_epoch": 6, "removal.warmup_steps": 0}
    run = train(tiny.override(linear | {"train.stop_accuracy": 0.0}))
    assert run.metrics.step.tolist() == [4, 8]
    assert run.metrics.removed.iloc[-1] == 8 > run.metrics.removed.iloc[0]
    assert run.totals["step"] == 8


@pytest.mark.parametrize("chains", ["filler", "shuffled"])
def test_a_control_reads_other_chains_and_the_same_questions_and_answers(chains, tiny):
    own, other = (RunData(one) for one in (tiny, tiny.override({"removal.chains": chains})))
    for a, b in ((own.batches(0), other.batches(0)), (own.valid, other.valid)):
        q, c = int(a.question[0]), int(a.chain[0])
        assert torch.equal(a.ids[:, :q], b.ids[:, :q])
        assert torch.equal(a.ids[:, q + c :], b.ids[:, q + c :])
        true, read = a.ids[:, q : q + c], b.ids[:, q : q + c]
        wanted = true.roll(1, 0) if chains == "shuffled" else torch.full_like(true, own.layout.sep)
        assert torch.equal(read, wanted)


def test_positions_suffice_for_the_longest_chain_behind_any_question(tiny, tmp_path):
    for split, number in {"train": 40, "valid": 4, "test": 4}.items():
        examples = [
            Example(" ".join([f"{split[:2]}{i}"] * (1 + i % 9)), " ".join("1" * (1 + i % 7)), "2")
            for i in range(number)
        ]
        write_examples(tmp_path / f"{split}.txt", examples)
    config = tiny.override(
        {"data.path": str(tmp_path), "method": "icot_si", "removal.chains": "shuffled"}
        | {"removal.keep_positions": False}
    )
    data = RunData(config)
    widths = [int(data.batches(step).total.max()) for step in range(20)]
    assert max(widths) <= data.longest_total
    own = RunData(config.override({"removal.chains": "own"}))
    assert own.longest_total < data.longest_total


def test_fillers_are_written_until_they_are_removed(runs_folder, tiny):
    run = train(tiny.override({"removal.chains": "filler", "train.steps": 120}))
    chain = run.totals["chain_length"]
    written = run.stages.tokens_mean
    assert (written.iloc[0], written.iloc[-1]) == (chain + written.iloc[-1], written.iloc[-1])


def test_own_files_train_for_epochs(runs_folder, tiny, tmp_path):
    for split, digits in {"train": "12345678", "valid": "9", "test": "0"}.items():
        examples = [Example(digit, "1 2 3", digit) for digit in digits]
        write_examples(tmp_path / "own" / f"{split}.txt", examples)
    run = train(tiny.override({"data.path": str(tmp_path / "own")}))
    assert run.name.startswith("one_model-own-s0")
    assert run.stages.removed.tolist() == [0, 1, 2, 3]


def test_what_a_model_may_write_is_what_the_longest_chain_of_its_training_needs(
    runs_folder, tiny, tmp_path, monkeypatch
):
    short, long = "1 2 3", " ".join("3" * 23)
    for split, digits in {"train": "12345678", "valid": "9", "test": "0"}.items():
        chains = [long if digit == "1" else short for digit in digits]
        examples = [
            Example(digit, chain, digit) for digit, chain in zip(digits, chains, strict=True)
        ]
        write_examples(tmp_path / "own" / f"{split}.txt", examples)
    own = {"data.path": str(tmp_path / "own"), "method": "explicit_cot"}
    run = train(tiny.override(own | {"model.extra_positions": 40}))
    limit = int(run.stages.max_new_tokens.iloc[0])
    model = StageModel.of(run)
    rest = model.encode([Example("9", short, "9")])
    held_out = int((rest.total - rest.question)[0]) + MORE
    assert limit == held_out + 20
    assert model.max_new_tokens == limit
    longer = model.evaluate([Example("9", " ".join("3" * 43), "9")])
    assert longer.max_new_tokens == limit + 20
    assert model.evaluate([Example("9", short, "9")]).max_new_tokens == limit
    older = run.stages.drop(columns="max_new_tokens")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "stages", property(lambda self: older))
        assert StageModel.of(run).max_new_tokens == held_out
    (tmp_path / "own" / "train.txt").unlink()
    assert StageModel.of(run).max_new_tokens == limit


def test_the_paper_preset_runs_on_a_pretrained_model_from_a_folder(runs_folder, pretrained):
    """The papers' settings in every respect but size, through the hub's own format."""
    small = {
        "model.pretrained": pretrained("gpt2"),
        "data.task": "mult-2x2",
        "data.train_examples": 40,
        "data.valid_examples": 8,
        "data.test_examples": 8,
        "removal.steps_per_epoch": 4,
        "removal.warmup_steps": 0,
        "train.steps": 6,
        "train.eval_every": 3,
    }
    run = train(experiments.icot_si("paper", overrides=small))
    assert run.totals["chain_length"] == 8 + 1  # with the space that the authors' code leaves
    assert run.stages.removed.tolist() == [0, 2, 4, 6, 8, 9]
    model, layout = load_stage(run, 4)
    corpus = load_corpus(run.config.data)
    assert layout.encode(examples_of(corpus.test)[:1]).chain.tolist() == [9]
    assert model.config.n_embd == 16


# --- the optimizer -----------------------------------------------------------------------------


def watch_resets(monkeypatch):
    resets = []
    monkeypatch.setattr(optim, "reset", lambda optimizers: resets.append(len(optimizers)))
    return resets


def test_the_optimizer_is_reset_at_each_removal_until_nothing_is_left(
    runs_folder, tiny, monkeypatch
):
    resets = watch_resets(monkeypatch)
    linear = {
        "method": "icot_si",
        "removal.schedule": "linear",
        "removal.pace": 1,
        "removal.steps_per_epoch": 1,
        "removal.reset_optimizer": True,
        "train.steps": 14,
    }
    train(tiny.override(linear))
    assert len(resets) == 8  # s = 1 ... 8, each after a batch that still held chain tokens
    resets.clear()
    # Strong smoothing empties every chain before s first grows: nothing is left to reset for.
    train(tiny.override({**linear, "removal.smoothing": 0.01}))
    assert resets == []


def test_a_resumed_run_knows_that_nothing_is_left_to_reset_for(tmp_path, tiny, monkeypatch):
    """Strong smoothing empties every chain; the run stops right before s grows, at step 7."""
    linear = {
        "method": "icot_si",
        "model.dropout": 0.1,
        "removal.pace": 1,
        "removal.reset_optimizer": True,
        "removal.schedule": "linear",
        "removal.smoothing": 1e-4,
        "removal.steps_per_epoch": 5,
        "train.eval_every": 7,
    }
    config = tiny.override(linear)
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "stopped"))
    resets = watch_resets(monkeypatch)
    killed_at(8, config, monkeypatch)
    run = train(config)
    assert run.history.step.tolist() == [0, 7, 12]
    assert resets == []
    assert_same_numbers(run, elsewhere(config, tmp_path, monkeypatch))


def test_no_reset_unless_asked(runs_folder, tiny, monkeypatch):
    resets = watch_resets(monkeypatch)
    train(
        tiny.override(
            {"method": "icot_si", "removal.schedule": "linear", "removal.steps_per_epoch": 8}
        )
    )
    assert resets == []


def test_reset_forgets_every_moment(runs_folder, tiny):
    for name in ("muon", "adamw"):
        trainer = Trainer(tiny.override({"optim.name": name}), Run.of(tiny))
        sum(parameter.sum() for parameter in trainer.model.parameters()).backward()
        for optimizer in trainer.optimizers:
            optimizer.step()
        assert any(len(optimizer.state) for optimizer in trainer.optimizers)
        optim.reset(trainer.optimizers)
        assert not any(len(optimizer.optimizer.state) for optimizer in trainer.optimizers)


def test_muon_moves_hidden_matrices_and_adamw_everything_else(runs_folder, tiny):
    trainer = Trainer(tiny, Run.of(tiny))
    muon, adamw = ({id(p) for g in o.param_groups for p in g["params"]} for o in trainer.optimizers)
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    assert muon | adamw == set(names)
    assert not muon & adamw
    assert all("attn" in names[i] or "mlp" in names[i] for i in muon)
    assert any("wte" in names[i] for i in adamw)


def test_batched_muon_makes_the_same_update_as_torchs(runs_folder):
    generator = torch.Generator().manual_seed(0)
    shapes = [(6, 6), (6, 24), (24, 6), (6, 18), (6, 6)]
    starts = [torch.randn(shape, generator=generator) for shape in shapes]
    one, other = ([torch.nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    settings = {"lr": 0.1, "momentum": 0.95, "weight_decay": 0.1}
    ours, torchs = optim.BatchedMuon(one, **settings), torch.optim.Muon(other, **settings)
    for _ in range(3):
        for mine, theirs in zip(one, other, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            theirs.grad = mine.grad.clone()
        ours.step()
        torchs.step()
    for mine, theirs, start in zip(one, other, starts, strict=True):
        apart, moved = (mine - theirs).detach().norm(), (mine - start).detach().norm()
        assert apart < 0.03 * moved  # theirs is in bf16


@pytest.mark.parametrize("columns", [6, 11, 12, 24])
def test_newton_schulz_is_the_textbooks_whatever_the_shape(columns):
    """Also where one direction is ten thousand times weaker than another."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 6, columns, generator=generator, dtype=torch.float64)
    x = x * torch.logspace(0, -4, 6, dtype=torch.float64)[:, None]
    x = x / x.norm(dim=(1, 2), keepdim=True)
    a, b, c = (3.4445, -4.7750, 2.0315)
    wanted = x
    for _ in range(5):
        gram = wanted @ wanted.mT
        wanted = a * wanted + (b * gram + c * gram @ gram) @ wanted
    found = optim.newton_schulz(x.float(), (a, b, c), 5).double()
    assert (found - wanted).norm() < 1e-3 * wanted.norm()


@pytest.fixture
def scaled(monkeypatch):
    """Gradients are scaled as in fp16, by powers of two, which rounds nothing in fp32."""
    make = devices.make_accelerator

    def with_scaler(config):
        accelerator = make(config)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=3)
        accelerator.scaler = scaler
        return accelerator

    monkeypatch.setattr(devices, "make_accelerator", with_scaler)


@pytest.mark.parametrize("settings", [{}, {"optim.clip": 0.0}, {"optim.name": "adamw"}])
def test_every_optimizer_steps_on_unscaled_gradients(
    runs_folder, tiny, tmp_path, monkeypatch, request, settings
):
    config = tiny.override(settings)
    plain = train(config)
    request.getfixturevalue("scaled")
    assert_same_numbers(plain, elsewhere(config, tmp_path, monkeypatch))


def test_a_checkpoint_keeps_the_scale_of_gradients(runs_folder, tiny, scaled, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_finish", lambda self, rows: None)
        train(tiny)
    trainer = Trainer(tiny, Run.of(tiny))
    assert trainer.accelerator.scaler.get_scale() == 2.0**8
    trainer._resume()
    assert trainer.accelerator.scaler.get_scale() == 2.0 ** (8 + tiny.train.steps // 3)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_overflows_stops_the_step_of_every_optimizer(clip):
    one, other = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    both = [torch.optim.AdamW([x], lr=0.1, fused=True) for x in (one, other)]
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    accelerator = SimpleNamespace(scaler=scaler, is_fsdp2=False)
    scaler.scale(one.sum() + other.sum()).backward()
    one.grad[0, 0] = float("nan")
    optim.step(both, accelerator, [one, other], clip)
    assert (one == 1).all()
    assert (other == 1).all()
    assert scaler.get_scale() == 2.0
    scaler.scale(one.sum() + other.sum()).backward()
    optim.step(both, accelerator, [one, other], clip)
    assert (one < 1).all()
    assert torch.equal(one, other)
    assert one.grad is None


def test_the_rate_rises_stays_and_falls_to_zero():
    config = OptimConfig(warmup_steps=4, decay_fraction=0.5)
    rates = [optim.rate_at(config, step, 20) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:11] == [1.0] * 7
    assert rates[11:] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_length_groups_hold_every_row_once_and_sort_by_length():
    lengths = torch.tensor([5, 1, 9, 2, 7])
    groups = length_groups(lengths, TrainConfig(length_groups=2))
    assert [len(group) for group in groups] == [3, 2]
    assert sorted(torch.cat(groups).tolist()) == [0, 1, 2, 3, 4]
    assert lengths[groups[0]].max() <= lengths[groups[1]].min()
    parts = length_groups(lengths, TrainConfig(length_groups=2, accumulation=2))
    assert [len(part) for part in parts] == [2, 1, 1, 1]
    assert len(length_groups(torch.tensor([4, 4]), TrainConfig(length_groups=2))) == 1


def test_seeds_of_steps_differ():
    draws = {
        float(torch.rand((), generator=generator_for(s, t))) for s in range(5) for t in range(200)
    }
    assert len(draws) == 1000


# --- what goes wrong ---------------------------------------------------------------------------


def break_weights(patch, at, behind=False):
    """Make weights NaN in front of a step, or behind it, where its loss cannot show it."""
    step = Trainer.step

    def broken(self, number):
        loss = step(self, number) if behind else None
        if number == at:
            with torch.no_grad():
                next(self.model.parameters()).fill_(float("nan"))
        return loss if behind else step(self, number)

    patch.setattr(Trainer, "step", broken)


@pytest.mark.parametrize("last", [8, 12])  # at an evaluation, and at the end
def test_an_update_that_is_not_finite_is_neither_kept_nor_tested(
    runs_folder, tiny, monkeypatch, last
):
    config = tiny.override({"train.eval_every": 4})
    with monkeypatch.context() as patch:
        break_weights(patch, last - 1, behind=True)
        with pytest.raises(TrainingError, match=f"step {last} has left weights"):
            train(config)
    run = Run.of(config)
    assert not run.done
    kept = [path.name for path in (run.folder / "checkpoint").iterdir()]
    assert kept == [f"step-{last - 4:08d}"]
    assert train(config).metrics.step.tolist() == [4, 8, 12]


def test_a_stage_does_not_end_with_weights_that_are_not_finite(runs_folder, tiny, monkeypatch):
    linear = {"removal.schedule": "linear", "removal.pace": 1.0, "removal.steps_per_epoch": 3}
    seldom = {"train.eval_every": 12, "removal.warmup_steps": 3}
    config = tiny.override({"method": "icot_si"} | linear | seldom)
    with monkeypatch.context() as patch:
        break_weights(patch, 5, behind=True)  # the next step begins a stage
        with pytest.raises(TrainingError, match="step 6 has left weights"):
            train(config)
    run = Run.of(config)
    assert run.ended_stages == []
    assert train(config).done
    assert run.ended_stages


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(
    runs_folder, tiny, monkeypatch
):
    config = tiny.override({"train.eval_every": 4})
    with monkeypatch.context() as patch:
        break_weights(patch, 6)
        with pytest.raises(TrainingError, match=r"the loss at step 7 is nan.*optim\.lr"):
            train(config)
    run = Run.of(config)
    assert not run.done
    assert [path.name for path in (run.folder / "checkpoint").iterdir()] == ["step-00000004"]
    assert train(config).metrics.step.tolist() == [4, 8, 12]


def test_a_checkpoint_is_written_in_time_between_evaluations(tmp_path, tiny, monkeypatch):
    config = tiny.override({**ADAPTIVE, "train.eval_every": 12})
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "killed"))
    run = Run.of(config)
    with monkeypatch.context() as patch:
        patch.setattr(interruption, "CHECKPOINT", -1.0)  # one is always due
        killed_at(7, config, monkeypatch)
    assert [path.name for path in (run.folder / "checkpoint").iterdir()] == ["step-00000007"]
    assert run.metrics.empty
    train(config)
    assert run.history.step.tolist() == [0, 7, 12]
    assert_same_numbers(run, elsewhere(config, tmp_path, monkeypatch))


def test_a_checkpoint_is_due_once_in_its_time(runs_folder, tiny, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    ours = SimpleNamespace(**vars(time) | {"monotonic": lambda: clock.now})
    for module in (interruption, trainer_module):
        monkeypatch.setattr(module, "time", ours)
    written, save = [], checkpoints.save
    monkeypatch.setattr(
        checkpoints, "save", lambda run, step, *own: (written.append(step), save(run, step, *own))
    )
    step = Trainer.step

    def long(self, number):
        clock.now += interruption.CHECKPOINT * 0.3  # the fourth step is beyond the limit
        step(self, number)

    monkeypatch.setattr(Trainer, "step", long)
    train(tiny.override({"train.eval_every": 12}))
    assert written == [4, 8, 12]


def test_a_damaged_checkpoint_is_named(runs_folder, tiny, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_finish", lambda self, rows: None)
        train(tiny)
    for name in ("state.json", "model.safetensors", "optimizers.pt"):
        path = next((Run.of(tiny).folder / "checkpoint").glob(f"step-*/{name}"))
        whole = path.read_bytes()
        path.write_bytes(whole[:20])
        with pytest.raises(RunError, match=f"step-00000012/{name}.*delete .* to train"):
            train(tiny)
        path.write_bytes(whole)
    assert train(tiny).done


# --- killed and resumed ------------------------------------------------------------------------


def start(config, runs):
    process = trainer_in(str(runs), to_dict(config))
    process.start()
    return process


def wait_for(found, alive, seconds=120):
    limit = time.monotonic() + seconds
    while not found():
        assert alive(), "the run ended before it could be killed"
        assert time.monotonic() < limit
        time.sleep(0.002)


#: Runs that are killed: a schedule with a state of its own, and thoughts with a decoder beside.
KILLED = {
    "icot_si": TINY | ADAPTIVE,
    "coconut": TINY_SIZES
    | {"latent.first_steps": 10, "latent.steps_per_stage": 10, "latent.step_weight": 0.5},
    "codi": TINY_SIZES | {"latent.places": 3},
}


@pytest.mark.parametrize("method", KILLED)
def test_a_run_killed_several_times_ends_with_the_same_numbers(method, tmp_path, monkeypatch):
    """SIGKILL after a checkpoint, between checkpoints, and during the final evaluation."""
    settings = {"train.steps": 60, "train.eval_every": 10, "data.test_examples": 400}
    config = RunConfig().override({**KILLED[method], "method": method, **settings})
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "killed"))
    run = Run.of(config)
    moments = [
        lambda: any((run.folder / "checkpoint").glob("step-*")),
        lambda: run.progress.get("step", 0) >= 30 and len(run.metrics) >= 2,
        lambda: "testing" in run.progress,
    ]
    for moment in moments:
        process = start(config, tmp_path / "killed")
        wait_for(moment, process.is_alive)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not run.done
    assert ended(start(config, tmp_path / "killed")) == 0
    assert run.done
    assert_same_numbers(run, elsewhere(config, tmp_path, monkeypatch))


def test_two_processes_that_need_the_same_run_train_it_once(tmp_path, tiny, monkeypatch):
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path))
    processes = [start(tiny, tmp_path) for _ in range(2)]
    assert [ended(process) for process in processes] == [0, 0]
    run = Run.of(tiny)
    assert run.done
    assert run.metrics.step.tolist() == [4, 8, 12]


def test_no_forward_pass_looks_for_padding(runs_folder, tiny, monkeypatch):
    """transformers would, wherever no mask comes with the input, and wait for the device."""

    def looked(tensor, element):
        raise AssertionError("looked for padding")

    few = {"train.steps": 2, "train.eval_every": 2, "data.test_examples": 10}
    distilled = experiments.icot_kd("smoke", 0, few)
    monkeypatch.setattr(torch.Tensor, "__contains__", looked)
    for config in (tiny, *distilled.phases.values(), distilled):
        train(config)
    model = StageModel.of(Run.of(tiny)).untrained().model
    assert model.config.pad_token_id is not None
    model(torch.full((1, 3), model.config.pad_token_id))
