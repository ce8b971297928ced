"""Costs: operations against torch's own counter, tokens by hand, memory against real tensors."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from icotlib import experiments
from icotlib.cli import main
from icotlib.config import RunConfig
from icotlib.costs import cost as costs
from icotlib.costs import device_speed
from icotlib.costs.lengths import NominalLengths
from icotlib.data.run_data import RunData
from icotlib.errors import ConfigError
from icotlib.evaluation.generation import generate
from icotlib.experiments.published import get_paper_result
from icotlib.models import flops
from icotlib.models.build import build_model
from icotlib.models.known_sizes import MODELS
from icotlib.runs import Run
from icotlib.training.trainer import Trainer, train

TINY = {
    "data.task": "mult-3x3",
    "data.valid_examples": 8,
    "data.test_examples": 8,
    "model.layers": 2,
    "model.width": 32,
    "model.heads": 2,
    "optim.name": "adamw",
    "train.steps": 6,
    "train.batch_size": 4,
    "train.eval_every": 6,
}
LLAMA = {"model.architecture": "llama"}


def eager(*models: torch.nn.Module) -> None:
    """Attention as plain matrix products, whose gradients torch's counter knows on a CPU."""
    for module in (module for model in models for module in model.modules()):
        if hasattr(module, "config"):
            module.config._attn_implementation = "eager"


def counted(trainer: Trainer, step: int = 0) -> int:
    with FlopCounterMode(display=False) as counter:
        trainer.step(step)
    return counter.get_total_flops()


@pytest.mark.parametrize("changes", [{}, LLAMA], ids=["gpt2", "llama"])
@pytest.mark.parametrize("method", ["explicit_cot", "no_cot"])
def test_a_training_step_takes_the_operations_that_torch_counts(tmp_path, changes, method):
    changes = TINY | changes | {"method": method}
    changes |= {"removal.keep_positions": False} if method == "no_cot" else {}
    config = RunConfig().override(changes)
    trainer = Trainer(config, Run(tmp_path / "run"))
    eager(trainer.model)
    cost = costs.cost_of(config, trainer.run_data, steps=1)
    assert cost.flops == pytest.approx(counted(trainer), rel=1e-6)


def test_six_times_the_parameters_for_each_token_of_a_large_model():
    config = get_paper_result("explicit-cot/4x4/gpt2").config()
    cost = costs.cost_of(config, NominalLengths(config))
    embeddings = (50_257 + 1024) * 768
    # The head is applied from the first separator on: 60 of the 70 positions of a sequence of 71.
    matrices = 6 * (cost.parameters - embeddings) * 70 + 6 * 50_257 * 768 * 60
    assert cost.flops / (32 * 25_250) == pytest.approx(matrices, rel=0.02)
    assert cost.flops / (32 * 25_250) > matrices  # attention


def test_every_phase_of_distillation_takes_the_operations_that_torch_counts(runs_folder):
    small = {"train.steps": 2, "train.eval_every": 2, "train.batch_size": 4}
    small |= {"data.valid_examples": 8, "data.test_examples": 8, "model.width": 64}
    small |= {"optim.name": "adamw"}
    config = experiments.icot_kd("smoke", overrides=small)
    fixed = config.override({"distill.train_emulator": False})
    for phase in [*config.phases.values(), config, fixed]:
        trainer = Trainer(phase, Run(runs_folder.parent / phase.run_name))
        if phase != config.phases["teacher"]:
            eager(trainer.model, trainer.method.teacher)
            cost = costs.cost_of(phase, trainer.run_data, steps=1)
            assert cost.flops == pytest.approx(counted(trainer), rel=0.05)
        train(phase)


def test_greedy_answers_take_the_operations_that_torch_counts():
    config = RunConfig().override(TINY)
    run_data = RunData(config)
    model = build_model(config.model, run_data.layout, run_data.longest_total).eval()
    eager(model)
    batch, sizes = run_data.test, flops.model_sizes(model)
    with FlopCounterMode(display=False) as counter:
        written = generate(model, run_data.layout, batch, max_new_tokens=9)
    assert written.shape[1] == 9
    new = torch.full_like(batch.question, 9)
    calculated = flops.generation_flops(sizes, batch.question, new)
    assert calculated == pytest.approx(counter.get_total_flops(), rel=1e-6)


def test_tokens_of_a_run_by_hand():
    """2x2: question 6 with separator, chain 8, then separator, delimiter, 4 digits, end: 21."""
    changes = TINY | {"data.task": "mult-2x2", "method": "icot_si", "removal.schedule": "linear"}
    changes |= {"removal.warmup_steps": 0, "removal.pace": 2.0, "removal.steps_per_epoch": 4}
    config = RunConfig().override(changes | {"removal.remove_all_at": 2})
    run_data = RunData(config)
    cost = costs.cost_of(config, run_data)
    # s = 0, 0, 1, 1, then 2, which is all 8; four examples a step
    assert cost.tokens == 4 * (21 + 21 + 20 + 20 + 13 + 13)
    schedule = config.spec.make_schedule(config, run_data.longest_chain)
    assert schedule.stages(6) == [(0, 0), (2, 1), (4, 8)]
    assert cost.disk == 4 * cost.parameters * (3 + 1)


def test_stages_are_those_that_a_run_goes_through():
    for name in ("icot-si/5x5/gpt2", "icot-si/gsm8k/gpt2"):
        config = get_paper_result(name).config()
        schedule = config.spec.make_schedule(config, 75)
        advanced = [(0, 0)]
        for step in range(500_000):
            if schedule.advance(step):
                advanced.append((step, schedule.removed))
        assert config.spec.make_schedule(config, 75).stages(500_000) == advanced
        assert advanced[-1][1] == 75


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("phi-3", 3_821_079_552),
        ("mistral-7b", 7_241_732_096),
    ],
)
def test_the_papers_models_have_the_sizes_they_have_on_the_hub(model, parameters):
    assert model in MODELS
    config = get_paper_result(f"no-cot/gsm8k/{model}").config()
    sizes = costs.run_sizes(config, NominalLengths(config))
    assert sizes.parameters == sizes.language.parameters == parameters
    assert sizes.state == 16 * parameters  # weights, gradients, two moments, in fp32


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_state_is_what_a_trainer_holds(tmp_path, name):
    trainer = Trainer(RunConfig().override(TINY | {"optim.name": name}), Run(tmp_path / "run"))
    trainer.step(0)
    assert costs.cost_of(trainer.config, trainer.run_data).state == state_bytes(trainer)


def state_bytes(trainer: Trainer) -> int:
    """Bytes of weights, of gradients while there are some, and of the optimizers' moments."""
    size = 0
    for parameter in trainer.model.parameters():
        size += (1 + parameter.requires_grad) * parameter.numel() * parameter.element_size()
    for optimizer in trainer.optimizers:
        for state in optimizer.state.values():
            size += sum(x.numel() * x.element_size() for x in state.values() if x.dim())
    return size


def test_the_decoder_of_sim_cot_is_planned(tmp_path):
    """Its operations at a step with thoughts, its state, and that it is not saved."""
    stages = {"method": "coconut", "latent.first_steps": 1, "latent.steps_per_stage": 1}
    steps, costs_ = {}, {}
    for weight in (0.0, 1.0):
        config = RunConfig().override(TINY | stages | {"latent.step_weight": weight})
        trainer = Trainer(config, Run(tmp_path / f"run-{weight}"))
        eager(trainer.model)
        trainer.step(0)
        trainer.method.begin_step(1)  # the first stage with thoughts
        sizes = costs.run_sizes(config, trainer.run_data)
        planned = costs._step_cost(config, sizes, trainer.run_data, 1).flops
        steps[weight] = planned, counted(trainer, 1)
        costs_[weight] = costs.cost_of(config, trainer.run_data)
        assert costs_[weight].state == state_bytes(trainer)
    planned, found = (steps[1.0][i] - steps[0.0][i] for i in range(2))
    assert planned == pytest.approx(found, rel=1e-6)
    assert costs_[1.0].disk == costs_[0.0].disk
    assert costs_[1.0].parameters == costs_[0.0].parameters
    assert costs_[1.0].activations > costs_[0.0].activations


@pytest.mark.parametrize("changes", [{}, LLAMA], ids=["gpt2", "llama"])
def test_activations_are_about_what_autograd_keeps(tmp_path, changes):
    """Within a fifth: the estimate leaves out what norms and activation functions keep."""
    changes = TINY | changes | {"method": "explicit_cot"}
    config = RunConfig().override(changes | {"train.batch_size": 32, "model.width": 128})
    trainer = Trainer(config, Run(tmp_path / "run"))
    weights = {p.data_ptr() for p in trainer.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        inputs = trainer.run_data.batches(0)
        model = trainer.model.train()
        logits = model(input_ids=inputs.ids[:, :-1], use_cache=False).logits
    positions, sizes = logits.shape[0] * logits.shape[1], flops.model_sizes(model)
    assert 4 * positions * sizes.activations == pytest.approx(sum(kept.values()), rel=0.2)


# --- devices -----------------------------------------------------------------------------------


def planted_steps(noise: float = 0.0, n: int = 24) -> pd.DataFrame:
    """Steps that take 0.02 s, 2e-14 s for each operation and 3e-11 s for each parameter."""
    rng = np.random.default_rng(0)
    parameters = 10 ** rng.uniform(5, 9, n)
    flops = parameters * 6 * 10 ** rng.uniform(2, 4, n)
    seconds = 0.02 + 2e-14 * flops + 3e-11 * parameters
    seconds *= np.exp(noise * rng.normal(size=n))
    return pd.DataFrame({"seconds": seconds, "flops": flops, "parameters": parameters})


def test_a_fit_finds_planted_coefficients():
    speed = device_speed.fit_speed(planted_steps())
    fitted = (speed.per_step, speed.per_flop, speed.per_parameter)
    assert fitted == pytest.approx((0.02, 2e-14, 3e-11), rel=1e-3)
    noisy = device_speed.fit_speed(planted_steps(noise=0.1))
    assert noisy.per_flop == pytest.approx(2e-14, rel=0.15)
    assert noisy.per_step == pytest.approx(0.02, rel=0.3)


def test_a_fit_has_no_negative_cost():
    table = planted_steps()
    speed = device_speed.fit_speed(table.assign(seconds=2e-14 * table.flops))
    assert speed.per_flop == pytest.approx(2e-14, rel=0.01)
    assert min(speed.per_step, speed.per_parameter) >= 0
    with pytest.raises(ConfigError, match="three kinds of step"):
        device_speed.fit_speed(table[:2])


def test_speeds_as_a_user_names_them(tmp_path):
    assert device_speed.read_speed("40", "fp32").seconds(10, 80e12, 1e9) == pytest.approx(2)
    fast, slow = device_speed.read_speed("h100", "bf16"), device_speed.read_speed("H100", "fp32")
    assert fast.per_flop < slow.per_flop
    planted_steps().assign(device="a device", precision="bf16").to_csv(
        tmp_path / "costs.csv", index=False
    )
    measured = device_speed.read_speed(str(tmp_path / "costs.csv"), "fp32")
    assert measured.per_flop == pytest.approx(2e-14, rel=1e-3)
    assert measured.name == "a device as measured in bf16, costs.csv"
    for wrong in ("h1000", "-3", "nan"):
        with pytest.raises(ConfigError, match="neither h100"):
            device_speed.read_speed(wrong, "fp32")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("", "not a table"),
        ("device,precision,flops,seconds,parameters\n", "at least three kinds of step"),
        ("device,precision,flops\na,b,1\n", "not a table"),
        ("device,precision,flops,seconds,parameters\n" + "a,b,1,soon,1\n" * 3, "not a table"),
        ("device,precision,flops,seconds,parameters\n" + "a,b,1,1,1\n" * 2, "at least three"),
        ("flops,seconds,parameters\n" + "1,1,1\n" * 3, "which has a device"),
    ],
)
def test_a_file_that_measures_no_speed_is_named(text, message, tmp_path):
    path = tmp_path / "costs.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=f"--speed {path}: {message}|--speed {path}: .*{message}"):
        device_speed.read_speed(str(path), "fp32")


def test_steps_are_measured_beside_their_cost(tmp_path, capsys):
    command = ["benchmark", "--costs", "--size", "smoke", "--rounds", "1", "--steps", "1"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "costs.csv")
    assert table.model.nunique() >= 4
    assert table.task.nunique() >= 2
    assert (table[["seconds", "flops", "fitted", "predicted"]] > 0).all(axis=None)
    assert table[["device", "commit"]].notna().all(axis=None)
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".json", ".pdf", ".png", ".svg"}
    first = table.iloc[0]
    others = device_speed.fit_speed(table[table.model != first.model])
    assert first.predicted == pytest.approx(others.seconds(1, first.flops, first.parameters))


def test_costs_of_adapters(tmp_path, pretrained):
    """State and disk are those of a trainer; frozen weights have no gradients to compute."""
    folder = pretrained("llama")
    config = RunConfig().override(
        {
            "method": "one_model",
            "data.task": "mult-2x2",
            "model.pretrained": folder,
            "model.lora": {"r": 2},
        }
        | {"optim.name": "adamw", "data.valid_examples": 10, "data.test_examples": 10}
    )
    trainer = Trainer(config, Run(tmp_path / "run"))
    cost = costs.cost_of(config, trainer.run_data)
    trainer.step(0)
    assert cost.state == state_bytes(trainer)
    adapters = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    assert cost.disk == 4 * adapters
    whole = costs.cost_of(config.override({"model.lora": {}}), trainer.run_data)
    assert cost.flops == pytest.approx(whole.flops * 2 / 3, rel=0.05)
    less = costs.cost_of(config.override({"train.gradient_checkpointing": True}), trainer.run_data)
    assert less.activations < cost.activations
    assert less.flops > cost.flops
