"""Two paths and two people: chains follow from the facts, and no shortcut predicts the answers."""

import json
import re

import numpy as np
import pytest

from icotlib.cli import main
from icotlib.config import DataConfig
from icotlib.data.batches import stream
from icotlib.data.corpus import load_corpus
from icotlib.data.files import write_json
from icotlib.data.layout import Layout
from icotlib.data.prepare import prepare
from icotlib.data.symbols import symbol_tokenizer
from icotlib.errors import ConfigError
from icotlib.tasks import get_task
from icotlib.tasks.base import PADDING
from icotlib.tasks.prose import CONCEPTS, PEOPLE, split_marks, typeset

TWO_PATHS = ["twopaths-4x2", "twopaths-12x3", "twopaths-20x4", "twopaths-30x6"]
TWO_PEOPLE = ["twopeople-1", "twopeople-3", "twopeople-1to5", "twopeople-10"]


def examples(task, n, seed=0):
    return task.text(task.render(task.sample(np.random.default_rng(seed), n)))


def facts_of(text):
    """Facts `(subject, negated, object)` in order, read from the text alone."""
    matches = re.findall(r"(\w+) is (?:a )?(not )?(\w+) \.", text.partition("True or false")[0])
    return [(subject, bool(negated), what) for subject, negated, what in matches]


def follow(facts, start):
    """Everything that is reached from a word: `{what: (hops, negated)}`."""
    reached, front, hops = {}, {start}, 0
    while front:
        hops += 1
        next_to = {(what, negated) for subject, negated, what in facts if subject in front}
        front = {what for what, _ in next_to} - set(reached)
        reached |= {what: (hops, negated) for what, negated in next_to if what in front}
    return reached


def exchanged(task, questions):
    """The same questions with the two people exchanged in the facts, but not in the question."""
    changed, n = questions.copy(), task.n_facts
    subjects = changed[:, :n]
    at = np.nonzero(subjects < len(PEOPLE))[1].reshape(-1, 2)
    rows = np.arange(len(at))[:, None]
    changed[rows, at] = questions[rows, at[:, ::-1]]
    return changed


# --- two paths ---------------------------------------------------------------------------------


def test_two_paths_by_hand():
    task = get_task("twopaths-6x2")
    typed = (
        "Every dumpus is a fumpus. Sam is a dumpus. Every gumpus is a bumpus. Every drumpus is a "
        "bumpus. Every drumpus is a fumpus. Max is a gumpus. Every gumpus is a brumpus. Every "
        "fumpus is a brumpus. Is Max a fumpus or bumpus?"
    )
    example = task.text(task.render(task.parse_question(typed)))[0]
    assert example == (
        split_marks(typed),
        "Max is a gumpus . Every gumpus is a bumpus .",
        "Max is a bumpus .",
    )
    other = task.text(task.render(task.parse_question(typed.replace("Is Max", "Is Sam"))))[0]
    assert other.chain == "Sam is a dumpus . Every dumpus is a fumpus ."
    assert other.answer == "Sam is a fumpus ."
    assert task.to_json([example]) == [
        {
            "question": typed,
            "steps": ["Max is a gumpus.", "Every gumpus is a bumpus."],
            "answer": "Max is a bumpus.",
            "idx_to_symbol": [
                *("Max", "Sam", "bumpus", "brumpus", "dumpus", "drumpus", "fumpus", "gumpus")
            ],
            "edges": [[4, 6], [1, 4], [7, 2], [5, 2], [5, 6], [0, 7], [7, 3], [6, 3]],
            "root": 0,
            "target": 2,
            "neg_target": 6,
        }
    ]


@pytest.mark.parametrize("name", TWO_PATHS)
def test_two_paths_chain_is_the_one_path_to_the_only_candidate_reached(name):
    task = get_task(name)
    for question, chain, answer in examples(task, 200):
        person, first, second = re.search(r"Is (\w+) a (\w+) or (\w+) \?", question).groups()
        facts, steps = facts_of(question), facts_of(chain)
        assert len(set(facts)) == len(facts) == task.n_facts
        assert {word for fact in facts for word in (fact[0], fact[2])} >= set(
            CONCEPTS[: task.concepts]
        )
        reached = follow(facts, person)
        target, wrong = (first, second) if first in reached else (second, first)
        assert wrong not in reached
        assert reached[target] == (task.hops, False)
        assert answer == f"{person} is a {target} ."
        assert set(steps) <= set(facts)
        assert [step[0] for step in steps] == [person, *(step[2] for step in steps[:-1])]
        assert steps[-1][2] == target
        assert len(steps) == task.hops
        assert not any(word in follow(facts, word) for word in reached)  # no cycle
        # the other candidate is as far from the other person
        other = next(who for who, _, _ in facts if who in PEOPLE and who != person)
        assert follow(facts, other)[wrong] == (task.hops, False)
        assert target not in follow(facts, other)


@pytest.mark.parametrize("name", TWO_PATHS)
def test_two_paths_answer_is_the_other_candidate_once_the_people_are_exchanged(name):
    """A shortcut that ignores the person's own fact gives both questions the same answer."""
    task = get_task(name)
    questions = task.sample(np.random.default_rng(0), 500)
    before, after = task.render(questions), task.render(exchanged(task, questions))
    assert (before.answer[:, 3] != after.answer[:, 3]).all()
    first = [x.answer.split()[3] for x in task.text(before)]
    second = [x.answer.split()[3] for x in task.text(after)]
    candidates = [x.question.split()[-4:-1:2] for x in task.text(before)]
    assert all({a, b} == set(c) for a, b, c in zip(first, second, candidates, strict=True))


def preferences(facts, person, candidate, other):
    """By how much each shortcut prefers one candidate to the other; positive if it does."""
    subjects, objects = [a for a, _, _ in facts], [b for _, _, b in facts]
    at = subjects.index(person)

    def near(word):
        return -min(abs(i - at) for i in range(len(facts)) if word in (subjects[i], objects[i]))

    def ancestors(word):
        return sum(word in follow(facts, start) for start in set(subjects))

    scores = {
        "mentions": lambda word: subjects.count(word) + objects.count(word),
        "facts that lead there": objects.count,
        "facts that lead on": subjects.count,
        "first mention": objects.index,
        "near the person": near,
        "ancestors": ancestors,
        "spelling": lambda word: CONCEPTS.index(word),
        "reach": lambda word: len(follow(facts, word)),
    }
    return {name: score(candidate) - score(other) for name, score in scores.items()}


def test_no_shortcut_answers_two_paths():
    n, tally = 2000, {}
    for question, _, answer in examples(get_task("twopaths-14x3"), n):
        person, *pair = re.search(r"Is (\w+) a (\w+) or (\w+) \?", question).groups()
        right = pair.index(answer.split()[3])
        shortcuts = preferences(facts_of(question), person, pair[right], pair[1 - right])
        for name, preference in (shortcuts | {"first candidate": 0.5 - right}).items():
            tally[name] = tally.get(name, 0) + (np.sign(preference) + 1) / 2
    for name, correct in tally.items():  # 0.045: four standard deviations
        assert abs(correct / n - 0.5) < 0.045, name


def test_two_paths_candidates_have_distractors_on_both_sides():
    """Following any fact, forwards or backwards, does not find the path."""
    facts = [facts_of(x.question) for x in examples(get_task("twopaths-20x4"), 200)]
    chains = [facts_of(x.chain) for x in examples(get_task("twopaths-20x4"), 200)]
    forwards = [
        sum(a == step[0] for a, _, _ in known)
        for known, chain in zip(facts, chains, strict=True)
        for step in chain[1:]
    ]
    backwards = [
        sum(b == step[2] for _, _, b in known)
        for known, chain in zip(facts, chains, strict=True)
        for step in chain[1:]
    ]
    assert np.mean(forwards) > 1.8
    assert np.mean(backwards) > 1.3


def test_two_paths_without_distractors_has_as_many_questions_as_it_says():
    task = get_task("twopaths-4x2")
    assert task.n_questions == 56 * 2 * 24 * 24
    drawn = np.unique(task.sample(np.random.default_rng(0), 300_000), axis=0)
    assert 0.98 * task.n_questions < len(drawn) <= task.n_questions


# --- two people ---------------------------------------------------------------------------------


def test_two_people_by_hand():
    task = get_task("twopeople-2")
    typed = (
        "Every gumpus is a bumpus. Max is a gumpus. Every bumpus is not cold. Every brumpus is a "
        "dumpus. Every gumpus is dry. Sam is a brumpus. Every dumpus is cold. Every bumpus is a "
        "fumpus. Every fumpus is blue. Every dumpus is a drumpus. Every drumpus is not bright. "
        "Every brumpus is amber. True or false: Max is cold."
    )
    chain = (
        "Max is a gumpus . Every gumpus is a bumpus . Max is a bumpus . "
        "Every bumpus is not cold . Max is not cold ."
    )
    example = task.text(task.render(task.parse_question(typed)))[0]
    assert example == (split_marks(typed), chain, "False")
    negation = typed.replace("Max is cold", "Max is not cold")
    assert task.text(task.render(task.parse_question(negation)))[0][1:] == (chain, "True")
    about_sam = task.parse_question(typed.replace("Max is cold", "Sam is cold"))
    other = task.text(task.render(about_sam))[0]
    assert other.chain == (
        "Sam is a brumpus . Every brumpus is a dumpus . Sam is a dumpus . "
        "Every dumpus is cold . Sam is cold ."
    )
    assert other.answer == "True"
    assert task.to_json([example]) == {
        "example1": {
            "test_example": {
                "question": typed.partition(" True")[0],
                "query": "True or false: Max is cold.",
                "chain_of_thought": typeset(chain).replace(". ", ".|").split("|"),
                "answer": "False",
            }
        }
    }


@pytest.mark.parametrize("name", TWO_PEOPLE)
def test_two_peoples_proof_follows_from_the_facts_and_decides_the_statement(name):
    task = get_task(name)
    hops = set()
    for question, chain, answer in examples(task, 300):
        person, no, what = re.search(r"false : (\w+) is (not )?(\w+) \.", question).groups()
        facts, steps = facts_of(question), facts_of(chain)
        assert len(set(facts)) == len(facts) == task.n_facts
        reached, denied = follow(facts, person)[what]
        assert answer == str(denied == bool(no))
        hops.add(reached - 1)
        # the first fact, then a rule about what the person is, then what follows from it
        assert steps[0] in facts
        assert len(steps) == 2 * reached - 1
        for known, rule, so in zip(steps[::2], steps[1::2], steps[2::2], strict=False):
            assert rule in facts
            assert rule[0] == known[2]
            assert so == (person, *rule[1:])
        assert steps[-1] == (person, denied, what)
        # the distractor: one other rule about the property, which states the opposite
        about = [rule for rule in facts if rule[2] == what]
        assert len(about) == 2
        assert {rule[1] for rule in about} == {True, False}
    assert hops == set(range(task.least, task.most + 1))


@pytest.mark.parametrize("name", TWO_PEOPLE)
def test_two_peoples_answer_is_reversed_once_the_people_are_exchanged(name):
    task = get_task(name)
    questions = task.sample(np.random.default_rng(0), 500)
    before, after = task.render(questions), task.render(exchanged(task, questions))
    assert (before.answer != after.answer).all()


def test_no_shortcut_answers_two_people():
    n, tally = 4000, {}
    for question, chain, answer in examples(get_task("twopeople-1to3"), n):
        no, what = re.search(r"false : \w+ is (not )?(\w+) \.", question).groups()
        facts = facts_of(question)
        first = next(denied for _, denied, about in facts if about == what)
        rules = [rule for rule in facts if rule[2] == what]
        mentions = [sum(rule[0] in (a, b) for a, _, b in facts) for rule in rules]
        most_mentioned = rules[int(mentions[1] > mentions[0])]
        guesses = {
            "always true": True,
            "no negation": not no,
            "even negations": sum(denied for _, denied, _ in facts) % 2 == bool(no),
            "first rule about it": first == bool(no),
            "rule of the concept with more mentions": most_mentioned[1] == bool(no),
            f"always true, {len(facts_of(chain)) // 2} hops": True,
        }
        for name, guess in guesses.items():
            if mentions[0] != mentions[1] or "mentions" not in name:
                tally.setdefault(name, []).append(str(guess) == answer)
    assert len(tally) == 8
    for name, right in tally.items():  # four standard deviations
        assert len(right) > 300, name
        assert abs(np.mean(right) - 0.5) < 2 / np.sqrt(len(right)), name


# --- all ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TWO_PATHS, *TWO_PEOPLE, "prontoqa-1to3", "prontoqa-5"])
def test_questions_are_parsed_as_they_were_rendered(name):
    task = get_task(name)
    questions = task.sample(np.random.default_rng(1), 30)
    for row, example in zip(questions, task.text(task.render(questions)), strict=True):
        assert np.array_equal(task.parse_question(typeset(example.question)), row[None])
    rendered = task.render(task.parse_question(task.example_question))
    assert task.text(rendered)[0].question == split_marks(task.example_question)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("twopaths-4x2", "Every bumpus is a dumpus", "Every bumpus is a rock"),
        ("twopaths-4x2", "Every bumpus is a dumpus", "Some bumpus is a dumpus"),
        ("twopaths-4x2", "Every bumpus is a dumpus. ", ""),
        ("twopaths-4x2", "drumpus or dumpus", "brumpus or drumpus"),  # neither is reached
        ("twopaths-4x2", "drumpus or dumpus", "bumpus or dumpus"),  # both are
        ("twopaths-4x2", "drumpus or dumpus", "bumpus or drumpus"),  # reached too early
        ("twopeople-1", "dumpus is not blue", "dumpus is not amber"),  # nothing proves it
        ("twopeople-1", "True or false", "False or true"),
        ("twopeople-1", "Sam is a bumpus. ", ""),
    ],
)
def test_text_that_is_no_question_of_the_task_says_what_would_be(name, before, after):
    typed = {
        "twopaths-4x2": "Every brumpus is a drumpus. Every bumpus is a dumpus. Max is a bumpus. "
        "Polly is a brumpus. Is Max a drumpus or dumpus?",
        "twopeople-1": "Every bumpus is blue. Sam is a bumpus. Every bumpus is a brumpus. Max is a "
        "dumpus. Every dumpus is not blue. Every dumpus is a drumpus. Every drumpus is calm. Every "
        "brumpus is bright. True or false: Max is blue.",
    }[name]
    task = get_task(name)
    task.parse_question(typed)
    assert before in typed
    with pytest.raises(ValueError, match=r"type \d+ facts that"):
        task.parse_question(typed.replace(before, after))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("twopaths-20", "concepts x hops"),
        ("twopaths-7x4", "2 x hops to 100 concepts"),
        ("twopaths-101x4", "2 x hops to 100 concepts"),
        ("twopaths-10x1", "2 hops or more"),
        ("twopeople-x", "number of hops"),
        ("prontoqa-x", "number of hops"),
        ("prontoqa-6", "1 to 5"),
        ("twopeople-0", "1 to 10"),
        ("twopeople-11", "1 to 10"),
        ("twopeople-3to2", "1 to 10"),
    ],
)
def test_a_size_that_cannot_be_says_so(name, message):
    with pytest.raises(ConfigError, match=message):
        get_task(name)


@pytest.mark.parametrize(
    "name", ["twopaths-100x5", "twopeople-10", "twopeople-1to5", "prontoqa-1to5"]
)
def test_rows_are_small_and_as_wide_as_the_longest_example(name):
    task = get_task(name)
    questions = task.sample(np.random.default_rng(0), 400)
    assert np.array_equal(questions.astype(np.int8), questions)
    assert questions.min() >= 0
    many, single = task.render(questions), task.render(questions[:1])
    assert [x.shape[1] for x in many] == [x.shape[1] for x in single]
    assert len(task.question_names) == many.question.shape[1]
    for symbols in many:
        padding = symbols == PADDING
        assert not (padding[:, :-1] & ~padding[:, 1:]).any()  # only at the end of a row


@pytest.mark.parametrize("name", ["twopaths-12x3", "twopeople-1to5", "prontoqa-1to5"])
def test_batches_encode_like_their_text(name):
    task = get_task(name)
    layout = Layout(symbol_tokenizer(task.symbols))
    batch = task.render(task.sample(np.random.default_rng(0), 40))
    fast, slow = layout.encode_symbols(batch, task), layout.encode(task.text(batch))
    for field in ("ids", "question", "chain", "total"):
        assert np.array_equal(getattr(fast, field), getattr(slow, field))


@pytest.mark.parametrize("name", ["twopaths-20x4", "twopeople-5", "prontoqa-5"])
def test_an_endless_stream_is_drawn_beside_held_out_questions(name):
    corpus = load_corpus(DataConfig(task=name, valid_examples=50, test_examples=50))
    assert corpus.task.n_questions > 10**30
    assert len({*corpus.valid["question"], *corpus.test["question"]}) == 100
    batch = stream(corpus, 16, seed=0)
    assert np.array_equal(batch(3).chain, batch(3).chain)
    assert not np.array_equal(batch(3).question, batch(4).question)


@pytest.mark.parametrize("name", ["twopaths-12x3", "twopeople-1to3", "prontoqa-1to3", "mult-2x2"])
def test_published_json_is_prepared_into_the_same_examples(name, tmp_path, capsys):
    out, again = tmp_path / "json", tmp_path / "text"
    command = ["data", name, "--out", str(out), "--format", "json"]
    sizes = ["--train", "40", "--valid", "10", "--test", "10"]
    assert main([*command, *sizes]) == 0
    assert main([*command, *sizes]) == 1
    assert "exists; give --out another folder" in capsys.readouterr().err
    assert main(["prepare", str(out), "--out", str(again)]) == 0
    assert "left out" not in capsys.readouterr().out
    config = DataConfig(task=name, train_examples=40, valid_examples=10, test_examples=10)
    expected, prepared = load_corpus(config), load_corpus(DataConfig(path=str(again)))
    for split in ("train", "valid", "test"):
        for part in ("question", "chain", "answer"):
            text = [split_marks(x) for x in getattr(prepared, split)[part]]
            assert text == [split_marks(x) for x in getattr(expected, split)[part]]


def test_in_context_examples_are_ignored(tmp_path):
    task = get_task("twopeople-2")
    write_json(tmp_path / "one.json", examples(task, 12), task)
    rows = json.loads((tmp_path / "one.json").read_text())
    for i, row in enumerate(rows.values()):
        row["in_context_example0"] = rows[f"example{(i + 1) % 12 + 1}"]["test_example"]
    rows["example13"] = {"in_context_example0": rows["example1"]["test_example"]}
    (tmp_path / "train.json").write_text(json.dumps(rows))
    reports = prepare(tmp_path / "train.json", held_out=2)
    assert sum(len(report.kept) for report in reports.values()) == 12
    assert dict(reports["train"].dropped) == {"an entry has no test_example": 1}
    assert reports["train"].first["an entry has no test_example"] == "train.json:example13"
