"""TODO."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from icotlib.interp.activations import activations, residual_stream
from icotlib.interp.patching import answers
from icotlib.interp.probes import Probes, fit_linear
from icotlib.interp.subjects import Examples, Subject
from icotlib.interp.variables import variables

# --- one look ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class StateReport:
    """One state of one example."""

    #: The question as text.
    question: str
    #: One row per variable: variable, decoded, truth (as symbols), probability, right.
    decoded: pd.DataFrame
    #: What the model gives for every symbol of the answer, those before it forced to be right.
    answer: str
    #: The same when this state comes from the other question; None without one.
    patched: str | None


class ProbeReader:
    """What a widget calls: looks at one model's states, fitting probes where it is asked to.

    Args:
        subject: a model at a stage; make one reader for each stage.
        examples: what probes are fitted to.
    """

    def __init__(self, subject: Subject, examples: Examples):
        self.subject, self.examples = subject, examples
        self.wanted = variables(examples, "chain", "answer")
        self._fitted: dict[tuple[int, int], Probes] = {}

    @property
    def positions(self) -> list[str]:
        return self.subject.positions(self.examples)

    def look(
        self,
        question: str | np.ndarray,
        layer: int,
        position: int,
        other: str | np.ndarray | None = None,
    ) -> StateReport:
        """What is decoded from one state, and what putting it there from another question does.

        Args:
            question: as a person types it, `3719 * 84`, or its entries.
            layer: of the residual stream, 0 to the number of layers.
            position: a position; `positions` has their names.
            other: the question whose state is put there.

        Raises `ValueError` if a question is none of the task, `IndexError` for a state that the
        model has not.
        """
        if not (0 <= layer <= self.subject.layers and 0 <= position < len(self.positions)):
            raise IndexError(
                f"layer 0 to {self.subject.layers} and position 0 to {len(self.positions) - 1}, "
                f"not {layer} and {position}"
            )
        one = self._example(question)
        subject, at = self.subject, self.subject.answer_positions(one)
        inputs = subject.inputs(one)
        state = residual_stream(subject, inputs)[layer, position]
        put = None
        if other is not None:
            donor = subject.inputs(self._example(other))
            put = {(layer, position): residual_stream(subject, donor)[layer, position]}
        patched = put and self._text(answers(subject, inputs, at, put))
        given = self._text(answers(subject, inputs, at))
        written = one.task.text(one.task.render(one.questions))[0].question
        return StateReport(written, self._decode(one, layer, position, state), given, patched)

    def _example(self, question: str | np.ndarray) -> Examples:
        task = self.examples.task
        rows = task.parse_question(question) if isinstance(question, str) else question[None]
        return Examples(task, rows)

    def _text(self, tokens: torch.Tensor) -> str:
        return " ".join(self.subject.layout.tokenizer.decode(tokens[0]).split())

    def _decode(
        self, one: Examples, layer: int, position: int, state: torch.Tensor
    ) -> pd.DataFrame:
        if (layer, position) not in self._fitted:
            states = np.array(activations(self.subject, self.examples)[layer, position])
            columns = [np.unique(v.values, return_inverse=True)[1] for v in self.wanted]
            labels = torch.from_numpy(np.stack(columns, axis=1))
            self._fitted[layer, position] = fit_linear(torch.from_numpy(states)[None], labels)
        chances = self._fitted[layer, position].logits(state[None])[0, 0].softmax(dim=-1)
        symbols, pieces = one.task.symbols, one.task.render(one.questions)
        rows = []
        for variable, chance in zip(self.wanted, chances, strict=True):
            decoded = int(np.unique(variable.values)[int(chance.argmax())])
            part = pieces.chain if variable.kind == "chain" else pieces.answer
            truth = int(part[0, int(variable.name[1:]) - (variable.kind == "chain")])
            row = {"variable": variable.name, "decoded": symbols[decoded], "truth": symbols[truth]}
            row |= {"probability": float(chance.max()), "right": decoded == truth}
            rows.append(row)
        return pd.DataFrame(rows)
