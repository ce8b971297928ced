"""ProntoQA: questions are drawn as by the published generator, and proofs follow from the facts."""

import json
import random
import re
from collections import Counter

import numpy as np
import pytest

from icotlib.data.readers import read_file
from icotlib.errors import DataError
from icotlib.tasks import get_task
from icotlib.tasks.ontologies import CONCEPTS, FAMILIES, LEVELS, PEOPLE
from icotlib.tasks.prose import split_marks, split_sentences, typeset

NAMES = ["prontoqa-1", "prontoqa-3", "prontoqa-1to4", "prontoqa-5"]
FAMILY = {word: i for i, family in enumerate(FAMILIES) for word in family}

#: Two levels, and two hops from the lower one.
TYPED = (
    "Each lempus is a wumpus. Wumpuses are not shy. Zumpuses are shy. Lempuses are hot. Wumpuses "
    "are impuses. Each wumpus is a rompus. Every lempus is a gorpus. Gorpuses are not loud. Each "
    "rompus is blue. Every vumpus is a yumpus. Vumpuses are small. Max is a vumpus. Max is a "
    "lempus. True or false: Max is shy."
)
CHAIN = (
    "Max is a lempus . Each lempus is a wumpus . Max is a wumpus . Wumpuses are not shy . "
    "Max is not shy ."
)


def drawn(name, n, seed=0):
    task = get_task(name)
    return task.text(task.render(task.sample(np.random.default_rng(seed), n)))


def facts_of(text):
    """Facts `(subject, negated, object)` in order, nouns in the singular."""
    found = re.findall(r"(\w+) (?:is|are) (not )?(?:an? )?(\w+) \.", text)
    return [(singular(a), bool(negated), singular(b)) for a, negated, b in found]


def singular(word):
    return word.lower().removesuffix("es") if word.lower().endswith("puses") else word


def levels_of(facts):
    """Concepts by level from the bottom, read from the facts alone: those with two kinds above."""
    above = {}
    for subject, _, what in facts:
        if subject in CONCEPTS and what in CONCEPTS:
            above.setdefault(subject, []).append(what)
    tower = {subject: kinds for subject, kinds in above.items() if len(kinds) == 2}
    kinds_above = {kind for kinds in tower.values() for kind in kinds}
    order = [next(subject for subject in tower if subject not in kinds_above)]
    while following := [kind for kind in tower[order[-1]] if kind in tower]:
        order += following
    return order


def test_a_question_by_hand():
    task = get_task("prontoqa-2")
    example = task.text(task.render(task.parse_question(TYPED)))[0]
    assert example == (split_marks(TYPED), CHAIN, "False")
    negation = TYPED.replace("Max is shy", "Max is not shy")
    assert task.text(task.render(task.parse_question(negation)))[0][1:] == (CHAIN, "True")
    assert task.to_json([example]) == {
        "example1": {
            "test_example": {
                "question": TYPED.partition(" True")[0],
                "query": "True or false: Max is shy.",
                "chain_of_thought": split_sentences(typeset(CHAIN)),
                "answer": "False",
            }
        }
    }


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("Max is a lempus", "Max is a rock", "type at most 25 facts"),
        ("Max is a lempus. ", "", "type at most 25 facts"),
        ("Each lempus is a wumpus", "Some lempus is a wumpus", "type at most 25 facts"),
        ("Each lempus is a wumpus", "Each lempus is an wumpus", "type at most 25 facts"),
        ("Max is shy", "Max is a wumpus", "type at most 25 facts"),
        ("Max is shy", "lempus is shy", "type at most 25 facts"),
        ("Max is shy", "Max is odd", "type at most 25 facts"),
        ("Zumpuses are shy", "Lempuses are shy", "in 2 to 2 steps"),  # proved in one
        ("Zumpuses are shy", "Wumpuses are shy", "both that Max is shy and that not"),
    ],
)
def test_text_that_is_no_question_says_what_would_be(before, after, message):
    task = get_task("prontoqa-2")
    assert before in TYPED
    with pytest.raises(ValueError, match=message):
        task.parse_question(TYPED.replace(before, after))


@pytest.mark.parametrize("name", NAMES)
def test_a_proof_walks_up_the_levels_and_decides_the_statement(name):
    task, hops = get_task(name), set()
    for question, chain, answer in drawn(name, 200):
        text, _, statement = question.partition("True or false : ")
        person, no, what = re.fullmatch(r"(\w+) is (not )?(\w+) \.", statement).groups()
        facts, steps = facts_of(text), facts_of(chain)
        assert len(set(facts)) == len(facts)
        tower = levels_of(facts)
        walked = [step[2] for step in steps[:-1:2]]
        at = tower.index(walked[0])
        assert walked == tower[at : at + len(walked)]
        assert at + len(walked) <= len(tower)
        for known, rule, so in zip(steps[::2], steps[1::2], steps[2::2], strict=False):
            assert rule in facts
            assert rule[0] == known[2]
            assert so == (person, *rule[1:])
        assert steps[0] in facts
        assert steps[-1][2] == what
        assert answer == str(steps[-1][1] == bool(no))
        assert len(steps) == 2 * len(walked) + 1
        hops.add(len(walked))
        # as written in the facts
        assert all(one in split_sentences(text) for one in split_sentences(chain)[1:-1:2])
        assert [fact[0] for fact in facts[-2:]] == [person, person]
    assert hops == set(range(task.least, task.most + 1))


@pytest.mark.parametrize("name", ["prontoqa-2", "prontoqa-5"])
def test_a_question_has_the_distractors_of_the_published_ones(name):
    for question, _, _ in drawn(name, 200):
        text, _, statement = question.partition("True or false : ")
        what = statement.split()[-2]
        facts, tower = facts_of(text), levels_of(facts_of(text))
        assert len(facts) == 4 * len(tower) + 5
        mentions = Counter(word for a, _, b in facts for word in (a, b))
        about = [fact for fact in facts if fact[2] == what]
        assert {fact[1] for fact in about} == {True, False}
        # the rule that states the opposite is about a concept that nothing else mentions
        assert sorted(mentions[fact[0]] == 1 for fact in about) == [False, True]
        others = [fact[2] for fact in facts if fact[2] in FAMILY and fact not in about]
        families = [FAMILY[word] for word in [what, *others]]
        assert len(set(families)) == len(families) == 2 * len(tower) + 1


def published_walk(hops, rng):
    """Levels, and negations of the path's properties with that asked for last, by the rule of the
    authors' generator: an ontology is drawn and walked until a walk has so many rules."""
    while True:
        levels = 1
        while rng.random() >= 1 / (hops + 2) or rng.random() < 0.5:
            levels += 1
        levels -= 1
        if not hops <= levels <= LEVELS:
            continue
        negated = [rng.random() < 1 / 3 for _ in range(levels + 1)]
        start = at = rng.choice([level for level in range(1, levels + 1) if level >= hops])
        while at >= 1:
            weight = 0.7 if negated[at] else 0.3
            if rng.random() < weight / (1 + weight):
                break
            at -= 1
        if at >= 1 and start - at + 1 == hops:
            return levels, [negated[level] for level in range(start, at - 1, -1)]


@pytest.mark.parametrize("hops", [1, 3, 5])
def test_levels_and_negations_are_as_frequent_as_by_the_published_walk(hops):
    n, rng = 4000, random.Random(0)
    walks = [published_walk(hops, rng) for _ in range(n)]
    ours = []
    for question, chain, _ in drawn(f"prontoqa-{hops}", n):
        facts = facts_of(question.partition("True or false")[0])
        negated = {a: no for a, no, b in facts if b in FAMILY}
        path = [step[2] for step in facts_of(chain)[:-1:2]]
        ours.append((len(levels_of(facts)), [negated[concept] for concept in path]))
    for of in (lambda one: one[1][-1], lambda one: any(one[1][:-1]), lambda one: one[0]):
        theirs, mine = (np.array([float(of(one)) for one in many]) for many in (walks, ours))
        spread = np.sqrt((theirs.var() + mine.var()) / n)
        assert abs(theirs.mean() - mine.mean()) <= 4 * spread + 1e-9


def test_half_of_the_rules_are_in_the_plural_and_other_properties_negated_in_one_of_three():
    plural, each, other = [], [], []
    for question, _, _ in drawn("prontoqa-5", 400):
        text = question.partition("True or false")[0]
        rules = [one for one in text.strip(" .").split(" . ") if one.split()[0] not in PEOPLE]
        plural += [" are " in rule for rule in rules]
        each += [rule.startswith("Each") for rule in rules if " is " in rule]
        facts = facts_of(text)
        tower, what = levels_of(facts), question.split()[-2]
        other += [no for a, no, b in facts if b in FAMILY and a not in tower and b != what]
    assert np.mean(plural) == pytest.approx(1 / 2, abs=0.03)
    assert np.mean(each) == pytest.approx(1 / 2, abs=0.04)
    assert np.mean(other) == pytest.approx(1 / 3, abs=0.05)


# --- published files ---------------------------------------------------------------------------


def merged(row):
    """A row of the generator's file in Coconut's form: two sentences a step."""
    said = row["chain_of_thought"]
    return {
        "question": f"{row['question']} {row['query']}",
        "steps": [" ".join(said[i : i + 2]) for i in range(0, len(said), 2)],
        "answer": row["answer"],
    }


@pytest.mark.parametrize("form", ["of the generator", "of Coconut"])
def test_a_published_file_is_read_as_the_task_writes_it(form, tmp_path):
    task, examples = get_task("prontoqa-1to3"), drawn("prontoqa-1to3", 20)
    rows = task.to_json(examples)
    if form == "of Coconut":
        rows = [merged(row["test_example"]) for row in rows.values()]
    (tmp_path / "test.json").write_text(json.dumps(rows))
    assert read_file(tmp_path / "test.json", task).kept == examples


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "True"}, "the proof leads to False, not to True"),
        ({"chain_of_thought": ["Max is a lempus."]}, "the facts lead to the proof"),
        ({"chain_of_thought": "Max is a lempus."}, "a list of sentences"),
        ({"query": "True or false: Max is blue."}, "type at most 25 facts"),
    ],
)
def test_a_published_row_that_does_not_follow_says_why(change, message, tmp_path):
    task = get_task("prontoqa-2")
    example = task.text(task.render(task.parse_question(TYPED)))
    row = task.to_json(example)["example1"]["test_example"]
    (tmp_path / "test.json").write_text(json.dumps({"example1": {"test_example": row | change}}))
    with pytest.raises(DataError, match=message):
        read_file(tmp_path / "test.json", task)
