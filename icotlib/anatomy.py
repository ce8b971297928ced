"""What distillation leaves inside: probes of the teacher's states, what is lost, what it costs."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from icotlib.config import RunConfig
from icotlib.coupling import Coupled
from icotlib.distillation import teacher_of
from icotlib.emulation import Emulator
from icotlib.errors import RunError
from icotlib.evaluation import evaluate, generate, wilson_interval
from icotlib.material import Material
from icotlib.mind_reading import Student
from icotlib.models import build_model, count_parameters, load_model, load_weights
from icotlib.runs import Run
from icotlib.thoughts import gold_tokens, teacher_states
from icotlib.tokens import Encoded

# --- does the diagonal carry the reasoning? ----------------------------------------------------


def probe_thoughts(
    run: Run, subsets: Sequence[str] = ("diagonal", "first_column"), examples: int = 1500
) -> pd.DataFrame:
    """How well a linear probe reads the chain's token at t_l from each of the teacher's states.

    A logistic regression per layer, trained on fresh examples and tested on the run's test set.
    Every subset of states is asked for the same tokens; a teacher that never trained is the
    control. Columns: states, layer, accuracy, ci_low, ci_high, and `majority`, the share of the
    commonest token.

    Args:
        run: a finished teacher, or any run of distillation.
    """
    config = run.config
    if config.distilled:
        config = teacher_of(config)
    material = Material(config)
    teacher = load_model(Run.of(config).weights())[0]
    torch.manual_seed(config.seed)
    untrained = build_model(config.model, material.layout, material.longest_total).eval()
    learn, test = _fresh(material, examples), material.test
    named = {"untrained teacher": (untrained, "diagonal")}
    named = {subset.replace("_", " "): (teacher, subset) for subset in subsets} | named
    rows = []
    for name, (model, subset) in named.items():
        seen, unseen = (teacher_states(model, batch, subset) for batch in (learn, test))
        layers = seen.shape[1]
        asked, truth = gold_tokens(learn, layers).numpy(), gold_tokens(test, layers).numpy()
        for layer in range(layers):
            right = probe(seen[:, layer], asked[:, layer], unseen[:, layer], truth[:, layer])
            low, high = wilson_interval(int(right.sum()), len(right))
            rows.append(
                {
                    "states": name,
                    "layer": layer,
                    "accuracy": right.mean(),
                    "ci_low": low,
                    "ci_high": high,
                    "majority": np.unique(truth[:, layer], return_counts=True)[1].max()
                    / len(truth),
                }
            )
    return pd.DataFrame(rows)


def probe(seen: Tensor, asked: np.ndarray, unseen: Tensor, truth: np.ndarray) -> np.ndarray:
    """Which of the unseen examples a linear probe, fitted on the seen ones, gets right: `[n]`."""
    if len(np.unique(asked)) == 1:
        return truth == asked[0]
    model = LogisticRegression(C=10.0, max_iter=300)
    return model.fit(seen.numpy(), asked).predict(unseen.numpy()) == truth


def _fresh(material: Material, examples: int) -> Encoded:
    """Training examples of a run, as many as asked for."""
    found, have = [], 0
    while have < examples:
        found.append(material.batches(len(found)))
        have += len(found[-1])
    width = max(batch.ids.shape[1] for batch in found)
    ids = [nn.functional.pad(batch.ids, (0, width - batch.ids.shape[1])) for batch in found]
    lengths = [[getattr(batch, name) for batch in found] for name in ("question", "chain", "total")]
    return Encoded(torch.cat(ids), *map(torch.cat, lengths))[slice(0, examples)]


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


def uncoupled(config: RunConfig) -> Coupled:
    """Emulator and student of a coupled run's config as they were before coupling."""
    if config.student is None or config.emulator is None:
        raise RunError("a run that skipped a stage has nothing that was uncoupled")
    student = load_weights(Student, Run.of(config.student).weights())
    emulator = load_weights(Emulator, Run.of(config.emulator).weights())
    return Coupled.of(emulator, student).eval()


def ladder(run: Run) -> pd.DataFrame:
    """What is lost on the way: true states, emulated states, coupled; test accuracies.

    Args:
        run: a finished coupled run with student and emulator.
    """
    config, material = run.config, Material(run.config)
    emulated = evaluate(
        uncoupled(config), material.layout, material.test.direct(), material.answers
    )
    steps = [
        ("true states", Run.of(config.student).stages.iloc[-1]),
        ("emulated states", pd.Series(vars(emulated))),
        ("coupled", run.stages.iloc[-1]),
    ]
    columns = ["accuracy", "ci_low", "ci_high"]
    return pd.DataFrame([{"states": name, **row[columns]} for name, row in steps])


# --- what it costs -----------------------------------------------------------------------------


def costs(run: Run, batch_sizes: Sequence[int] = (1, 256), rounds: int = 5) -> pd.DataFrame:
    """Where a coupled system's time goes: emulator, readers, and the student's own model.

    One row per part and batch size: parameters, floating-point operations per example for
    thinking and writing one answer, milliseconds per example (median over rounds).
    """
    model, layout = load_model(run.weights())
    direct, rows = Material(run.config).test.direct(), []
    parts = {
        "emulator": model.emulator,
        "readers": model.student.readers,
        "student": model.student.language_model,
    }
    for size in batch_sizes:
        batch = direct[slice(0, size)]
        size = len(batch)
        with FlopCounterMode(display=False) as counter:
            generate(model, layout, batch)
        taken = [_seconds(model, layout, batch, parts) for _ in range(rounds + 1)][1:]
        counted = counter.get_flop_counts()
        for name, part in parts.items():
            rows.append(
                {
                    "part": name,
                    "batch_size": size,
                    "parameters": count_parameters(part),
                    "flops": _flops(counted, model, part) / size,
                    "milliseconds": 1000 * median(row[name] for row in taken) / size,
                }
            )
    return pd.DataFrame(rows)


def _flops(counted: dict, model: PreTrainedModel, part: nn.Module) -> int:
    """Operations inside a part; the counter names modules by their path below the model."""
    path = next(name for name, module in model.named_modules() if module is part)
    names = {f"{type(model).__name__}.{path}"}
    if isinstance(part, nn.ModuleList):  # its members are called, it is not
        names = {f"{type(model).__name__}.{path}.{number}" for number in range(len(part))}
    return sum(sum(counted[name].values()) for name in names if name in counted)


def _seconds(model, layout, batch: Encoded, parts: dict[str, nn.Module]) -> dict[str, float]:
    """Seconds inside each part while one batch is answered; readers are inside the student."""
    with _stopwatch(parts) as spent:
        generate(model, layout, batch)
    spent["student"] -= spent["readers"]
    return spent


@contextmanager
def _stopwatch(parts: dict[str, nn.Module]) -> Iterator[dict[str, float]]:
    spent = dict.fromkeys(parts, 0.0)
    handles = []
    for name, part in parts.items():
        for module in part if isinstance(part, nn.ModuleList) else [part]:
            begun: list[float] = []

            def start(*_, begun=begun) -> None:
                begun.append(time.perf_counter())

            def stop(*_, begun=begun, name=name) -> None:
                spent[name] += time.perf_counter() - begun.pop()

            handles.append(module.register_forward_pre_hook(start))
            handles.append(module.register_forward_hook(stop))
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()


# --- many runs side by side --------------------------------------------------------------------


def compared(configs: dict[str, RunConfig]) -> pd.DataFrame:
    """Ablations side by side: one row per name of finished coupled runs.

    Columns: name, seed, accuracy, ci_low, ci_high; `student`, its accuracy on the teacher's true
    states; `explained`, the mean explained variance after emulation and `drifted` after coupling;
    train_examples. NaN where a stage was skipped.
    """
    rows = []
    for name, config in configs.items():
        run = Run.of(config)
        row = {"name": name, "seed": config.seed, **run.stages.iloc[-1][_SCORE]}
        row["student"] = _last(config.student, "stages", "accuracy")
        row["explained"] = _last(config.emulator, "metrics", "explained")
        row["drifted"] = run.metrics.explained.iloc[-1]
        row["train_examples"] = run.totals["examples"]
        rows.append(row)
    return pd.DataFrame(rows)


_SCORE = ["accuracy", "ci_low", "ci_high"]


def _last(config: RunConfig | None, table: str, column: str) -> float:
    return np.nan if config is None else getattr(Run.of(config), table)[column].iloc[-1]


def depth_table(configs: dict[int, RunConfig]) -> pd.DataFrame:
    """`ladder` at every depth, with a column `layers`."""
    tables = [ladder(Run.of(one)).assign(layers=layers) for layers, one in configs.items()]
    return pd.concat(tables, ignore_index=True)


def mixture_tables(
    configs: Sequence[dict[str, RunConfig]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every mixture at every seed: test accuracies, and components in use while emulators train.

    Returns:
        one table with columns name, seed, states (emulated or coupled), accuracy, ci_low, ci_high,
        and one with name, seed, examples, components, explained.
    """
    scores, learning = [], []
    for one in configs:
        for name, config in one.items():
            steps = ladder(Run.of(config)).iloc[1:].assign(name=name, seed=config.seed)
            scores.append(steps.assign(states=["emulated", "coupled"]))
            metrics = Run.of(config.emulator).metrics[["examples", "components", "explained"]]
            learning.append(metrics.assign(name=name, seed=config.seed))
    return pd.concat(scores, ignore_index=True), pd.concat(learning, ignore_index=True)


def coupling_curves(configs: dict[str, RunConfig]) -> pd.DataFrame:
    """Training and validation accuracy of several coupled runs while they trained."""
    tables = [Run.of(config).metrics.assign(name=name) for name, config in configs.items()]
    return pd.concat(tables, ignore_index=True)
