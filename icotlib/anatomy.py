"""What distillation leaves inside: probes of the teacher's states, what is lost, what it costs."""

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import AutoModelForCausalLM, PreTrainedModel

from icotlib.config import RunConfig
from icotlib.coupling import Coupled
from icotlib.distillation import middle, teacher_of
from icotlib.emulation import Emulator
from icotlib.errors import RunError
from icotlib.evaluation import evaluate, generate, wilson_interval
from icotlib.material import Material
from icotlib.mind_reading import Student
from icotlib.models import best_device, count_parameters, load_stage, load_weights
from icotlib.precision import as_trained
from icotlib.runs import Run
from icotlib.thoughts import gold_tokens, teacher_states
from icotlib.tokens import Encoded

#: What tables of accuracies share.
SCORE = ["accuracy", "ci_low", "ci_high"]

# --- does the diagonal carry the reasoning? ----------------------------------------------------


#: What is probed: subset of states, places from the state to the token asked for, whether trained.
PROBES: dict[str, tuple[str, int, bool]] = {
    "diagonal": ("diagonal", 0, True),
    "diagonal, next token": ("diagonal", 1, True),
    "first column": ("first_column", 0, True),
    "untrained teacher": ("diagonal", 0, False),
    "untrained, next token": ("diagonal", 1, False),
}


def probe_thoughts(run: Run, examples: int = 1500) -> pd.DataFrame:
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
    material = Material(config)
    teacher = load_stage(Run.of(config))[0].to(best_device())
    torch.manual_seed(config.seed)
    untrained = AutoModelForCausalLM.from_config(teacher.config).eval().to(best_device())
    learn, test = _training_examples(material, examples), material.test
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


def _training_examples(material: Material, examples: int) -> Encoded:
    """The first training examples of a run, as many as asked for."""
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


def explained_at_end(run: Run) -> pd.DataFrame:
    """The last evaluation of `explained_table`."""
    table = explained_table(run)
    return table[table.step == table.step.max()]


def explained(run: Run) -> pd.Series:
    """The median over layers of the explained variance, by evaluation."""
    by_layer = run.metrics.explained_by_layer.str.split()
    return by_layer.map(lambda layers: middle([float(value) for value in layers]))


def uncoupled(config: RunConfig) -> Coupled:
    """Emulator and student of a coupled run's config as they were before coupling."""
    if config.student is None or config.emulator is None:
        raise RunError("a run that skipped a stage has nothing that was uncoupled")
    student = load_weights(Student, Run.of(config.student).weights())
    emulator = load_weights(Emulator, Run.of(config.emulator).weights())
    return Coupled.of(emulator, student).eval().to(best_device())


def ladder(run: Run) -> pd.DataFrame:
    """What is lost on the way: true states, emulated states, coupled; test accuracies.

    Args:
        run: a finished coupled run with student and emulator.
    """
    config, material = run.config, Material(run.config)
    model, batch = uncoupled(config), material.test.direct()
    with as_trained(config.train.precision, model):
        emulated = evaluate(model, material.layout, batch, material.answers)
    steps = [
        ("true states", Run.of(config.student).stages.iloc[-1]),
        ("emulated states", pd.Series(vars(emulated))),
        ("coupled", run.stages.iloc[-1]),
    ]
    return pd.DataFrame([{"states": name, **row[SCORE]} for name, row in steps])


# --- what it costs -----------------------------------------------------------------------------


def costs(run: Run, batch_sizes: Sequence[int] = (1, 256), rounds: int = 5) -> pd.DataFrame:
    """Where a coupled system's time goes: emulator, readers, and the student's own model.

    One row per part and batch size: parameters, floating-point operations per example for
    thinking and writing one answer, milliseconds per example (median over rounds).
    """
    model, layout = load_stage(run)
    model.to(best_device())
    direct, rows = Material(run.config).test.direct(), []
    parts = {
        "emulator": model.emulator,
        "readers": model.student.readers,
        "student": model.student.language_model,
    }
    for size in batch_sizes:
        batch = direct[slice(0, size)]
        size = len(batch)
        counter = FlopCounterMode(display=False, custom_mapping=ATTENTION)
        with counter:
            generate(model, layout, batch)
        taken = [_seconds(model, layout, batch, parts) for _ in range(rounds + 1)][1:]
        flops = _flops(counter, model, parts)
        for name, part in parts.items():
            rows.append(
                {
                    "part": name,
                    "batch_size": size,
                    "parameters": count_parameters(part),
                    "flops": flops[name] / size,
                    "milliseconds": 1000 * median(row[name] for row in taken) / size,
                }
            )
    return pd.DataFrame(rows)


#: The attention kernel of CPUs, which torch's counter does not know.
ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda q, k, v, *_, out_shape=None, **__: sdpa_flop_count(q, k, v)
    )
}


def _flops(
    counter: FlopCounterMode, model: PreTrainedModel, parts: dict[str, nn.Module]
) -> dict[str, int]:
    """Operations by part, from a counter that names modules by their path below the model."""
    counted = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    paths = {module: f"{type(model).__name__}.{name}" for name, module in model.named_modules()}

    def of(part: nn.Module) -> int:
        if isinstance(part, nn.ModuleList):  # its members are called, it is not
            return sum(of(member) for member in part)
        return counted.get(paths[part], 0)

    flops = {name: of(part) for name, part in parts.items()}
    flops["student"] = counter.get_total_flops() - flops["emulator"] - flops["readers"]
    return flops


def _seconds(model, layout, batch: Encoded, parts: dict[str, nn.Module]) -> dict[str, float]:
    """Seconds inside each part while one batch is answered; readers are inside the student."""
    with _stopwatch(parts, model.device) as spent:
        generate(model, layout, batch)
    spent["student"] -= spent["readers"]
    return spent


@contextmanager
def _stopwatch(parts: dict[str, nn.Module], device: torch.device) -> Iterator[dict[str, float]]:
    spent = dict.fromkeys(parts, 0.0)
    handles = []

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    for name, part in parts.items():
        for module in part if isinstance(part, nn.ModuleList) else [part]:
            begun: list[float] = []

            def start(*_, begun=begun) -> None:
                begun.append(now())

            def stop(*_, begun=begun, name=name) -> None:
                spent[name] += now() - begun.pop()

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
    states; `explained`, the median over layers of the explained variance after emulation, and
    `drifted`, the same after coupling. NaN for a stage that was skipped.
    """
    rows = []
    for name, config in configs.items():
        run = Run.of(config)
        row = {"name": name, "seed": config.seed, **run.stages.iloc[-1][SCORE]}
        student, emulator = config.student, config.emulator
        row["student"] = np.nan if student is None else Run.of(student).stages.accuracy.iloc[-1]
        row["explained"] = np.nan if emulator is None else explained(Run.of(emulator)).iloc[-1]
        row["drifted"] = explained(run).iloc[-1]
        rows.append(row)
    return pd.DataFrame(rows)


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
            run = Run.of(config.emulator)
            metrics = run.metrics[["examples", "components"]].assign(explained=explained(run))
            learning.append(metrics.assign(name=name, seed=config.seed))
    return pd.concat(scores, ignore_index=True), pd.concat(learning, ignore_index=True)


def coupling_curves(configs: dict[str, RunConfig]) -> pd.DataFrame:
    """Training and validation accuracy of several coupled runs while they trained."""
    tables = [Run.of(config).metrics.assign(name=name) for name, config in configs.items()]
    return pd.concat(tables, ignore_index=True)
