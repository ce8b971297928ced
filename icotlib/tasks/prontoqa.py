"""True or false, by deduction about fictional concepts (ProntoQA, arXiv 2210.01240).

For `prontoqa-2`, most of its facts left out:

    question  Each lempus is a wumpus . Wumpuses are not shy . Zumpuses are shy . Lempuses are hot .
              ... Max is a vumpus . Max is a lempus . True or false : Max is shy .
    chain     Max is a lempus . Each lempus is a wumpus . Max is a wumpus .
              Wumpuses are not shy . Max is not shy .
    answer    False

`icotlib.tasks.ontologies` has the rule by which facts are drawn. Coconut (arXiv 2412.06769) takes 5
hops.

A shortcut: of the two rules about the property, the one whose concept other facts mention is true.
`icotlib.tasks.twopeople` is without it.
"""

import math
import re
from typing import Any

import numpy as np

from icotlib.tasks import ontologies
from icotlib.tasks.base import PADDING, Example, SymbolBatch, Task, register
from icotlib.tasks.ontologies import CONCEPTS, FACTS, LEVELS, PEOPLE, PROPERTIES
from icotlib.tasks.prose import (
    ProseTask,
    join,
    sentences,
    split_marks,
    statements_to_json,
)

#: How a rule is written, and how often: `Every lempus is`, `Each lempus is`, `Lempuses are`.
EVERY, EACH, PLURAL = range(3)
FORMS = (0.25, 0.25, 0.5)

_STATEMENT = re.compile(r"True or false : (\w+) is (not )?(\w+) \.")
_FACT = re.compile(r"(?:(Every|Each) )?(\w+) (?:is|are) (not )?(?:an? )?(\w+) \.")


@register("prontoqa")
class ProntoQA(ProseTask):
    """`prontoqa-<hops>`: 1 to 5 rules to apply; `prontoqa-<least>to<most>`: a random number.

    A question is a row of small integers: the subjects of all facts in order, their objects,
    whether each is negated (0 or 1), how it is written, then person, property and negation of the
    statement to judge. Words are numbered from 1 in the order people, concepts, properties; where a
    question has fewer facts, the rest is 0.
    """

    json_columns = ("question", "answer")

    def __init__(self, least: int, most: int):
        if not 1 <= least <= most <= LEVELS:
            raise ValueError(f"hops must be 1 to {LEVELS}, got {least} to {most}")
        self.least, self.most = least, most
        self.name = f"prontoqa-{most}" if least == most else f"prontoqa-{least}to{most}"
        self._frame = (
            *("Every", "Each", "is", "are", "not", "a", "an", ".", "True", "False", "or", "false"),
            ":",
        )
        plurals = tuple(f"{concept}es" for concept in CONCEPTS)
        subjects = tuple(plural.capitalize() for plural in plurals)
        self.symbols = (*self._frame, *PEOPLE, *CONCEPTS, *PROPERTIES, *plurals, *subjects)
        self._number = {word: 1 + i for i, word in enumerate((*PEOPLE, *CONCEPTS, *PROPERTIES))}
        self._number |= {
            form: self._number[concept]
            for forms in (plurals, subjects)
            for form, concept in zip(forms, CONCEPTS, strict=True)
        }
        # The names and orders of questions with as many levels as the shortest proof.
        self.n_questions = (
            len(PEOPLE) * math.perm(len(CONCEPTS), 2 * least + 4) * math.factorial(4 * least + 3)
        )

    @classmethod
    def parse(cls, size: str) -> "ProntoQA":
        match = re.fullmatch(r"(\d+)(?:to(\d+))?", size)
        if not match:
            raise ValueError("the size is a number of hops, as in prontoqa-5 or prontoqa-1to5")
        return cls(int(match[1]), int(match[2] or match[1]))

    def shifts(self) -> dict[str, Task]:
        """Proofs that are one and two hops longer."""
        longer = range(self.most + 1, min(self.most + 2, LEVELS) + 1)
        return {f"{hops} hops": ProntoQA(hops, hops) for hops in longer}

    # --- questions ---

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n questions `[n, 4 FACTS + 3]` by the rule of `icotlib.tasks.ontologies`, numbers of
        hops with equal probability."""
        facts, person, asked = ontologies.draw(rng, rng.integers(self.least, self.most + 1, n))
        forms = rng.choice(3, size=(n, FACTS), p=FORMS)
        forms[facts[0] <= len(PEOPLE)] = EVERY
        return np.column_stack([*facts, forms, person, asked, rng.integers(0, 2, n)])

    def parse_question(self, typed: str) -> np.ndarray:
        text = split_marks(typed)
        facts, _, _ = text.partition("True or false")
        read = [self._read(*fact) for fact in _FACT.findall(facts)]
        asked = _STATEMENT.search(text)
        wrong = (
            f"type at most {FACTS} facts that prove or disprove something in {self.least} to "
            f"{self.most} steps, and the question: {self.example_question}"
        )
        known = 0 < len(read) <= FACTS and not any(0 in one[:2] for one in read)
        if asked is None or asked[1] not in PEOPLE or not known:
            raise ValueError(wrong)
        columns = np.zeros((4, FACTS), dtype=int)
        columns[:, : len(read)] = np.array(read).T
        words = [self._number[asked[1]], self._number.get(asked[3], 0)]
        row = np.concatenate([*columns, words, [bool(asked[2])]])[None]
        hops = int((self._proof(row) != PADDING).sum()) - 1
        # Rendered again it must equal the typed text, so that nothing in it was ignored.
        fits = words[1] > 0 and self.least <= hops <= self.most
        if not fits or self.text(self.render(row))[0].question != text:
            raise ValueError(wrong)
        far, _ = self._reached(row)
        about = [one[2] for one in read if one[1] == words[1] and far[0, one[0]] <= self.most]
        if len(set(about)) > 1:
            raise ValueError(f"the facts say both that {asked[1]} is {asked[3]} and that not")
        return row

    def _read(self, every: str, subject: str, negated: str, what: str) -> tuple[int, ...]:
        """The entries of a fact; unknown words are 0."""
        plural = subject.endswith("es") and subject not in PEOPLE
        form = PLURAL if plural else EACH if every == "Each" else EVERY
        return self._number.get(subject, 0), self._number.get(what, 0), bool(negated), form

    # --- as text ---

    def render(self, questions: np.ndarray, rng: np.random.Generator | None = None) -> SymbolBatch:
        facts, proof = self._facts(questions), self._proof(questions)
        used = np.take_along_axis(facts, proof.clip(min=0)[None], axis=2)
        person, asked, negation = questions[:, -3:].T
        rules = self._sentences(used)
        whom = np.broadcast_to(person[:, None], proof.shape)
        so = self._sentences(np.stack([whom, used[1], used[2], np.full_like(whom, EVERY)]))
        so[:, 0] = PADDING  # the first fact is about the person already
        steps = np.stack([rules, so], axis=2)
        steps[proof == PADDING] = PADDING
        last = (proof != PADDING).sum(axis=1, keepdims=True) - 1
        true = np.take_along_axis(used[2], last, axis=1)[:, 0] == negation
        names = [self.symbols.index(word) for word in ("False", "True")]
        start = sentences(self.symbols, "True", "or", "false", ":")
        return SymbolBatch(
            join(
                6 * FACTS + 9,
                self._sentences(facts),
                np.broadcast_to(start, (len(questions), len(start))),
                self._sentences(np.stack([person, asked, negation, np.full_like(person, EVERY)])),
            ),
            join(5 + 11 * self.most, steps),
            np.array(names)[true.astype(int)][:, None],
        )

    def _facts(self, questions: np.ndarray) -> np.ndarray:
        """Subjects, objects, negations and forms of the facts, `[4, n, FACTS]`."""
        return questions[:, : 4 * FACTS].reshape(len(questions), 4, FACTS).swapaxes(0, 1)

    def _sentences(self, facts: np.ndarray) -> np.ndarray:
        """Facts `[4, ...]` as sentences `[..., 7]`, with `PADDING` for words that one lacks."""
        subjects, objects, negated, forms = facts
        word = {one: self.symbols.index(one) for one in ("Every", "Each", "is", "are", "a", "an")}
        rule, plural = subjects > len(PEOPLE), forms == PLURAL
        concept = (objects > len(PEOPLE)) & (objects <= len(PEOPLE) + len(CONCEPTS))
        vowel = np.isin(objects, [self._number[one] for one in CONCEPTS if one[0] in "aeiou"])
        to_plural = len(CONCEPTS) + len(PROPERTIES)  # from a concept to its plural
        before = len(self._frame) - 1  # words are numbered from 1
        text = sentences(
            self.symbols,
            np.where(~rule | plural, PADDING, np.where(forms == EACH, word["Each"], word["Every"])),
            before + subjects + np.where(plural, to_plural + len(CONCEPTS), 0),
            np.where(plural, word["are"], word["is"]),
            np.where(negated == 1, self.symbols.index("not"), PADDING),
            np.where(concept & ~plural, np.where(vowel, word["an"], word["a"]), PADDING),
            before + objects + np.where(concept & plural, to_plural, 0),
            ".",
        )
        text[subjects == 0] = PADDING
        return text

    def _proof(self, questions: np.ndarray) -> np.ndarray:
        """The numbers of the facts on a shortest way from the person to the property.

        Rows `[n, 1 + most]` end in `PADDING`; a row without such a way is all `PADDING`.
        """
        subjects, *_ = self._facts(questions)
        far, by = self._reached(questions)
        word = questions[:, -2].copy()
        steps = far[np.arange(len(questions)), word]
        steps[steps > 1 + self.most] = 0
        proof = np.full((len(questions), 1 + self.most), PADDING)
        for step in range(1 + self.most, 0, -1):
            rows = np.flatnonzero(steps >= step)
            fact = by[rows, word[rows]]
            proof[rows, step - 1] = fact
            word[rows] = subjects[rows, fact]
        return proof

    def _reached(self, questions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many facts lead from the person to each word, and the last of them: `[n, words]`.

        A word that more than `1 + most` facts lead to counts as one further.
        """
        subjects, objects, *_ = self._facts(questions)
        longest = 1 + self.most
        far = np.full((len(questions), 1 + len(self._number)), longest + 1)
        by = np.full_like(far, PADDING)
        far[np.arange(len(far)), questions[:, -3]] = 0
        for step in range(1, longest + 1):
            here = np.take_along_axis(far, subjects, axis=1) == step - 1
            new = here & (np.take_along_axis(far, objects, axis=1) > step) & (subjects > 0)
            rows, fact = np.nonzero(new[:, ::-1])  # the first of several facts is written last
            fact = FACTS - 1 - fact
            far[rows, objects[rows, fact]] = step
            by[rows, objects[rows, fact]] = fact
        return far, by

    # --- the published form ---

    def to_json(self, examples: list[Example]) -> dict[str, Any]:
        """The published form; `query` holds the statement to judge."""
        return statements_to_json(examples)

    def read_json(self, row: dict[str, Any]) -> Example:
        """The published sentences, words and marks separated, with the proof that stands there.

        The generator's form, with the statement in `query`, or Coconut's, with it in `question`.

        Raises `ValueError` if the facts lead to another proof or answer.
        """
        asked = split_marks(
            " ".join(str(row[name]) for name in ("question", "query") if name in row)
        )
        steps = row.get("chain_of_thought", row.get("steps"))
        if not isinstance(steps, list):
            raise ValueError(f"chain_of_thought or steps is a list of sentences, not {steps!r}")
        chain = split_marks(" ".join(map(str, steps)))
        example = self.text(self.render(self.parse_question(asked)))[0]
        if chain != example.chain:
            raise ValueError(f"the facts lead to the proof {example.chain!r}, not to {chain!r}")
        if str(row["answer"]) != example.answer:
            raise ValueError(f"the proof leads to {example.answer}, not to {row['answer']}")
        return example
