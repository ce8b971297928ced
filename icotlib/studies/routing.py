"""Explicit for hard questions, implicit for easy ones: one model decides by its own confidence.

The one model for all k answers every question without writing any step. Where the probability of
its answer is low, it is asked again with the whole chain. Beside that rule: every fixed number of
removed tokens, questions chosen at random, and an oracle that knows which answers are wrong. All
tokens that are written count, those of both answers where a question is asked twice.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from icotlib.config import RunConfig
from icotlib.data.corpus import examples_of
from icotlib.evaluation.confidence import log_probabilities
from icotlib.evaluation.scoring import wilson_interval
from icotlib.evaluation.stage_model import StageModel
from icotlib.experiments.stepwise import one_model
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import doubt
from icotlib.reporting.statistics import ENOUGH_SEEDS, better_by_a_question, mean_over_seeds
from icotlib.runs import Run
from icotlib.studies.base import Member, Study, register
from icotlib.system.wording import counted
from icotlib.tasks import Example

#: Shares of the validation set's questions, the least sure ones, that thresholds send back.
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)

#: The log-probability that a text without an answer has among those that thresholds come from.
UNSURE = -1e9

#: The share at which rules are compared in words.
COMPARED = 0.1


@dataclass(frozen=True)
class Replies:
    """What a model answers to some questions, with all steps removed and with none."""

    #: `[n]`: the log-probability of the answer without steps.
    sure: np.ndarray
    #: Whether the answer without steps is right, and the tokens that it took, `[n]` each.
    implicit: np.ndarray
    implicit_tokens: np.ndarray
    #: The same with the whole chain written.
    explicit: np.ndarray
    explicit_tokens: np.ndarray

    def routed(self, again: np.ndarray) -> tuple[np.ndarray, float]:
        """Whether each answer is right, and tokens per question, if these `[n]` are asked again."""
        right = np.where(again, self.explicit, self.implicit)
        return right, float((self.implicit_tokens + again * self.explicit_tokens).mean())

    def at_random(self, tokens: float) -> float:
        """The accuracy that is expected if questions drawn at random are asked again, as many as
        make so many tokens per question."""
        share = (tokens - self.implicit_tokens.mean()) / self.explicit_tokens.mean()
        share = min(max(share, 0.0), 1.0)
        return float((1 - share) * self.implicit.mean() + share * self.explicit.mean())


def ask(model: StageModel, examples: Sequence[Example]) -> Replies:
    """Ask a model for all k without steps, and with all of them.

    As in a run's own test, an answer without steps is wrong if steps stand before it.
    """
    least, most = model.at(max(model.stages)), model.at(0)
    answers, written = least.answer(examples), most.answer(examples)
    return Replies(
        sure=log_probabilities(least, answers),
        implicit=np.array([one.right for one in answers]),
        implicit_tokens=np.array([one.tokens for one in answers]),
        explicit=np.array([one.right for one in written]),
        explicit_tokens=np.array([one.tokens for one in written]),
    )


@register
class Routing(Study):
    name = "routing"
    file = "routing"
    notebook = "16"
    question = (
        "Can a model that answers with or without written steps tell by its own confidence which "
        "questions need them?"
    )

    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        return {"one_model": one_model(preset, seed, overrides)}

    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        return pd.DataFrame([row for member in members for row in _rows(member.config)])

    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        return figures.routing(table)

    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        found = [compared(member.config) for member in members]
        gain = np.array([confident - random for confident, random, _ in found])
        better = better_by_a_question(gain, int(table.n.max()))
        confident, random, tokens = (float(np.mean(column)) for column in zip(*found, strict=True))
        said = (
            f"With the {COMPARED:.0%} of least sure answers written out, routing by confidence "
            f"answers {confident:.1%} right at {tokens:.1f} tokens a question, and routing at "
            f"random {random:.1%} at as many; confidence is better by a question or more in "
            f"{better} of {counted(len(gain), 'seeds')}."
        )
        return [said, _decided(gain)]


def _decided(gain: np.ndarray) -> str:
    """What the gains of all seeds say together: their mean with its 95% interval (Student's t)."""
    if len(gain) < ENOUGH_SEEDS:
        return "Too few seeds for a claim."
    found = mean_over_seeds(gain)
    return (
        f"The difference is {100 * found.value:.2f} points on average (95% interval over seeds "
        f"{100 * found.low:.2f} to {100 * found.high:.2f}){doubt(found)}."
    )


@functools.lru_cache(maxsize=32)
def _asked(folder: Path) -> tuple[Replies, Replies]:
    """The validation and the test questions of a run, asked."""
    model = StageModel.of(Run(folder))
    corpus = model.corpus
    return ask(model, examples_of(corpus.valid)), ask(model, examples_of(corpus.test))


def _at(share: float, asked: tuple[Replies, Replies]) -> tuple[float, np.ndarray]:
    """The threshold that sends back a share of the validation questions, and the test questions
    that it sends back."""
    valid, test = asked
    threshold = float(np.quantile(np.maximum(valid.sure, UNSURE), share))
    return threshold, test.sure < threshold


def _rows(config: RunConfig) -> list[dict[str, Any]]:
    """The rows of one seed."""
    asked = _asked(Run.of(config).folder)
    test, n = asked[1], len(asked[1].sure)
    rows = []

    def add(rule: str, threshold: float | None, accuracy: float, tokens: float) -> None:
        low, high = wilson_interval(accuracy * n, n)
        row = {"seed": config.seed, "rule": rule, "threshold": threshold, "tokens": tokens}
        rows.append(row | {"accuracy": accuracy, "ci_low": low, "ci_high": high, "n": n})

    for stage in Run.of(config).stages.itertuples():
        add(f"fixed, {stage.removed} removed", None, stage.accuracy, stage.tokens_mean)
    for share in SHARES:
        threshold, again = _at(share, asked)
        right, tokens = test.routed(again)
        add("confidence", threshold, float(right.mean()), tokens)
        add("random", threshold, test.at_random(tokens), tokens)
    right, tokens = test.routed(~test.implicit)
    add("oracle", None, float(right.mean()), tokens)
    return rows


def compared(config: RunConfig, share: float = COMPARED) -> tuple[float, float, float]:
    """What one finished run answers right if a share of its questions, the least sure ones, are
    asked again: accuracy by confidence, at random, and tokens a question.

    Args:
        share: of the validation questions, from which the threshold comes.
    """
    asked = _asked(Run.of(config).folder)
    _, again = _at(share, asked)
    right, tokens = asked[1].routed(again)
    return float(right.mean()), asked[1].at_random(tokens), tokens


def least_sure(config: RunConfig, n: int = 5) -> pd.DataFrame:
    """The n test questions that a finished run is least sure of, the least sure first.

    Columns question, probability (of its answer without steps), right (without steps) and
    right_with_steps.
    """
    run = Run.of(config)
    replies = _asked(run.folder)[1]
    questions = StageModel.of(run).corpus.test["question"]
    order = np.argsort(replies.sure, kind="stable")[:n]
    return pd.DataFrame(
        {
            "question": [questions[int(number)] for number in order],
            "probability": np.exp(replies.sure[order]),
            "right": replies.implicit[order],
            "right_with_steps": replies.explicit[order],
        }
    )
