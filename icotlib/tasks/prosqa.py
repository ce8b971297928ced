"""Which of two concepts a person is, by facts that form a random graph: ProsQA (arXiv 2412.06769).

For `prosqa-23`, most of its facts left out:

    question  Every terpus is a brimpus . Tom is a terpus . Davis is a shumpus . ...
              Every brimpus is a lempus . Is Tom a lempus or scrompus ?
    chain     Tom is a terpus . Every terpus is a brimpus . Every brimpus is a lempus .
    answer    Tom is a lempus .

Nodes without parents are people, all others are concepts; an edge is a fact. A question has several
people, and a person may be several things. `icotlib.tasks.random_graphs` has the rule by which
graphs are drawn. People and concepts have the names of the published set.
"""

import math
import re
from typing import Any

import numpy as np

from icotlib.tasks import random_graphs
from icotlib.tasks.base import PADDING, Example, SymbolBatch, register
from icotlib.tasks.graph_task import GraphTask
from icotlib.tasks.prose import (
    FRAME,
    ProseTask,
    join,
    permutations,
    sentences,
    split_marks,
    split_sentences,
    typeset,
)
from icotlib.tasks.random_graphs import Graphs

PEOPLE = (
    *("Alex", "Bob", "Carol", "Davis", "Eva", "Fae", "Gabriel", "Jack", "Max", "Oliver", "Polly"),
    *("Rex", "Sally", "Sam", "Stella", "Tom", "Wren"),
)
CONCEPTS = (
    *("bompus", "boompus", "brimpus", "chorpus", "dumpus", "felpus", "fompus", "gerpus", "gorpus"),
    *("grimpus", "gwompus", "hilpus", "impus", "jelpus", "jompus", "kerpus", "lempus", "lorpus"),
    *("numpus", "quimpus", "rempus", "rompus", "rorpus", "scrompus", "shumpus", "sterpus"),
    *("storpus", "terpus", "timpus", "tumpus", "vumpus", "worpus", "wumpus", "yerpus", "yimpus"),
    *("yumpus", "zhorpus", "zumpus"),
)

#: A fact, its words and marks separated by spaces.
_FACT = re.compile(r"(\w+) is a (\w+) \.")


@register("prosqa")
class ProsQA(GraphTask, ProseTask):
    """`prosqa-<nodes>`: people and concepts on average, 23 as published; paths of 3 to 6 steps.

    In rows of questions, words are numbered in the order people, concepts.
    """

    prefix = "prosqa"
    usual_steps = (3, 6)
    json_columns = ("question", "steps", "answer")

    def __init__(self, size: int, steps: tuple[int, int] | None = None):
        super().__init__(size, steps)
        self._frame = (*FRAME, "Is", "or", "?")
        self.symbols = (*self._frame, *PEOPLE, *CONCEPTS)
        # The names and orders of the smallest question: one path, and one fact of another person.
        concepts, facts = self.steps[0] + 1, self.steps[0] + 1
        self.n_questions = (
            math.perm(len(PEOPLE), 2)
            * math.perm(len(CONCEPTS), concepts)
            * math.factorial(facts)
            * 2
        )

    @property
    def n_names(self) -> int:
        return len(PEOPLE) + len(CONCEPTS)

    def _names(self, rng: np.random.Generator, graphs: Graphs) -> np.ndarray:
        n = len(graphs.root)
        person = graphs.parentless & graphs.edges.any(axis=1)
        # More people than there are names do not occur: five are rare.
        people, concepts = (
            np.take_along_axis(
                permutations(rng, n, names),
                (kind.cumsum(axis=1) - 1).clip(0, names - 1),
                axis=1,
            )
            for kind, names in ((person, len(PEOPLE)), (~graphs.parentless, len(CONCEPTS)))
        )
        return 1 + np.where(person, people, len(PEOPLE) + concepts)

    # --- as text ---

    def render(self, questions: np.ndarray, rng: np.random.Generator | None = None) -> SymbolBatch:
        asked = [self._symbols_of(part) for part in questions[:, :3].T]
        far = random_graphs.distances(questions, self.n_names)
        most = self.steps[1]
        path = random_graphs.paths(questions, far, most, rng)
        before = np.column_stack([questions[:, 0], path[:, :-1]])
        facts = self._facts(*random_graphs.edges_of(questions))
        question = sentences(self.symbols, "Is", asked[0], "a", asked[1], "or", asked[2], "?")
        answer = self._symbols_of(random_graphs.answers(questions, far))
        return SymbolBatch(
            join(6 * self.most_edges + 7, facts, question),
            join(6 * most - 1, self._facts(np.where(path == PADDING, 0, before), path.clip(0))),
            sentences(self.symbols, asked[0], "is", "a", answer, "."),
        )

    def _symbols_of(self, words: np.ndarray) -> np.ndarray:
        """The symbols of words; `PADDING` where a row has none."""
        return np.where(words > 0, words + len(self._frame) - 1, PADDING)

    def _facts(self, subjects: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """Facts as sentences `[..., 6]`, without `Every` for people."""
        every = np.where(subjects > len(PEOPLE), self.symbols.index("Every"), PADDING)
        words = self._symbols_of(subjects), self._symbols_of(objects)
        text = sentences(self.symbols, every, words[0], "is", "a", words[1], ".")
        text[subjects == 0] = PADDING
        return text

    def parse_question(self, typed: str) -> np.ndarray:
        text = split_marks(typed)
        facts = _FACT.findall(text)
        asked = re.findall(r"Is (\w+) a (\w+) or (\w+) \?", text)
        if not facts or len(asked) != 1:
            raise ValueError(f"type facts and a question about a person: {self.example_question}")
        person, first, second = asked[0]
        if person in CONCEPTS:
            raise ValueError(f"the question is about a concept, {person!r}; ask about a person")
        read = [f"{'' if a in PEOPLE else 'Every '}{a} is a {b} ." for a, b in facts]
        if " ".join([*read, f"Is {person} a {first} or {second} ?"]) != text:
            raise ValueError(
                "between facts and question there is something else, or a concept without 'Every': "
                f"type them as in {self.example_question}"
            )
        return self._row(
            [self._number(word) for word in asked[0]],
            [(self._number(a), self._number(b)) for a, b in facts],
        )

    def _number(self, word: str) -> int:
        """The number of a word in a row, from 1; raises `ValueError` for one without a number."""
        if word not in self._numbers:
            raise ValueError(f"{word!r} is none of the people and concepts that {self.name} knows")
        return 1 + self._numbers[word]

    def _word(self, number: int) -> str:
        return self.symbols[len(self._frame) + number - 1]

    # --- the published form ---

    def to_json(self, examples: list[Example]) -> list[dict[str, Any]]:
        """The published form: the sentences, and the graph with its words numbered."""
        return [self._published(example) for example in examples]

    def _published(self, example: Example) -> dict[str, Any]:
        question = self.parse_question(example.question)
        starts, ends = (part[part > 0].tolist() for part in random_graphs.edges_of(question))
        person, *candidates = question[0, :3].tolist()
        target = 1 + self._numbers[example.answer.split()[3]]
        number = {word: i for i, word in enumerate(sorted({*starts, *ends}))}
        return {
            "question": typeset(example.question),
            "steps": split_sentences(typeset(example.chain)),
            "answer": typeset(example.answer),
            "idx_to_symbol": [self._word(word) for word in number],
            "edges": [[number[a], number[b]] for a, b in zip(starts, ends, strict=True)],
            "root": number[person],
            "target": number[target],
            "neg_target": number[sum(candidates) - target],
        }

    def read_json(self, row: dict[str, Any]) -> Example:
        """The published sentences, words and marks separated, with the steps that stand there.

        Raises `ValueError` if the steps or the answer do not follow from the facts.
        """
        if not isinstance(row["steps"], list):
            raise ValueError(f"steps are a list of sentences, not {row['steps']!r}")
        question = self.parse_question(str(row["question"]))
        far = random_graphs.distances(question, self.n_names)
        person, target = map(self._word, (question[0, 0], random_graphs.answers(question, far)[0]))
        text, answer = split_marks(str(row["question"])), split_marks(str(row["answer"]))
        if answer != f"{person} is a {target} .":
            raise ValueError(f"the facts lead to {target!r}, and the answer is {answer!r}")
        chain = split_marks(" ".join(map(str, row["steps"])))
        steps = _FACT.findall(chain)
        joined = [start for start, _ in steps] == [person, *(end for _, end in steps[:-1])]
        if not steps or not joined or steps[-1][1] != target:
            raise ValueError(f"the steps {chain!r} do not lead from {person} to {target}")
        if not set(steps) <= set(_FACT.findall(text)) or len(steps) > self.steps[1]:
            raise ValueError(f"the steps {chain!r} are not among the facts, or too many")
        return Example(text, chain, answer)
