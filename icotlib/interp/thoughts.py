"""The thoughts of latent places: what the output head reads in them, and whether answers follow.

Thoughts enter a model as input embeddings (`icotlib.methods.latent.model`). They can be read as the
states that they are, and replaced before the model reads them.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import pandas as pd
import torch
from torch import Tensor

from icotlib.data.inputs import LMBatch
from icotlib.errors import ConfigError
from icotlib.evaluation import interventions
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.effects import effect_over_questions, effect_size
from icotlib.interp.probing import probe_grid, probe_grid_and_shuffled
from icotlib.interp.questions import corrupted_pairs
from icotlib.interp.report import aligned, stands_out
from icotlib.interp.variables import Variable
from icotlib.methods.latent.model import LatentModel
from icotlib.models.precision import training_precision
from icotlib.tasks.base import PADDING
from icotlib.tasks.questions import QuestionSet

#: What thoughts are replaced by: those of another question, the mean over questions, noise of
#: their norm, nothing.
REPLACEMENTS = ("other", "mean", "noise", "zero")


def latent_model(model: StageModel) -> LatentModel:
    """The model with latent places behind a stage.

    Raises `ConfigError` if it has none.
    """
    found: Any = model.model
    if not isinstance(found, LatentModel) or not found.config.latents:
        raise ConfigError(
            f"{model.name} has no latent places: take a run of coconut, codi or pause at a stage "
            "that has some"
        )
    return found


class Form(NamedTuple):
    """Questions whose sequences have the same lengths, so that one forward pass takes them."""

    #: Their numbers among all questions.
    rows: Tensor
    inputs: LMBatch
    #: The positions whose next token is a symbol of the answer.
    positions: Tensor


def forms_of(model: StageModel, questions: QuestionSet) -> list[Form]:
    """Questions by the lengths of their sequences."""
    batch = model.encode(questions)
    lengths = torch.stack([batch.question, batch.chain, batch.total], dim=1)
    kinds, kind = lengths.unique(dim=0, return_inverse=True)
    found = []
    for number in range(len(kinds)):
        rows = (kind == number).nonzero()[:, 0]
        part = questions[rows.numpy()]
        found.append(Form(rows, model.inputs(part), model.answer_positions(part)))
    return found


@torch.no_grad()
def thoughts_of(model: StageModel, questions: QuestionSet) -> Tensor:
    """The thoughts of some questions, `[n, places, d]`, fp32, on the CPU."""
    return _thoughts(model, forms_of(model, questions))


def _thoughts(model: StageModel, forms: Sequence[Form]) -> Tensor:
    """The thoughts of questions by their forms, in the order of the questions."""
    latent, found = latent_model(model), []
    with training_precision(model.precision, latent):
        for form in forms:
            for _, part in interventions.split(form.inputs):
                found.append(latent(part.ids, logits_to_keep=1).thoughts.float().cpu())
    return _in_order(found, forms)


def _in_order(found: Sequence[Tensor], forms: Sequence[Form]) -> Tensor:
    """What was found form by form, in the order of the questions."""
    return torch.cat(list(found))[torch.cat([form.rows for form in forms]).argsort()]


@torch.no_grad()
def head_table(model: StageModel, questions: QuestionSet) -> pd.DataFrame:
    """What the output head reads in each thought, beside the tokens of the true chain.

    A thought that stands for a token would have it as its most likely one. The control pairs the
    thoughts of one question with the chain of another.

    Returns:
        columns place (from 1), token (t1, t2, ...), share (of questions whose most likely token is
        the chain's), low, high, control, n.
    """
    thoughts, head = thoughts_of(model, questions), latent_model(model).get_output_embeddings()
    weight = cast(Tensor, head.weight).float().cpu()
    read = torch.matmul(thoughts, weight.T).argmax(dim=-1)
    chain = torch.as_tensor(_chain_tokens(model, questions))
    rows = []
    for place, column in enumerate(read.unbind(dim=1), start=1):
        for token, true in enumerate(chain.unbind(dim=1), start=1):
            known = true >= 0
            found = effect_size((column == true)[known])
            control = (column == true.roll(1))[known].float().mean()
            row = {"place": place, "token": f"t{token}", "share": found.pop("effect")}
            rows.append(row | found | {"control": float(control)})
    return pd.DataFrame(rows)


def _chain_tokens(model: StageModel, questions: QuestionSet) -> Tensor:
    """The token of each symbol of the chains, `[n, symbols]`; -1 where a chain is shorter.

    Raises `ConfigError` where a symbol is not one token.
    """
    tokenizer, task = model.layout.tokenizer, questions.task
    if model.config.model.pretrained is not None:
        raise ConfigError("the output head is read for models whose tokens are the task's symbols")
    ids = cast(list[int], tokenizer.convert_tokens_to_ids(list(task.symbols)))
    table = torch.tensor([*ids, -1])
    symbols = torch.as_tensor(questions.rendered.chain).long()
    return table[torch.where(symbols == PADDING, len(table) - 1, symbols)]


def thought_probes(
    model: StageModel, questions: QuestionSet, variables: Sequence[Variable], probe: str = "linear"
) -> pd.DataFrame:
    """Probes of each thought, beside three controls.

    The controls: shuffled values; the thoughts of the same architecture with random weights; the
    hidden state of the separator's position before any thought, at the best layer.

    Returns:
        the columns of `probe_grid`, of which position counts places from 0; shuffled, untrained and
        question, the controls' scores; control_score, the best of them; selectivity, the score less
        that; valid_selectivity, the same on the questions for selection.
    """

    def grid(states: Tensor) -> pd.DataFrame:
        return probe_grid(states.numpy(), variables, probe)

    thoughts = thoughts_of(model, questions).transpose(0, 1)[None]
    table, shuffled = probe_grid_and_shuffled(thoughts.numpy(), variables, probe)
    untrained = grid(thoughts_of(model.untrained(), questions).transpose(0, 1)[None])
    separator = model.position_names(questions).index("=")
    before = grid(model.activations(questions)[:, separator, None]).groupby("variable")

    def controls(column: str) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "shuffled": aligned(table, shuffled, column),
                "untrained": aligned(table, untrained, column),
                "question": table.variable.map(before[column].max()),
            }
        )

    scores = controls("score")
    return table.assign(
        **scores,
        control_score=scores.max(axis=1),
        selectivity=table.score - scores.max(axis=1),
        valid_selectivity=table.valid - controls("valid").max(axis=1),
    )


def best_thoughts(probes: pd.DataFrame) -> pd.DataFrame:
    """For each variable the thought in which a probe decodes it best, by the questions for
    selection, so that its score is one on other questions.

    Args:
        probes: of `thought_probes`.

    Returns:
        a row of `probes` for each variable; decodable, whether the interval lies above every
        control by the margin of `probing_table`.
    """
    best = probes.loc[probes.groupby("variable", sort=False).valid_selectivity.idxmax()]
    decodable = stands_out(best.low, best.control_score)
    return best.assign(decodable=decodable).reset_index(drop=True)


def replacement_table(
    model: StageModel, questions: QuestionSet, each_place: bool = True, seed: int = 0
) -> pd.DataFrame:
    """Whether answers change, and follow another question, when thoughts are replaced.

    Answers are teacher-forced, at the run's precision. A question gets the thoughts of its
    corrupted one (`other`: on graphs the same graph with another root, which leads to the other
    candidate, and elsewhere another question; `corrupted_pairs`), the mean over questions (`mean`),
    noise of the thoughts' norm (`noise`), or zeros. Only symbols count in which the unchanged
    answers of both questions differ.

    Args:
        each_place: replace single places as well as all of them; thoughts behind a replaced place
            are computed anew.

    Returns:
        columns replacement, place (0: all of them), answers (`own`: the share of symbols that stay
        as they were; `other`: that become the other question's), effect, low, high (of a bootstrap
        over questions), n (questions whose answer differs from the other one's).
    """
    questions, corrupted = corrupted_pairs(questions)
    forms, others = forms_of(model, questions), forms_of(model, corrupted)
    thoughts = _thoughts(model, forms)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(thoughts.shape, generator=generator)
    new = {
        "other": _thoughts(model, others),
        "mean": thoughts.mean(dim=0, keepdim=True).expand_as(thoughts),
        "noise": drawn / drawn.norm(dim=-1, keepdim=True) * thoughts.norm(dim=-1, keepdim=True),
        "zero": torch.zeros_like(thoughts),
    }
    own, other = _answers(model, forms), _answers(model, others)
    rows = []
    for name in REPLACEMENTS:
        for place in range(thoughts.shape[1] + 1 if each_place else 1):
            answers, row = _answers(model, forms, new[name], place), {"replacement": name}
            for kind, expected in (("own", own), ("other", other)):
                share = effect_over_questions(answers == expected, own != other, seed)
                rows.append(row | {"place": place, "answers": kind, **share})
    return pd.DataFrame(rows)


def _answers(
    model: StageModel, forms: Sequence[Form], new: Tensor | None = None, place: int = 0
) -> Tensor:
    """The symbols of teacher-forced answers, `[n, symbols]`, with other thoughts where `new` has
    them (`_put`)."""
    latent, found = latent_model(model), []
    with training_precision(model.precision, latent):
        for form in forms:
            for part, batch in interventions.split(form.inputs):
                with contextlib.ExitStack() as edits:
                    if new is not None:
                        edit = _put(new[form.rows[part]], place)
                        edits.enter_context(latent.edited_thoughts(edit))
                    found.append(model.teacher_forced_answer(batch, form.positions))
    return _in_order(found, forms)


def _put(new: Tensor, place: int) -> Callable[[int, Tensor], Tensor]:
    """Thoughts `[n, places, d]` in the place of a model's own: of one place from 1, or of all."""

    def edit(at: int, thought: Tensor) -> Tensor:
        if place not in (0, at + 1):
            return thought
        return new[:, at].to(thought).view_as(thought)

    return edit
