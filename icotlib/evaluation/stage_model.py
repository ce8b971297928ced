"""A trained model at a removal stage: the one object that everything asks.

    m = icot.load("icot_si", k=6)
    m.answer("3719 * 84")           what it writes: chain, answer, tokens, seconds
    m.evaluate()                    accuracy on its own test set, or on other examples
    m.activations(questions)        its residual stream
    m.teacher_forced_answer(inputs, ...)    its answer with some states replaced

It holds run, model, layout, removal and precision, and answers as the run's final test does.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from icotlib.asked import as_run
from icotlib.config import RunConfig
from icotlib.data.chains import with_chains
from icotlib.data.corpus import Corpus, examples_of, held_out_examples, load_corpus
from icotlib.data.inputs import InputFormat, LMBatch
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.data.readers import read_file
from icotlib.data.run_data import RunData
from icotlib.errors import ConfigError
from icotlib.evaluation import askable, interventions, limits, positions, scoring
from icotlib.evaluation.asking import Answer, Asked, as_examples
from icotlib.evaluation.generation import generate, teacher_forced_match
from icotlib.models.hooks import decoder_layers
from icotlib.models.loading import load_stage
from icotlib.models.padding import unchecked_padding
from icotlib.models.precision import training_precision
from icotlib.runs import Run
from icotlib.system.devices import best_device
from icotlib.tasks import Example, Task, get_task
from icotlib.tasks.questions import QuestionSet


@dataclass(frozen=True, eq=False)
class StageModel:
    """A model, its tokenizer, and the removal stage it is asked at."""

    #: What tables and figures call it.
    name: str
    model: PreTrainedModel
    layout: Layout
    config: RunConfig
    #: How its method turns examples into input.
    format: InputFormat
    #: Chain tokens (or steps, see `format.unit`) removed.
    removed: int
    #: The finished run that it belongs to, if there is one.
    run: Run | None = None
    #: The folder that keeps its activations; None keeps them nowhere.
    folder: Path | None = None
    #: The encoded data of its run while it is trained.
    run_data: RunData | None = None

    @classmethod
    def of(
        cls,
        run: Run | str,
        removed: int | None = None,
        name: str | None = None,
        device: torch.device | str | None = None,
    ) -> "StageModel":
        """A finished run's model at a removal stage, by default its last.

        Args:
            run: a run, or its name or how that begins (`icotlib.runs.find_run`).

        Raises as `askable.stage_of`, and as `find_run`.
        """
        run = as_run(run)
        removed = askable.stage_of(run, removed)
        config, form = run.config, run.config.input_format
        model, layout = load_stage(run, removed)
        model = model.to(best_device() if device is None else device)
        folder = run.activations_folder(removed)
        return cls(name or run.name, model, layout, config, form, removed, run, folder)

    @classmethod
    def all_of(cls, configs: Mapping[str, RunConfig]) -> dict[str, "StageModel"]:
        """The last stage of each of these runs that is finished, by name."""
        runs = {name: Run.of(config) for name, config in configs.items()}
        return {name: cls.of(run, name=name) for name, run in runs.items() if run.done}

    # --- what it is ---

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def precision(self) -> str:
        """The precision of its run, at which it answers; `auto` is what suits this machine."""
        return self.config.train.precision

    @cached_property
    def corpus(self) -> Corpus:
        """The run's data: its training, validation and test set."""
        return load_corpus(self.config.data)

    @property
    def task(self) -> Task | None:
        """The generated task, or None for a run on data from files."""
        return get_task(self.config.data.task) if self.config.data.path is None else None

    @property
    def stages(self) -> list[int]:
        """The removal stages of its run whose weights are kept."""
        return self.run.stages_with_weights if self.run else [self.removed]

    @property
    def decoder(self) -> PreTrainedModel:
        """The decoder whose residual stream is analysed: of a coupled model, the student."""
        return getattr(self.model, "analysed_decoder", self.model)

    @property
    def shift(self) -> int:
        """By how much positions are shifted."""
        return self.format.shift(self.removed)

    @property
    def layers(self) -> int:
        return len(decoder_layers(self.decoder))

    def at(self, removed: int) -> "StageModel":
        """The same run at another stage, with that stage's weights. Raises as `of` does."""
        if self.run is None or removed == self.removed:
            return replace(self, removed=removed)
        if removed in self.stages and self.run.weights(removed) == self.run.weights(self.removed):
            return replace(self, removed=removed, folder=self.run.activations_folder(removed))
        return StageModel.of(self.run, removed, self.name, self.model.device)

    def untrained(self, seed: int | None = None) -> "StageModel":
        """The same architecture with random weights, for controls; by default by the run's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed if seed is None else seed)
            model = AutoModelForCausalLM.from_config(self.model.config, trust_remote_code=False)
        model = unchecked_padding(model.eval().to(self.device))
        return replace(self, name="untrained", model=model, run=None, folder=None)

    def with_inputs_of(self, other: "StageModel") -> "StageModel":
        """This model, given another one's input; `askable.check_same_positions` may refuse it."""
        askable.check_same_positions(self, other)
        return replace(self, format=other.format, removed=other.removed, folder=None)

    # --- what goes in ---

    def encode(self, asked: Asked, answer: np.ndarray | None = None) -> EncodedBatch:
        """Questions in the method's format, with the chains that the run reads, all of them.

        Args:
            answer: symbols `[n, width]` to put in the place of the true answers (question sets).

        Raises `ValueError` for text that is no question of the run's task.
        """
        return self._as_read(self._encoded(asked, answer))

    def _as_read(self, batch: EncodedBatch) -> EncodedBatch:
        """An arranged batch with the chains that the run reads, where any of them is left."""
        if (batch.chain <= self.format.tokens_removed(batch, self.removed)).all():
            return batch
        return with_chains(batch, self.format.chains, self.layout.sep)

    def _encoded(self, asked: Asked, answer: np.ndarray | None = None) -> EncodedBatch:
        """Questions in the method's format, with their own chains."""
        if isinstance(asked, QuestionSet):
            rendered = asked.rendered
            if answer is not None:
                rendered = rendered._replace(answer=answer)
            return self.format.arrange(self.layout.encode_symbols(rendered, asked.task))
        return self.format.arrange(askable.encoded(self.layout, self._examples(asked)))

    def _examples(self, asked: Asked) -> list[Example]:
        """Questions with chain and answer where they are known; else both are empty."""
        return as_examples(asked, self.task, lambda: self._known)

    @cached_property
    def _known(self) -> dict[str, Example]:
        return askable.held_out_truths(self.config.data)

    def inputs(self, asked: Asked, answer: np.ndarray | None = None) -> LMBatch:
        """Teacher-forced token ids on the model's device: question, the chain that is left, answer.

        Raises `ConfigError` where sequences differ in length: positions would not compare."""
        batch = self.encode(asked, answer)
        if torch.stack([batch.question, batch.chain, batch.total]).unique(dim=1).shape[1] > 1:
            raise ConfigError("these examples differ in length: use questions of one form")
        tokens = self.format.tokens_removed(batch, self.removed)
        return self.format.inputs(batch, tokens, self.shift).to(self.device)

    def position_names(self, asked: QuestionSet) -> list[str]:
        """A name for every position of `inputs`: `a0`, `=`, `t3`, `=`, `####`, `s0`, ...

        `icotlib.evaluation.positions` says what they mean."""
        encoded = self._encoded(asked[:1])
        removed = int(self.format.tokens_removed(encoded, self.removed)[0])
        return positions.names(self.layout, self.format, asked, encoded, removed, self.inserted)

    @property
    def inserted(self) -> list[str]:
        """Names of the positions without a token that the model puts behind the separator."""
        return getattr(self.model, "inserted", [])

    def answer_positions(self, asked: QuestionSet) -> Tensor:
        """The positions whose next token is a symbol of the answer, `[symbols]`."""
        return positions.answer(self.position_names(asked), asked)

    # --- what it writes ---

    def generate(self, batch: EncodedBatch, max_new_tokens: int | None = None) -> Tensor:
        """Greedy continuations `[n, new tokens]` of arranged questions, at the run's precision."""
        tokens, keep = self.format.tokens_removed(batch, self.removed), self.format.keep_positions
        askable.check_positions(self.model, self.layout, batch, tokens, self.shift)
        limit = max_new_tokens or limits.at_least(self.max_new_tokens, batch, tokens)
        with training_precision(self.precision, self.model):
            return generate(self.model, self.layout, batch, self.shift, keep, limit)

    @overload
    def answer(self, asked: str) -> Answer: ...  # type: ignore[overload-overlap]
    @overload
    def answer(self, asked: Sequence[str] | Sequence[Example] | QuestionSet) -> list[Answer]: ...
    def answer(self, asked: Asked) -> Answer | list[Answer]:
        """What the model writes after one question, or after several at once.

        Raises `ValueError` for text that is no question of the run's task, `ConfigError` where the
        model lacks its symbols or positions."""
        examples = self._examples(asked)
        batch = self.format.arrange(askable.encoded(self.layout, examples))
        known, longest = all(example.answer for example in examples), self.max_new_tokens
        start = time.perf_counter()  # once files are read for the limit
        written = self.generate(batch, None if known else longest)
        seconds = (time.perf_counter() - start) / len(examples)
        limit = limits.chain_limit(self, batch, self.removed)
        answers = Answer.all_of(self.layout, examples, written, seconds, limit)
        return answers[0] if isinstance(asked, str) else answers

    @cached_property
    def max_new_tokens(self) -> int:
        """Tokens that it may write after a question: one limit per run and stage."""
        form, layout, corpus = self.format, self.layout, lambda: self.corpus
        removed, data = self.removed, self.run_data
        return limits.max_new_tokens(form, removed, layout, corpus, self.run, data)

    # --- how good it is ---

    def evaluate(
        self,
        asked: str | Path | Sequence[Example] | QuestionSet | None = None,
        n: int | None = None,
    ) -> scoring.Score:
        """Exact match of greedy answers with its 95% interval.

        Args:
            asked: examples with answers, or a file (`icot prepare`); by default the test set.
            n: the first n of them.

        Raises `DataError` if the file cannot be read or holds no example, `ConfigError` for no
        example, and for one without an answer.
        """
        if isinstance(asked, (str, Path)):
            found = read_file(asked, self.task, like=held_out_examples(self.config.data)).kept
        else:
            found = examples_of(self.corpus.test) if asked is None else self._examples(asked)
        examples = askable.first(found, n)
        askable.check_truths(examples)
        batch = self._as_read(self.format.arrange(askable.encoded(self.layout, examples)))
        return self.score(batch, [example.answer for example in examples])

    def score(
        self, batch: EncodedBatch, answers: Sequence[str], units: Tensor | None = None, **more: Any
    ) -> scoring.Score:
        """Greedy answers to an arranged batch, compared with the true ones.

        Args:
            units: `[n]`, units removed of each chain; by default those of the stage.
            more: `on_answers` of `scoring.evaluate`.
        """
        units = torch.full((len(batch),), self.removed) if units is None else units
        tokens = self.format.tokens_removed(batch, units)
        askable.check_positions(self.model, self.layout, batch, tokens, self.shift)
        more["max_new_tokens"] = limits.at_least(self.max_new_tokens, batch, tokens)
        more |= {"shift": self.shift, "chain_limit": limits.chain_limit(self, batch, units)}
        how = tokens, self.format.keep_positions, self.format.side
        with training_precision(self.precision, self.model):
            return scoring.evaluate(self.model, self.layout, batch, answers, *how, **more)

    def teacher_forced_match(self, batch: EncodedBatch, size: int | None = None) -> float:
        """The fraction of an arranged batch whose every learned token is the most likely one, as
        many examples in one forward pass as memory allows, or `size`."""
        keep, side = self.format.keep_positions, self.format.side
        return teacher_forced_match(self.model, batch, self.removed, side, keep, size)

    # --- what is inside ---

    def residual_stream(self, inputs: LMBatch) -> Tensor:
        """The residual stream over some inputs, `[layers + 1, positions, n, d]`, on the CPU, always
        computed in fp32: the input of every layer, then the output of the last."""
        return interventions.residual_stream(self.model, self.decoder, inputs)

    def activations(self, asked: Asked) -> Tensor:
        """The residual stream over teacher-forced questions, in memory:
        `[layers + 1, positions, n, d]`. `icotlib.interp.activations` keeps it on disk."""
        return self.residual_stream(self.inputs(asked))

    def replaced(
        self, states: interventions.States, rows: slice = slice(None)
    ) -> AbstractContextManager[None]:
        """While open, forward passes have these states put into the residual stream: `[n, d]` each,
        by layer and position; `rows` are those of the pass."""
        return interventions.replaced(self.decoder, states, rows)

    def teacher_forced_answer(
        self, inputs: LMBatch, positions: Tensor, states: interventions.States | None = None
    ) -> Tensor:
        """The most likely token for every symbol of the answer, `[n, symbols]`, on the CPU.

        The answer's earlier symbols are those of the input, so that each symbol's effect is its
        own, in one forward pass.

        Args:
            positions: `[symbols]`, whose next token it is; states: put in first, as by `replaced`.
        """
        model, decoder = self.model, self.decoder
        return interventions.teacher_forced_answer(model, decoder, inputs, positions, states)


def load(
    run: str | Run, k: int | None = None, device: torch.device | str | None = None
) -> StageModel:
    """A finished run's model at a removal stage.

    Args:
        run: a run, its name, or how that begins (`icotlib.runs.find_run`).
        k: chain tokens (or steps) removed; by default the run's last stage.

    Raises `RunError` if no finished run has that name, `ConfigError` if it has no such stage.
    """
    return StageModel.of(run, k, device=device)
