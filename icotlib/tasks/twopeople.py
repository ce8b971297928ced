"""True or false, by deduction about one of two people, whose ontologies are drawn alike.

For `twopeople-2`, seven of its twelve facts left out:

    question  Every gumpus is a bumpus . Max is a gumpus . Every bumpus is not cold . ...
              Every dumpus is cold . Sam is a lumpus . True or false : Max is cold .
    chain     Max is a gumpus . Every gumpus is a bumpus . Max is a bumpus .
              Every bumpus is not cold . Max is not cold .
    answer    False

After ProntoQA (`icotlib.tasks.prontoqa`), of this project. An ontology is linear: each concept is a
kind of the next, and each has a property or lacks it. ProntoQA's rule that states the opposite of
the conclusion is about a concept that no other fact mentions. Here it stands in a second ontology,
as long as the first and with another person in it. Both are drawn in the same way, so that the
answer depends only on the path from the person: exchanging the two people in the facts reverses the
answer.
"""

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
    statements_to_json,
)

PROPERTIES = (
    *("amber", "blue", "bright", "calm", "cold", "dry", "fast", "fragrant"),
    *("gentle", "heavy", "hollow", "kind", "loud", "narrow", "opaque"),
    *("quiet", "round", "sharp", "shy", "small", "sour", "sweet"),
)
MAX_HOPS = len(PROPERTIES) // 2 - 1


@register("twopeople")
class TwoPeople(ProseTask):
    """`twopeople-<hops>`: 1 to 10 rules to apply; `twopeople-<least>to<most>`: a random number.

    The chains of `twopeople-1to5` differ in length. The last rule of a proof is about a property,
    those before it are about concepts. An ontology has one concept more than the longest proof
    needs.

    A question is a row of small integers: the subjects of all facts in order, their objects,
    whether each is negated (0 or 1), then person, property and negation of the statement to judge.
    Words are numbered in the order people, concepts, properties.
    """

    def __init__(self, least: int, most: int):
        if not 1 <= least <= most <= MAX_HOPS:
            raise ValueError(f"hops must be 1 to {MAX_HOPS}, got {least} to {most}")
        self.least, self.most = least, most
        self.name = f"twopeople-{most}" if least == most else f"twopeople-{least}to{most}"
        #: Concepts of one ontology.
        self.length = most + 1
        self.n_facts = 4 * self.length
        self._frame = (*FRAME, "not", "True", "False", "or", "false", ":")
        self._first_concept = len(self._frame) + len(PEOPLE)
        self._first_property = self._first_concept + 2 * self.length
        words = CONCEPTS[: 2 * self.length], PROPERTIES[: 2 * self.length]
        self.symbols = (*self._frame, *PEOPLE, *words[0], *words[1])
        self.n_questions = self._count()

    @classmethod
    def parse(cls, size: str) -> "TwoPeople":
        match = re.fullmatch(r"(\d+)(?:to(\d+))?", size)
        if not match:
            raise ValueError("the size is a number of hops, as in twopeople-5 or twopeople-1to5")
        return cls(int(match[1]), int(match[2] or match[1]))

    def _count(self) -> int:
        """The ways to choose people, words, negations, proofs and the order of the facts."""
        starts = sum(self.length - hops + 1 for hops in range(self.least, self.most + 1))
        # Concepts, and properties, of which one stays unused.
        words = math.factorial(2 * self.length) ** 2 * 2 ** (2 * self.length)
        return math.perm(len(PEOPLE), 2) * starts**2 * words * math.factorial(self.n_facts)

    def parse_question(self, typed: str) -> np.ndarray:
        text = split_marks(typed)
        matches = re.findall(r"(\w+) is (?:a )?(not )?(\w+) \.", text)
        number = self._numbers.get
        facts = [
            (number(a, PADDING), number(b, PADDING), bool(negated)) for a, negated, b in matches
        ]
        columns = np.array(facts or [(PADDING, PADDING, False)]).T
        row = np.concatenate([*columns[:, :-1], columns[:, -1]])[None]
        fits = len(facts) == self.n_facts + 1 and (row != PADDING).all()
        # Rendered again it must equal the typed text, so that nothing in it was ignored.
        if fits:
            hops = int((self._proof(row) != PADDING).sum()) - 1
            fits = self.least <= hops <= self.most
        if not fits or self.text(self.render(row))[0].question != text:
            raise ValueError(
                f"type {self.n_facts} facts that prove or disprove something in {self.least} to "
                f"{self.most} steps, and the question: {self.example_question}"
            )
        return row

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n questions `[n, 3 facts + 3]`, uniform over the proof's length and start."""
        length, rows = self.length, np.arange(n)
        people = permutations(rng, n, len(PEOPLE))[:, :2]
        concepts = len(PEOPLE) + permutations(rng, n, 2 * length).reshape(n, 2, length)
        properties = permutations(rng, n, 2 * length).reshape(n, 2, length)
        properties += len(PEOPLE) + 2 * length
        negated = rng.integers(0, 2, (n, 2, length))
        hops = rng.integers(self.least, self.most + 1, (n, 2))
        start = rng.integers(0, length - hops + 1)
        last, other_last = (start + hops - 1).T  # the concepts whose property is in question
        asked = properties[rows, 0, last]
        properties[rows, 1, other_last] = asked
        negated[rows, 1, other_last] = 1 - negated[rows, 0, last]
        members = np.take_along_axis(concepts, start[:, :, None], axis=2)[:, :, 0]
        kinds, kinds_of = concepts[:, :, :-1].reshape(n, -1), concepts[:, :, 1:].reshape(n, -1)
        subjects = np.hstack([people, kinds, concepts.reshape(n, -1)])
        objects = np.hstack([members, kinds_of, properties.reshape(n, -1)])
        plain = np.zeros((n, 2 * length), dtype=int)
        negations = np.hstack([plain, negated.reshape(n, -1)])
        order = permutations(rng, n, self.n_facts)
        facts = [np.take_along_axis(x, order, axis=1) for x in (subjects, objects, negations)]
        return np.column_stack([*facts, people[:, 0], asked, rng.integers(0, 2, n)])

    def render(self, questions: np.ndarray, rng: np.random.Generator | None = None) -> SymbolBatch:
        subjects, objects, negated = self._facts(questions)
        proof = self._proof(questions)
        used, about, negations = (
            np.take_along_axis(x, proof.clip(min=0), axis=1) for x in (subjects, objects, negated)
        )
        person, asked, negation = questions[:, -3:].T
        rules = self._sentences(used, about, negations)
        so = self._sentences(np.broadcast_to(person[:, None], proof.shape), about, negations)
        so[:, 0] = PADDING  # the first fact is about the person already
        steps = np.stack([rules, so], axis=2)
        steps[proof == PADDING] = PADDING
        statement = self._sentences(person, asked, negation)
        true = np.take_along_axis(negations, (proof != PADDING).sum(axis=1)[:, None] - 1, axis=1)
        names = [self.symbols.index(word) for word in ("False", "True")]
        start = sentences(self.symbols, "True", "or", "false", ":")
        start = np.broadcast_to(start, (len(questions), len(start)))
        # The widest question: every rule about a property but one is negated.
        width = 24 * self.length + 6
        return SymbolBatch(
            join(width, self._sentences(subjects, objects, negated), start, statement),
            join(5 + 11 * self.most, steps),
            np.array(names)[(true == negation[:, None]).astype(int)],
        )

    def _facts(self, questions: np.ndarray) -> tuple[np.ndarray, ...]:
        """Subjects, objects and negations of the facts, `[n, facts]` each."""
        n = self.n_facts
        return questions[:, :n], questions[:, n : 2 * n], questions[:, 2 * n : 3 * n]

    def _sentences(
        self, subjects: np.ndarray, objects: np.ndarray, negated: np.ndarray
    ) -> np.ndarray:
        """Facts as sentences, `[..., 6]`, with `PADDING` for words that a sentence lacks."""
        subjects, objects = subjects + len(self._frame), objects + len(self._frame)
        every, a, not_ = (self.symbols.index(word) for word in ("Every", "a", "not"))
        rule = np.where(subjects < self._first_concept, PADDING, every)
        link = np.where(negated == 1, not_, np.where(objects < self._first_property, a, PADDING))
        return sentences(self.symbols, rule, subjects, "is", link, objects, ".")

    def _proof(self, questions: np.ndarray) -> np.ndarray:
        """The numbers of the facts that lead from the person to the property: `[n, 1 + most]`.

        Rows end in `PADDING`; a row without a proof is all `PADDING`.
        """
        subjects, objects, _ = self._facts(questions)
        rows = np.arange(len(questions))
        person, asked, _ = questions[:, -3:].T
        concept = objects < self._first_property - len(self._frame)
        proof = np.full((len(rows), 1 + self.most), PADDING)
        at, open_ = person, np.ones(len(rows), dtype=bool)
        for step in range(1 + self.most):
            about = subjects == at[:, None]
            last, next_ = about & (objects == asked[:, None]), about & concept
            proved = last.any(axis=1)
            fact = np.where(proved[:, None], last, next_).argmax(axis=1)
            open_ &= proved | next_.any(axis=1)
            proof[open_, step] = fact[open_]
            open_ &= ~proved
            at = objects[rows, fact]
        end = np.take_along_axis(proof, (proof != PADDING).sum(axis=1, keepdims=True) - 1, axis=1)
        proved = np.take_along_axis(objects, end, axis=1)[:, 0] == asked
        return np.where(proved[:, None], proof, PADDING)

    def to_json(self, examples: list[Example]) -> dict[str, Any]:
        """ProntoQA's published form."""
        return statements_to_json(examples)
