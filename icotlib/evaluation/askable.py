"""Whether a model can be asked: its vocabulary has the symbols, and it has the positions."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from icotlib.config import DataConfig
from icotlib.data.corpus import check_folder, held_out_examples
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.data.readers import shortened
from icotlib.errors import ConfigError, DataError, RunError, RunWarning
from icotlib.models.parameters import max_positions
from icotlib.runs import Run
from icotlib.tasks import Example


def stage_of(run: Run, removed: int | None) -> int:
    """The removal stage at which a run can be asked, by default its last.

    Raises `RunError` if the run is not finished, answers no questions by itself or kept no weights
    of this stage, `ConfigError` if it has no such stage.
    """
    if not run.done:
        raise RunError(f"{run.name} is not finished: train it first (icot train)")
    config = run.config
    if not config.spec.answers:
        raise RunError(
            f"{run.name} answers no questions by itself: it is one phase of a method "
            f"({config.spec.label})"
        )
    stages = [int(stage) for stage in run.stages.removed]
    removed = stages[-1] if removed is None else removed
    if removed not in stages:
        asked = f"stage with {removed} {config.input_format.unit} removed"
        raise ConfigError(f"{run.name} has no {asked}, but {stages}")
    run.weights(removed)
    return removed


def first(examples: Sequence[Example], n: int | None) -> list[Example]:
    """The first n of some examples; all of them where n is None.

    Raises `ConfigError` for n below 1.
    """
    if n is not None and n < 1:
        raise ConfigError(f"n={n}: say how many questions are asked, at least 1")
    return list(examples[:n])


def held_out_truths(config: DataConfig) -> dict[str, Example]:
    """The held-out examples of data from files, by their questions; none, with a warning, where the
    files are no longer there: a model can be asked without them."""
    found = held_out_examples(config)
    if config.path is not None and not found:
        try:
            check_folder(config.path)
        except DataError as error:
            warnings.warn(f"no true answer is known: {error}", RunWarning, stacklevel=2)
    return {example.question: example for example in found}


def check_truths(examples: Sequence[Example]) -> None:
    """Raises `ConfigError` for an example without an answer, which is neither right nor wrong."""
    without = [row for row, example in enumerate(examples) if not example.answer]
    if without:
        named = _named(examples[without[0]].question, without[0] + 1, len(examples))
        raise ConfigError(
            f"{named} has no true answer, which an accuracy needs; `answer` asks without one"
        )


def encoded(layout: Layout, examples: Sequence[Example]) -> EncodedBatch:
    """Encoded examples.

    Raises `ConfigError` if there is none, or that names the first question which the tokenizer
    cannot encode.
    """
    if not examples:
        raise ConfigError("there is no question to ask")
    try:
        return layout.encode(examples)
    except ConfigError:
        for row, problem in _unreadable(layout, examples).items():
            raise ConfigError(
                f"{_named(examples[row].question, row + 1, len(examples))} cannot be asked: "
                f"{problem}. The model knows the symbols of its own training data only"
            ) from None
        raise


def not_askable(model: Any, examples: Sequence[Example]) -> dict[int, str]:
    """The examples that a model lacks symbols or positions for, by row, each with the reason.

    Args:
        model: a `StageModel`.
    """
    try:
        found = {}
        model.layout.encode(examples)
    except (ConfigError, DataError):
        found = _unreadable(model.layout, examples)
    rows = [row for row in range(len(examples)) if row not in found]
    if not rows:
        return found
    batch = model.format.arrange(model.layout.encode([examples[row] for row in rows]))
    fitting = fits(model, batch, model.format.tokens_removed(batch, model.removed)).tolist()
    limit = max_positions(model.model)
    reason = f"it needs more than the model's {limit} positions (model.extra_positions)"
    return found | {row: reason for row, fit in zip(rows, fitting, strict=True) if not fit}


def fits(model: Any, batch: EncodedBatch, removed: Tensor) -> Tensor:
    """Which of some arranged examples a model has positions for, `[n]`.

    Args:
        model: a `StageModel`; removed: `[n]`, tokens removed from each chain.
    """
    available = max_positions(model.model)
    if available is None:
        return torch.ones(len(batch), dtype=torch.bool)
    return positions_needed(batch, removed, model.shift) <= available


def _unreadable(layout: Layout, examples: Sequence[Example]) -> dict[int, str]:
    """The examples that the tokenizer cannot encode, by row, each with the reason."""
    found = {}
    for row, example in enumerate(examples):
        try:
            layout.encode([example])
        except (ConfigError, DataError) as error:
            found[row] = str(error)
    return found


def check_positions(
    model: PreTrainedModel,
    layout: Layout,
    batch: EncodedBatch,
    removed: Tensor,
    shift: Tensor | int,
) -> None:
    """Raises `ConfigError` that names the first question for which a model has too few positions.

    Args:
        batch: encoded examples in the format of the model.
        removed: `[n]`, tokens removed from each chain.
        shift: by how much positions are shifted (`InputFormat.shift`).
    """
    available = max_positions(model)
    if available is None:
        return
    needed = positions_needed(batch, removed, shift)
    too_long = (needed > available).nonzero().flatten().tolist()
    if too_long:
        row = too_long[0]
        question = batch.ids[row, : int(batch.question[row]) - 1]
        asked = str(layout.tokenizer.decode(question, skip_special_tokens=True))
        raise ConfigError(
            f"{_named(asked, row + 1, len(batch))} needs {int(needed[row])} positions with its "
            f"chain and answer, and the model has {available}: leave it out, or train the model "
            f"with model.extra_positions larger by {int(needed.max()) - available}"
        )


def positions_needed(batch: EncodedBatch, removed: Tensor, shift: Tensor | int) -> Tensor:
    """The positions that each arranged example takes, `[n]`: the end token is never read.

    Args:
        removed: `[n]`, tokens removed from each chain; shift: by how much positions are shifted.
    """
    return batch.total - 1 - removed + shift


def _named(question: str, number: int, of: int) -> str:
    """A question as a message names it."""
    shown = repr(shortened(question))
    return f"question {number}, {shown}," if of > 1 else f"the question {shown}"


def check_same_positions(model: Any, other: Any) -> None:
    """Raises `ConfigError` if one of two models puts latent places into its input that the other
    lacks: the same position would be another token."""
    if model.inserted != other.inserted:
        raise ConfigError(
            f"{model.name} and {other.name} have different latent places, so that their positions "
            "cannot be compared: take a control with the same places, or leave it out"
        )
