"""A model under examination: at a removal stage, before examples whose answers are forced."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from icotlib.config import RemovalConfig, RunConfig
from icotlib.data.inputs import LMBatch, in_layout, remove
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.errors import ConfigError
from icotlib.methods.distillation.coupling import Coupled
from icotlib.models.hooks import decoder_layers
from icotlib.models.loading import load_stage
from icotlib.runs import Run
from icotlib.system.devices import best_device
from icotlib.tasks import Task, get_task


@dataclass(frozen=True)
class Examples:
    """Different questions of a task, in random order."""

    task: Task
    #: Entries `[n, entries]`, as the task draws them.
    questions: np.ndarray

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, rows: slice | np.ndarray) -> "Examples":
        return Examples(self.task, self.questions[rows])


def draw_examples(config: RunConfig, n: int, seed: int = 0) -> Examples:
    """Up to n different questions of a run's task, fewer where the task has no more.

    Raises `ConfigError` for data from files: variables are computed from a task's questions.
    """
    if config.data.path is not None:
        raise ConfigError("looking inside needs a generated task, and this run learns from files")
    task, rng = get_task(config.data.task), np.random.default_rng([seed, 17])
    n = min(n, task.n_questions)
    found = np.unique(task.sample(rng, 2 * n), axis=0)
    while len(found) < n:
        found = np.unique(np.vstack([found, task.sample(rng, n)]), axis=0)
    return Examples(task, found[rng.permutation(len(found))[:n]])


@dataclass(frozen=True)
class Subject:
    """A model at a removal stage. Of a coupled system, the student is looked at: what enters its
    layers at the separator is what it reads from the emulator's thoughts."""

    name: str
    model: PreTrainedModel
    layout: Layout
    removal: RemovalConfig
    removed: int
    #: The folder that keeps its activations; None keeps them nowhere.
    folder: Path | None = None

    @classmethod
    def of(cls, run: Run, removed: int | None = None, name: str | None = None) -> "Subject":
        """A finished run's model at a removal stage, by default its last."""
        config = run.config
        if removed is None:
            removed = int(run.stages.removed.max())
        model, layout = load_stage(run, removed)
        model = model.to(best_device())
        folder = run.folder / "activations" / f"removed-{removed:03d}"
        return cls(name or run.name, model, layout, config.removal, removed, folder)

    @classmethod
    def all_of(cls, configs: dict[str, RunConfig]) -> dict[str, "Subject"]:
        """A subject for each of these runs that is finished, at its last stage, by name."""
        runs = {name: Run.of(config) for name, config in configs.items()}
        return {name: cls.of(run, name=name) for name, run in runs.items() if run.done}

    def untrained(self, seed: int = 0) -> "Subject":
        """The same shape with random weights, before the same examples."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(self.model.config).eval()
        return replace(self, name="untrained", model=model.to(self.model.device), folder=None)

    def before(self, other: "Subject") -> "Subject":
        """This model before the sequences that another one is given."""
        return replace(self, removal=other.removal, removed=other.removed, folder=None)

    @property
    def decoder(self) -> PreTrainedModel:
        """The decoder whose residual stream is looked at."""
        coupled = isinstance(self.model, Coupled)
        return self.model.student.language_model if coupled else self.model

    @property
    def layers(self) -> int:
        return len(decoder_layers(self.decoder))

    def encode(self, examples: Examples, answer: np.ndarray | None = None) -> EncodedBatch:
        """The examples as this model is trained to see them, the removed tokens still there.

        Args:
            answer: symbols `[n, width]` to put in the position of the true answer's.
        """
        pieces = examples.task.render(examples.questions)
        if answer is not None:
            pieces = pieces._replace(answer=answer)
        encoded = self.layout.encode_symbols(pieces, examples.task)
        if len(set(encoded.total.tolist())) > 1:
            raise ConfigError(
                f"{examples.task.name}: positions of unequal sequences do not compare"
            )
        return in_layout(encoded, self.removal)

    def inputs(self, examples: Examples, answer: np.ndarray | None = None) -> LMBatch:
        """What the model reads, its own writing forced to be right, or another; on its device."""
        batch = self.encode(examples, answer)
        k = batch.tokens(self.removed, self.removal.side)
        kept = remove(batch, k, self.removal.side, self.removal.keep_positions)
        return kept.to(self.model.device)

    def positions(self, examples: Examples) -> list[str]:
        """A name for every position of `inputs`: `a0`, `=`, `t3`, `=`, `####`, `s0`, ...

        t counts the chain's tokens from 1 and s the answer's symbols from 0.
        """
        task, batch = examples.task, self.encode(examples[:1])
        written = task.render(examples.questions[:1])
        question, chain, total = (int(x[0]) for x in (batch.question, batch.chain, batch.total))
        k = int(batch.tokens(self.removed, self.removal.side)[0])
        mark = len(self.layout.answer_delimiter)
        separators = 1 if self.removal.direct else 2
        said = total - question - chain - mark - separators
        kept = slice(k, chain) if self.removal.side == "left" else slice(0, chain - k)
        tokens = [f"t{i + 1}" for i in range(written.chain.shape[1])] if chain else []
        names = [*_named(task.question_names, question - 1, "q"), "="]
        names += _named(tokens, chain, "t")[kept] + ["="] * (separators - 1) + ["####"] * mark
        return names + _named([f"s{i}" for i in range(written.answer.shape[1])], said, "s")

    def answer_positions(self, examples: Examples) -> Tensor:
        """The positions whose next token is a symbol of the answer, `[symbols]`."""
        names = self.positions(examples)
        symbols = [i for i, name in enumerate(names) if name[0] == "s" and name[1:].isdigit()]
        return torch.tensor(symbols) - 1


def _named(names: Sequence[str], count: int, letter: str) -> list[str]:
    """Names for `count` tokens; a tokenizer may add a space (`_`), or cut quite another way."""
    names = list(names)
    if count == len(names) + 1:
        return [*names, "_"]
    return names if count == len(names) else [f"{letter}.{i}" for i in range(count)]
