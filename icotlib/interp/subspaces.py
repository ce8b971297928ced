"""Interchange interventions with learned subspaces: distributed alignment search (DAS).

Geiger et al., "Finding Alignments Between Interpretable Causal Variables and Distributed Neural
Representations" (arXiv 2303.02536). The state of a *base* question receives what the state of a
*source* question has in a subspace, and nothing else. If the subspace holds a variable and the
model computes with it, the answer becomes the base's with the source's value of the variable: the
counterfactual answer. A subspace of the given rank is learned for which that happens most often.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.parametrizations import orthogonal
from tqdm.auto import tqdm

from icotlib.errors import ConfigError
from icotlib.evaluation import interventions
from icotlib.evaluation.generation import logits_of
from icotlib.evaluation.interventions import check_state
from icotlib.evaluation.stage_model import StageModel
from icotlib.interp.activations import stored_activations
from icotlib.interp.effects import effect_size, forced_tokens
from icotlib.interp.probing import split_60_20_20
from icotlib.interp.variables import Variable, counterfactual_answers
from icotlib.models.hooks import hook_residual_stream
from icotlib.system.processes import all_cores
from icotlib.tasks.base import PADDING
from icotlib.tasks.questions import QuestionSet

#: Steps and pairs in one step while a subspace is learned, and the rate at the beginning; it falls
#: to zero.
STEPS, BATCH, RATE = 400, 64, 0.05
#: Steps between two looks at the pairs to select by, and how many of these there are at most.
CHECK_EVERY, CHECKED = 50, 500
#: Random subspaces that a learned one is compared with.
RANDOM = 5


@dataclass(frozen=True)
class Interchanges:
    """Pairs of a base and a source question whose counterfactual answer is not the base's own."""

    bases: QuestionSet
    #: Row numbers of the sources among the questions that the pairs were made of, `[pairs]`.
    sources: np.ndarray
    #: The counterfactual answers, `[pairs, width]`.
    answer: np.ndarray

    def __len__(self) -> int:
        return len(self.bases)

    def __getitem__(self, rows: slice) -> "Interchanges":
        return Interchanges(self.bases[rows], self.sources[rows], self.answer[rows])

    @classmethod
    def of(
        cls,
        questions: QuestionSet,
        variable: Variable,
        rows: slice,
        seed: int = 0,
        rounds: int = 1,
    ) -> "Interchanges":
        """Each of some questions as a base, with sources drawn from the same questions.

        Args:
            rounds: sources for each base.

        Raises `ConfigError` where the task has no counterfactual answers, and where no pair is left
        (each has one that is not its base's own answer).
        """
        rng, own = np.random.default_rng(seed), np.arange(len(questions))[rows]
        base = np.tile(own, rounds)
        source = np.concatenate([rng.permutation(own) for _ in range(rounds)])
        bases = questions[base]
        answer = counterfactual_answers(bases, variable, variable.values[source])
        useful = (answer != PADDING).all(axis=1) & (answer != bases.rendered.answer).any(axis=1)
        if not useful.any():
            raise ConfigError(
                f"{variable.name}: no two of {len(own)} questions differ in it so that the answer "
                "changes; ask more questions"
            )
        return cls(bases[useful], source[useful], answer[useful])


@dataclass(frozen=True)
class _StatesAt:
    """The states of all questions in one layer and position of a model, `[n, d]`."""

    model: StageModel
    layer: int
    position: int
    states: Tensor

    @classmethod
    def of(
        cls,
        model: StageModel,
        questions: QuestionSet,
        layer: int,
        position: int,
        states: np.ndarray | None = None,
    ) -> "_StatesAt":
        """From the model's `stored_activations`, which may be at hand. Raises `ConfigError` for a
        state that the model does not have."""
        positions = len(model.position_names(questions))
        check_state(model.name, model.layers, positions, layer, position)
        states = stored_activations(model, questions) if states is None else states
        return cls(model, layer, position, torch.from_numpy(np.array(states[layer, position])))


class _Exchange:
    """Pairs of questions that exchange part of a state, at one layer and position of a model."""

    def __init__(self, at: "_StatesAt", pairs: Interchanges):
        self.model = model = at.model
        self.layer, self.position = at.layer, at.position
        #: The states of the sources, `[pairs, d]`.
        self.sources = at.states[pairs.sources].to(model.device)
        # The counterfactual answers are forced: a model writes one if, and only if, each of its
        # symbols is the most likely one.
        inputs = model.inputs(pairs.bases, pairs.answer)
        positions = model.answer_positions(pairs.bases)
        self.wanted = forced_tokens(model, inputs, positions).to(model.device)
        self.back = interventions.columns(model.model, positions) - inputs.ids.shape[1]
        self.inputs = replace(inputs, logits_to_keep=int(-self.back.min()))

    def logits(self, basis: Tensor, rows: slice = slice(None)) -> Tensor:
        """Logits `[m, symbols, vocabulary]` of some pairs' answers after the exchange.

        Args:
            basis: `[d, rank]`, orthonormal columns; what lies in their span is exchanged.
        """
        sources = self.sources[rows]

        def exchange(layer: int, hidden: Tensor) -> Tensor | None:
            column = self.position - interventions.first_position(self.model.decoder)
            if layer != self.layer or not 0 <= column < hidden.shape[1]:
                return None
            own, span = hidden[:, column], basis.to(hidden)
            new = own + (sources.to(hidden) - own) @ span @ span.T
            at = torch.arange(hidden.shape[1], device=hidden.device) == column
            return torch.where(at[:, None], new[:, None], hidden)

        with hook_residual_stream(self.model.decoder, exchange):
            logits = logits_of(self.model.model, self.inputs.rows(rows))
        return logits[:, self.back].float()

    def loss(self, basis: Tensor, rows: slice = slice(None)) -> Tensor:
        """Mean cross-entropy of the counterfactual answers' symbols."""
        logits = self.logits(basis, rows).flatten(0, 1)
        return cross_entropy(logits, self.wanted[rows].flatten())

    @torch.no_grad()
    def right(self, basis: Tensor) -> Tensor:
        """Whether the whole answer is the counterfactual one, `[pairs]`, on the CPU."""
        basis, right = basis.to(self.model.device), []
        for rows, _ in interventions.split(self.inputs):
            symbols = self.logits(basis, rows).argmax(dim=-1) == self.wanted[rows]
            right.append(symbols.all(dim=1).cpu())
        return torch.cat(right)


def random_subspace(d: int, rank: int, seed: int = 0) -> Tensor:
    """An orthonormal basis `[d, rank]` of a random subspace."""
    basis = torch.empty(d, rank)
    return nn.init.orthogonal_(basis, generator=torch.Generator().manual_seed(seed))


@all_cores()
def learn_subspace(
    model: StageModel,
    questions: QuestionSet,
    variable: Variable,
    layer: int,
    position: int,
    rank: int = 1,
    seed: int = 0,
    steps: int = STEPS,
) -> Tensor:
    """The subspace of a state that holds a variable: an orthonormal basis `[d, rank]`, on the CPU.

    The basis is learned with the model's weights fixed, so that the exchange gives the
    counterfactual answer. It begins at random; of all that were looked at, the one with the lowest
    loss on other pairs is returned.

    Args:
        questions: three fifths of them are learned from, one fifth selects; see
            `split_60_20_20`.
        variable: of these questions (`variables_of`).
        layer, position: of the residual stream.
        steps: of Adam.

    Raises `ConfigError` if the state has fewer dimensions than `rank`, if no pair of questions has
    a counterfactual answer of its own, or where the task defines none.
    """
    at = _StatesAt.of(model, questions, layer, position)
    return _learn(at, questions, variable, rank, seed, steps)


def _learn(
    at: _StatesAt, questions: QuestionSet, variable: Variable, rank: int, seed: int, steps: int
) -> Tensor:
    """`learn_subspace` where the states are known."""
    model, (n, d) = at.model, at.states.shape
    if not 1 <= rank <= d:
        raise ConfigError(f"rank must be 1 to {d}, the dimensions of a state, got {rank}")
    if len(variable.values) != n:
        raise ConfigError(
            f"{variable.name} has values for {len(variable.values)} questions, and {n} were given: "
            "take it from variables_of(questions)"
        )
    fit, valid, _ = split_60_20_20(n)
    pairs, checked = (
        Interchanges.of(questions, variable, rows, seed, rounds=4) for rows in (fit, valid)
    )
    learned, selecting = _Exchange(at, pairs), _Exchange(at, checked[:CHECKED])
    turn = _turn(d, rank, seed).to(model.device)
    optimizer = torch.optim.Adam(turn.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    batches = -(-len(pairs) // BATCH)
    order = torch.randint(batches, (steps,), generator=torch.Generator().manual_seed(seed)).tolist()
    lowest, best = np.inf, turn.weight.detach()
    # The same batches again and again, so that an emulator runs once for each.
    emulation = getattr(model.model, "cached_emulation", nullcontext)
    with _frozen(model.model), emulation():
        for step, batch in enumerate(order, start=1):
            rows = slice(batch * BATCH, (batch + 1) * BATCH)
            optimizer.zero_grad()
            learned.loss(turn.weight.T, rows).backward()
            optimizer.step()
            schedule.step()
            if step % CHECK_EVERY == 0 or step == steps:
                with torch.no_grad():
                    loss = float(selecting.loss(turn.weight.T))
                if loss < lowest:
                    lowest, best = loss, turn.weight.detach().clone()
    return best.T.cpu()


def _turn(d: int, rank: int, seed: int) -> nn.Linear:
    """A linear map `[rank, d]` whose rows stay orthonormal while it is learned."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = nn.Linear(d, rank, bias=False)
        with torch.no_grad():
            linear.weight.copy_(random_subspace(d, rank, seed).T)
        orthogonal(linear)
    return linear


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """While open, the model's weights take no gradient."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


def interchange(
    model: StageModel,
    questions: QuestionSet,
    variable: Variable,
    layer: int,
    position: int,
    rank: int = 1,
    controls: Sequence[StageModel] = (),
    seed: int = 0,
    steps: int = STEPS,
) -> pd.DataFrame:
    """Whether a subspace of a state holds a variable, and whether the answer is computed from it.

    `interchanges` of one variable.
    """
    where = [(variable, layer, position)]
    return interchanges(model, questions, where, rank, controls, seed, steps)


@all_cores()
def interchanges(
    model: StageModel,
    questions: QuestionSet,
    where: Sequence[tuple[Variable, int, int]],
    rank: int = 1,
    controls: Sequence[StageModel] = (),
    seed: int = 0,
    steps: int = STEPS,
    progress: bool = False,
) -> pd.DataFrame:
    """Whether subspaces of states hold variables, and whether the answer is computed from them.

    A subspace is learned (`learn_subspace`), and then tried on pairs of the last fifth of the
    questions, each of which is the base of one pair. Only pairs count whose counterfactual answer
    differs from the base's own, so that accuracy without an exchange is 0.

    Args:
        where: each variable with the layer and the position of its state.
        controls: models that must not succeed, such as `model.untrained()` and a No CoT model.
            Each is given the same sequences, and learns a subspace of its own.
        progress: whether a bar shows how many variables are done.

    Returns:
        for each variable one row per model, that of `model` first: model, seed (of the run),
        variable, layer, position (its name), rank; `accuracy`, the share of pairs in which the
        whole answer becomes the counterfactual one, with its 95% interval `ci_low`, `ci_high`;
        `control`, the same with random subspaces of this rank in the same model (mean of `RANDOM`).

    Raises `ConfigError` as `learn_subspace` does.
    """
    models = [model, *(control.with_inputs_of(model) for control in controls)]
    states = [stored_activations(one, questions) for one in models]
    names, rows = model.position_names(questions), []
    for variable, layer, position in tqdm(
        where, desc=f"subspaces of {model.name}", disable=not progress
    ):
        for one, own in zip(models, states, strict=True):
            at = _StatesAt.of(one, questions, layer, position, own)
            row = {"model": one.name, "seed": one.config.seed, "variable": variable.name}
            row |= {"layer": layer, "position": names[position], "rank": rank}
            rows.append(row | _interchanged(at, questions, variable, rank, seed, steps))
    return pd.DataFrame(rows)


def _interchanged(
    at: _StatesAt, questions: QuestionSet, variable: Variable, rank: int, seed: int, steps: int
) -> dict[str, float]:
    """The measured columns of `interchanges` for one model and one variable."""
    test = split_60_20_20(len(questions))[2]
    basis = _learn(at, questions, variable, rank, seed, steps)
    tried = _Exchange(at, Interchanges.of(questions, variable, test, seed))
    found = effect_size(tried.right(basis))
    others = [random_subspace(len(basis), rank, seed + 1 + i) for i in range(RANDOM)]
    random = torch.cat([tried.right(other) for other in others])
    return {
        "accuracy": found["effect"],
        "control": effect_size(random)["effect"],
        "ci_low": found["low"],
        "ci_high": found["high"],
    }
