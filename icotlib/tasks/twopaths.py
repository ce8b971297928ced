"""Which of two concepts a person's path leads to, in the sentences of ProsQA (arXiv 2412.06769).

For `twopaths-6x2`, four of its eight facts left out:

    question  Every dumpus is a fumpus . Sam is a dumpus . Every gumpus is a bumpus . ...
              Max is a gumpus . Is Max a fumpus or bumpus ?
    chain     Max is a gumpus . Every gumpus is a bumpus .
    answer    Max is a bumpus .

Two people are at the starts of two paths of equal length, whose ends are the candidates of the
question. All other concepts are distractors: upstream ones may lead into a path, but no person
reaches them; downstream ones lead to neither candidate. Paths and distractors are drawn by a rule
that treats both sides alike, so that the answer depends only on the path from the person:
exchanging the two people in the facts makes the other candidate the answer and changes nothing else
in the question. The published graphs are irregular and allow shortcuts: `icotlib.tasks.prosqa` has
them.
"""

import itertools
import math
import re
from typing import Any

import numpy as np

from icotlib.tasks.base import PADDING, Example, SymbolBatch, register
from icotlib.tasks.prose import (
    CONCEPTS,
    FRAME,
    PEOPLE,
    ProseTask,
    join,
    permutations,
    sentences,
    split_marks,
    split_sentences,
    typeset,
)

MAX_CONCEPTS = 100
_UPSTREAM, _PATH, _DOWNSTREAM = range(3)


@register("twopaths")
class TwoPaths(ProseTask):
    """`twopaths-<concepts>x<hops>`: 4 to 100 concepts, paths of 2 or more facts: twopaths-20x4.

    The first hop is the fact about the person. Two paths take 2 x hops concepts; every further
    concept is a distractor and adds two facts. ProsQA has about 20 concepts, 36 facts and 3 or 4
    hops.

    A question is a row of small integers: the subjects of all facts in order, their objects, then
    the person asked about and the two candidates. Words are numbered in the order people, concepts.
    """

    def __init__(self, concepts: int, hops: int):
        if not 2 * hops <= concepts <= MAX_CONCEPTS or hops < 2:
            raise ValueError(
                f"there must be 2 hops or more and 2 x hops to {MAX_CONCEPTS} concepts, got "
                f"{hops} hops and {concepts} concepts"
            )
        self.concepts, self.hops = concepts, hops
        self.name = f"twopaths-{concepts}x{hops}"
        self.n_facts = 2 * hops + 2 * (concepts - 2 * hops)
        self._frame = (*FRAME, "Is", "or", "?")
        self.symbols = (*self._frame, *PEOPLE, *CONCEPTS[:concepts])
        self.n_questions = self._count()

    @classmethod
    def parse(cls, size: str) -> "TwoPaths":
        match = re.fullmatch(r"(\d+)x(\d+)", size)
        if not match:
            raise ValueError("the size is concepts x hops, as in twopaths-20x4")
        return cls(int(match[1]), int(match[2]))

    def _count(self) -> int:
        """The number of questions for one choice of the distractors' facts.

        It is the product of the choices of people, paths, and order of facts and candidates: exact
        where there are no distractors.
        """
        paths = math.perm(self.concepts, 2 * self.hops)
        return math.perm(len(PEOPLE), 2) * 2 * paths * math.factorial(self.n_facts)

    def parse_question(self, typed: str) -> np.ndarray:
        text = split_marks(typed)
        facts = re.findall(r"(\w+) is a (\w+) \.", text)
        asked = re.findall(r"Is (\w+) a (\w+) or (\w+) \?", text)
        words = [word for column in (*zip(*facts, strict=True), *asked) for word in column]
        row = np.array([[self._numbers.get(word, PADDING) for word in words]])
        fits = row.shape[1] == 2 * self.n_facts + 3 and (row != PADDING).all()
        # Rendered again it must equal the typed text, so that nothing in it was ignored.
        if not fits or self.text(self.render(row))[0].question != text or not self._one_answer(row):
            raise ValueError(
                f"type {self.n_facts} facts that lead to one of two concepts in {self.hops} "
                f"steps, and the question: {self.example_question}"
            )
        return row

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n questions `[n, 2 facts + 3]`, independently and by the same rule."""
        block = 2_000_000 // self.concepts**2  # bounds the memory of large fixed sets
        drawn = [self._graphs(rng, min(block, n - done)) for done in range(0, n, block)]
        subjects, objects = (np.concatenate(column) for column in zip(*drawn, strict=True))
        # The first path belongs to the person asked about.
        people = permutations(rng, n, len(PEOPLE))[:, :2]
        starts = np.tile([0, self.hops], (n, 1))
        ends = starts + self.hops - 1
        swap = rng.integers(0, 2, (n, 1)).astype(bool)
        candidates = np.where(swap, ends[:, ::-1], ends)
        names = len(PEOPLE) + permutations(rng, n, self.concepts)

        def named(numbers: np.ndarray) -> np.ndarray:
            return np.take_along_axis(names, numbers, axis=1)

        order = permutations(rng, n, self.n_facts)
        subjects = np.hstack([people, named(subjects)])
        objects = np.hstack([named(starts), named(objects)])
        facts = [np.take_along_axis(column, order, axis=1) for column in (subjects, objects)]
        return np.hstack([*facts, people[:, :1], named(candidates)])

    def _graphs(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Facts among concepts, as subjects and objects: two arrays `[n, facts - 2]`.

        The concepts of the paths come first, in order. A fact may lead from an upstream concept to
        any other kind, from a path to a downstream concept, or among distractors of one kind from a
        lower number to a higher. So there is a single path from each start, and none from one start
        to the other end. Each distractor gets one fact; as many more are drawn from all the rest.
        """
        on_paths = 2 * self.hops
        kind = np.full((n, self.concepts), _PATH)
        distractors = self.concepts - on_paths
        kind[:, on_paths:] = rng.choice([_UPSTREAM, _DOWNSTREAM], (n, distractors), p=[0.3, 0.7])
        below, above = kind[:, :, None], kind[:, None, :]
        later = np.triu(np.ones((self.concepts, self.concepts), dtype=bool), 1)
        allowed = (below < above) | ((below == above) & (below != _PATH) & later)
        score = np.where(allowed, rng.random(allowed.shape), -1)
        # The fact of an upstream distractor starts at it, that of a downstream one ends at it.
        upstream, node = kind == _UPSTREAM, np.arange(self.concepts)
        row = np.arange(n)[:, None]
        start = np.where(upstream, node, score.argmax(axis=1))[:, on_paths:]
        end = np.where(upstream, score.argmax(axis=2), node)[:, on_paths:]
        score[row, start, end] = 2
        steps = np.setdiff1d(np.arange(on_paths - 1), [self.hops - 1])
        score[:, steps, steps + 1] = 2
        flat = score.reshape(n, -1)
        count = self.n_facts - 2
        chosen = np.argpartition(flat, flat.shape[1] - count, axis=1)[:, -count:]
        return np.divmod(chosen, self.concepts)

    def render(self, questions: np.ndarray, rng: np.random.Generator | None = None) -> SymbolBatch:
        subjects, objects, person, candidates = self._parts(questions)
        path, target = self._path(questions)
        subjects, objects, person, candidates, path, target = (
            numbers + len(self._frame)
            for numbers in (subjects, objects, person, candidates, path, target)
        )
        first, second = candidates.T
        asked = sentences(self.symbols, "Is", person, "a", first, "or", second, "?")
        width = 6 * self.n_facts - 2 + asked.shape[1]  # facts about people have no `Every`
        steps = self._facts(np.hstack([person[:, None], path[:, :-1]]), path)
        return SymbolBatch(
            join(width, self._facts(subjects, objects), asked),
            join(6 * self.hops - 1, steps),
            sentences(self.symbols, person, "is", "a", target, "."),
        )

    def _parts(self, questions: np.ndarray) -> tuple[np.ndarray, ...]:
        """Subjects and objects `[n, facts]`, the person `[n]`, the candidates `[n, 2]`."""
        n = self.n_facts
        return questions[:, :n], questions[:, n : 2 * n], questions[:, -3], questions[:, -2:]

    def _facts(self, subjects: np.ndarray, objects: np.ndarray) -> np.ndarray:
        person = subjects < len(self._frame) + len(PEOPLE)
        every = np.where(person, PADDING, self.symbols.index("Every"))
        return sentences(self.symbols, every, subjects, "is", "a", objects, ".")

    def _reached(self, questions: np.ndarray, hops: int) -> np.ndarray:
        """Which words the person reaches in exactly 0, 1, ... hops: `[hops + 1, n, words]`."""
        subjects, objects, person, _ = self._parts(questions)
        rows = np.arange(len(questions))
        reached = np.zeros((hops + 1, len(rows), len(PEOPLE) + self.concepts), dtype=bool)
        reached[0, rows, person] = True
        for before, after in itertools.pairwise(reached):
            row, fact = np.nonzero(before[rows[:, None], subjects])
            after[row, objects[row, fact]] = True
        return reached

    def _path(self, questions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The concepts from the person to the answer `[n, hops]`, and the answer `[n]`."""
        subjects, objects, _, candidates = self._parts(questions)
        reached = self._reached(questions, self.hops)
        rows = np.arange(len(questions))
        first = reached[-1, rows, candidates[:, 0]]
        path = [np.where(first, candidates[:, 0], candidates[:, 1])]
        for before in reached[-2:0:-1]:
            leads = (objects == path[0][:, None]) & before[rows[:, None], subjects]
            path.insert(0, subjects[rows, leads.argmax(axis=1)])
        return np.stack(path, axis=1), path[-1]

    def _one_answer(self, question: np.ndarray) -> bool:
        """Whether exactly one candidate is reached, and in the task's number of hops."""
        candidates = self._parts(question)[3][0]
        reached = self._reached(question, len(PEOPLE) + self.concepts)[:, 0, candidates]
        return bool(reached.any(axis=0).sum() == 1 and reached[self.hops].any())

    def to_json(self, examples: list[Example]) -> list[dict[str, Any]]:
        """The published form: the sentences, and the graph with its words numbered."""
        return [self._published(example) for example in examples]

    def _published(self, example: Example) -> dict[str, Any]:
        question = self.parse_question(example.question)
        subjects, objects, person, candidates = (part[0].tolist() for part in self._parts(question))
        target = int(self._path(question)[1][0])
        used = sorted({*subjects, *objects})
        number = {word: i for i, word in enumerate(used)}
        return {
            "question": typeset(example.question),
            "steps": split_sentences(typeset(example.chain)),
            "answer": typeset(example.answer),
            "idx_to_symbol": [self.symbols[len(self._frame) + word] for word in used],
            "edges": [[number[a], number[b]] for a, b in zip(subjects, objects, strict=True)],
            "root": number[person],
            "target": number[target],
            "neg_target": number[sum(candidates) - target],
        }
