"""Analysis of distillation: probes of teacher states, explained variance, accuracy by phase."""

import warnings
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from icotlib.config import RunConfig
from icotlib.data.layout import EncodedBatch
from icotlib.data.run_data import RunData
from icotlib.errors import RunError
from icotlib.evaluation.scoring import Score, wilson_interval
from icotlib.evaluation.stage_model import StageModel
from icotlib.methods.distillation.base import teacher_of
from icotlib.methods.distillation.coupling import Coupled
from icotlib.methods.distillation.emulator import Emulator
from icotlib.methods.distillation.states import (
    explained_variance,
    gold_tokens,
    nanmedian,
    teacher_states,
)
from icotlib.methods.distillation.student import Student
from icotlib.models.loading import load_stage, load_weights
from icotlib.models.precision import training_precision
from icotlib.runs import Run
from icotlib.system.devices import best_device

#: The columns that all tables of accuracies share.
SCORE = ["accuracy", "ci_low", "ci_high"]

#: What is probed: the subset of states, how many positions after the state the predicted token
#: stands, and whether the teacher is trained.
PROBED: dict[str, tuple[str, int, bool]] = {
    "diagonal": ("diagonal", 0, True),
    "diagonal, next token": ("diagonal", 1, True),
    "first column": ("first_column", 0, True),
    "untrained teacher": ("diagonal", 0, False),
    "untrained, next token": ("diagonal", 1, False),
}


def probe_teacher_states(run: Run, examples: int = 1500) -> pd.DataFrame:
    """How well logistic regression predicts chain tokens from each of the teacher's states.

    One regression per layer, fitted to training examples and tested on the run's test set,
    predicts the chain token at t_l, or the one after it (ICoT-KD, arXiv 2311.01460, Section 3.1):
    from the diagonal, from the first column, and from a teacher with random weights, which shows
    how much the token's embedding alone gives away.

    Args:
        run: a finished teacher, or any run of distillation.
        examples: training examples to fit to.

    Returns:
        columns states, layer, accuracy, ci_low, ci_high, and `majority`, the share of the most
        frequent token: 1 where all examples have the same, as at a separator.
    """
    config = teacher_of(run.config)
    run_data = RunData(config)
    teacher = load_stage(Run.of(config))[0].to(best_device())
    torch.manual_seed(config.seed)
    untrained = (
        AutoModelForCausalLM.from_config(teacher.config, trust_remote_code=False)
        .eval()
        .to(best_device())
    )
    sets = _training_examples(run_data, examples), run_data.test
    layers, rows = teacher.config.num_hidden_layers, []
    for name, (subset, offset, trained) in PROBED.items():
        model = teacher if trained else untrained
        fit_states, test_states = (teacher_states(model, one, subset).cpu() for one in sets)
        fit_tokens, truth = (gold_tokens(one, layers, offset=offset).numpy() for one in sets)
        for layer in range(layers):
            fitted = fit_states[:, layer], fit_tokens[:, layer]
            right = logistic_regression_hits(*fitted, test_states[:, layer], truth[:, layer])
            low, high = wilson_interval(int(right.sum()), len(right))
            majority = np.unique(truth[:, layer], return_counts=True)[1].max() / len(truth)
            row = {"states": name, "layer": layer, "accuracy": right.mean()}
            rows.append(row | {"ci_low": low, "ci_high": high, "majority": majority})
    return pd.DataFrame(rows)


def logistic_regression_hits(
    fit_states: Tensor, fit_tokens: np.ndarray, test_states: Tensor, truth: np.ndarray
) -> np.ndarray:
    """Which test tokens scikit-learn's logistic regression predicts from their states: `[m]`.

    Unlike `icotlib.interp.probes`, it fits one probe at a time, to states that are not whitened.

    Args:
        fit_states, fit_tokens: `[n, d]` and `[n]`.
        test_states, truth: `[m, d]` and `[m]`.
    """
    from sklearn.exceptions import ConvergenceWarning  # takes a moment to load
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(fit_tokens)) == 1:
        return truth == fit_tokens[0]
    model = LogisticRegression(C=1.0, max_iter=100)
    with warnings.catch_warnings():  # a hundred iterations suffice
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(fit_states.numpy(), fit_tokens).predict(test_states.numpy()) == truth


def _training_examples(run_data: RunData, examples: int) -> EncodedBatch:
    """The first training examples of a run."""
    batches: list[EncodedBatch] = []
    count = 0
    while count < examples:
        batches.append(run_data.batches(len(batches)))
        count += len(batches[-1])
    width = max(batch.ids.shape[1] for batch in batches)
    ids = [nn.functional.pad(batch.ids, (0, width - batch.ids.shape[1])) for batch in batches]
    lengths = [
        torch.cat([getattr(batch, name) for batch in batches])
        for name in ("question", "chain", "total")
    ]
    return EncodedBatch(torch.cat(ids), *lengths)[slice(0, examples)]


def explained_table(run: Run) -> pd.DataFrame:
    """Explained variance of the teacher's states by evaluation and layer, as training measured it.

    Columns step, examples, layer, explained. For runs of emulation and of coupling.
    """
    rows = [
        {"step": row.step, "examples": row.examples, "layer": layer, "explained": float(value)}
        for row in run.metrics.itertuples()
        for layer, value in enumerate(row.explained_by_layer.split())
    ]
    return pd.DataFrame(rows)


def explained_at_end(run: Run) -> pd.DataFrame:
    """The last evaluation of `explained_table`."""
    table = explained_table(run)
    return table[table.step == table.step.max()]


def median_explained(run: Run) -> pd.Series:
    """The median over layers of the explained variance, by evaluation."""
    by_layer = run.metrics.explained_by_layer.str.split()
    return by_layer.map(lambda layers: nanmedian([float(value) for value in layers]))


def before_coupling(config: RunConfig) -> Coupled:
    """Emulator and student of a coupled run as one model, as they were before coupling.

    Raises `RunError` if the run skipped one of these phases.
    """
    missing = [role for role in ("student", "emulator") if role not in config.phases]
    if missing:
        raise RunError(f"{config.run_name} skipped a phase: it has no {' and no '.join(missing)}")
    student = load_weights(Student, Run.of(config.phases["student"]).weights())
    emulator = load_weights(Emulator, Run.of(config.phases["emulator"]).weights())
    return Coupled.of(emulator, student).eval().to(best_device())


def uncoupled(run: Run) -> StageModel:
    """The system of a coupled run as it was before coupling: the student on emulated states.

    Raises as `before_coupling` does.
    """
    name = f"{run.name}, before coupling"
    return replace(StageModel.of(run), model=before_coupling(run.config), name=name, folder=None)


@torch.no_grad()
def emulation_errors(run: Run, size: int = 250) -> tuple[np.ndarray, np.ndarray]:
    """How far emulated states are from the teacher's, question by question of the test set.

    The explained variance of a layer is one less the ratio of the two columns' sums.

    Args:
        run: a finished run of emulation, or of coupling.
        size: questions at once.

    Returns:
        squared distances of the emulated states from the true ones, and of the true ones from their
        mean, `[questions, layers]` each. The latter are NaN in layers where all questions have one
        state.
    """
    config, test = run.config, RunData(run.config).test
    teacher = load_stage(Run.of(teacher_of(config)))[0].to(best_device())
    coupled = config.spec.answers  # an emulator alone answers nothing
    loaded = load_stage(run)[0].emulator if coupled else load_weights(Emulator, run.weights())
    emulator = loaded.eval().to(best_device())
    parts = [test[slice(first, first + size)] for first in range(0, len(test), size)]
    true, emulated = [], []
    with training_precision(config.train.precision, emulator):
        for part in parts:
            true.append(teacher_states(teacher, part, config.distill.subset, config.distill.delta))
            ids = part.ids[:, : int(part.question.max())].to(best_device())
            emulated.append(emulator(ids, (part.question - 1).to(best_device())).states)
    states, predicted = (torch.cat(one).cpu().double() for one in (true, emulated))
    errors, spreads = (
        (states - other).square().sum(dim=2).numpy() for other in (predicted, states.mean(dim=0))
    )
    spreads[:, np.isnan(explained_variance(states, predicted))] = np.nan
    return errors, spreads


def accuracy_by_phase(run: Run) -> pd.DataFrame:
    """Test accuracy on the teacher's true states, on emulated states, and after coupling.

    Columns states, accuracy, ci_low, ci_high.

    Args:
        run: a finished coupled run with student and emulator.
    """
    emulated = _emulated(run.folder)
    scores = {
        "true states": Run.of(run.config.phases["student"]).stages.iloc[-1][SCORE],
        "emulated states": {name: getattr(emulated, name) for name in SCORE},
        "coupled": run.stages.iloc[-1][SCORE],
    }
    return pd.DataFrame([{"states": name, **score} for name, score in scores.items()])


def answers_by_phase(run: Run) -> pd.DataFrame:
    """Whether each test question is answered right, with the states of `accuracy_by_phase`.

    Columns true states, emulated states, coupled; a row for each question. Raises `RunError` for
    runs that are older than `answers.parquet`.
    """
    student = Run.of(run.config.phases["student"])
    true, coupled = (one.answers.query("removed == removed.max()") for one in (student, run))
    return pd.DataFrame(
        {
            "true states": true.sort_values("number").right.to_numpy(bool),
            "emulated states": np.array(_emulated(run.folder).right),
            "coupled": coupled.sort_values("number").right.to_numpy(bool),
        }
    )


@lru_cache(maxsize=4)
def _emulated(folder: Path) -> Score:
    """What a finished coupled run answered before coupling."""
    return uncoupled(Run(folder)).evaluate()
