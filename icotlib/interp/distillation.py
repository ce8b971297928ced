"""What distillation leaves inside: probes of the teacher's states, what is lost, what it costs."""

import warnings

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from icotlib.config import RunConfig
from icotlib.data.layout import EncodedBatch
from icotlib.data.run_data import RunData
from icotlib.errors import RunError
from icotlib.evaluation.scoring import evaluate, wilson_interval
from icotlib.methods.distillation.coupling import Coupled
from icotlib.methods.distillation.emulator import Emulator
from icotlib.methods.distillation.method import nanmedian, teacher_of
from icotlib.methods.distillation.states import gold_tokens, teacher_states
from icotlib.methods.distillation.student import Student
from icotlib.models.loading import load_stage, load_weights
from icotlib.models.precision import training_precision
from icotlib.runs import Run
from icotlib.system.devices import best_device

#: What tables of accuracies share.
SCORE = ["accuracy", "ci_low", "ci_high"]


# --- does the diagonal carry the reasoning? ----------------------------------------------------


#: What is probed: subset of states, positions from the state to the token asked for, whether trained.
PROBES: dict[str, tuple[str, int, bool]] = {
    "diagonal": ("diagonal", 0, True),
    "diagonal, next token": ("diagonal", 1, True),
    "first column": ("first_column", 0, True),
    "untrained teacher": ("diagonal", 0, False),
    "untrained, next token": ("diagonal", 1, False),
}


def probe_teacher_states(run: Run, examples: int = 1500) -> pd.DataFrame:
    """How well a linear probe reads the chain from each of the teacher's states.

    A logistic regression per layer, fitted to training examples and tested on the run's test set,
    is asked for the chain's token at t_l, or for the one after it: from the diagonal, from the
    first column, and from a teacher with random weights, which shows what the token's embedding
    alone gives away. Columns: states, layer, accuracy, ci_low, ci_high, and `majority`, the share
    of the commonest token: 1 where all examples have the same, as at a separator.

    Args:
        run: a finished teacher, or any run of distillation.
    """
    config = teacher_of(run.config) if run.config.distilled else run.config
    run_data = RunData(config)
    teacher = load_stage(Run.of(config))[0].to(best_device())
    torch.manual_seed(config.seed)
    untrained = AutoModelForCausalLM.from_config(teacher.config).eval().to(best_device())
    learn, test = _training_examples(run_data, examples), run_data.test
    layers, rows = teacher.config.num_hidden_layers, []
    for name, (subset, offset, trained) in PROBES.items():
        model = teacher if trained else untrained
        seen, unseen = (teacher_states(model, batch, subset).cpu() for batch in (learn, test))
        asked, truth = (gold_tokens(x, layers, offset=offset).numpy() for x in (learn, test))
        for layer in range(layers):
            right = probe(seen[:, layer], asked[:, layer], unseen[:, layer], truth[:, layer])
            low, high = wilson_interval(int(right.sum()), len(right))
            commonest = np.unique(truth[:, layer], return_counts=True)[1].max() / len(truth)
            row = {"states": name, "layer": layer, "accuracy": right.mean()}
            rows.append(row | {"ci_low": low, "ci_high": high, "majority": commonest})
    return pd.DataFrame(rows)


def probe(seen: Tensor, asked: np.ndarray, unseen: Tensor, truth: np.ndarray) -> np.ndarray:
    """Which of the unseen examples a linear probe, fitted on the seen ones, gets right: `[n]`."""
    if len(np.unique(asked)) == 1:
        return truth == asked[0]
    model = LogisticRegression(C=1.0, max_iter=100)
    with warnings.catch_warnings():  # a hundred iterations are enough to read what is there
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(seen.numpy(), asked).predict(unseen.numpy()) == truth


def _training_examples(run_data: RunData, examples: int) -> EncodedBatch:
    """The first training examples of a run, as many as asked for."""
    found, have = [], 0
    while have < examples:
        found.append(run_data.batches(len(found)))
        have += len(found[-1])
    width = max(batch.ids.shape[1] for batch in found)
    ids = [nn.functional.pad(batch.ids, (0, width - batch.ids.shape[1])) for batch in found]
    lengths = [[getattr(batch, name) for batch in found] for name in ("question", "chain", "total")]
    return EncodedBatch(torch.cat(ids), *map(torch.cat, lengths))[slice(0, examples)]


# --- how well is each layer predicted, and how much is lost? -----------------------------------


def explained_table(run: Run) -> pd.DataFrame:
    """Explained variance of the teacher's states by evaluation and layer, as it was measured.

    Columns: step, examples, layer, explained. For runs of emulation and of coupling.
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


def explained(run: Run) -> pd.Series:
    """The median over layers of the explained variance, by evaluation."""
    by_layer = run.metrics.explained_by_layer.str.split()
    return by_layer.map(lambda layers: nanmedian([float(value) for value in layers]))


def before_coupling(config: RunConfig) -> Coupled:
    """Emulator and student of a coupled run's config as they were before coupling."""
    if config.student is None or config.emulator is None:
        raise RunError("a run that skipped a stage has nothing that was before_coupling")
    student = load_weights(Student, Run.of(config.student).weights())
    emulator = load_weights(Emulator, Run.of(config.emulator).weights())
    return Coupled.of(emulator, student).eval().to(best_device())


def accuracy_by_phase(run: Run) -> pd.DataFrame:
    """What is lost on the way: true states, emulated states, coupled; test accuracies.

    Args:
        run: a finished coupled run with student and emulator.
    """
    config, run_data = run.config, RunData(run.config)
    model, batch = before_coupling(config), run_data.test.without_chain()
    with training_precision(config.train.precision, model):
        emulated = evaluate(model, run_data.layout, batch, run_data.answers)
    steps = [
        ("true states", Run.of(config.student).stages.iloc[-1]),
        ("emulated states", pd.Series(vars(emulated))),
        ("coupled", run.stages.iloc[-1]),
    ]
    return pd.DataFrame([{"states": name, **row[SCORE]} for name, row in steps])
