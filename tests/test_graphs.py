"""ProsQA and its graphs: the published statistics, unique answers, and published files as tests."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from icotlib.cli import main
from icotlib.config import DataConfig, RunConfig
from icotlib.costs.cost import cost_of
from icotlib.data.batches import drawing, stream
from icotlib.data.corpus import examples_of, load_corpus
from icotlib.data.files import write_json
from icotlib.data.hold_out import is_in_sorted, same_keys_of_texts
from icotlib.data.layout import Layout
from icotlib.data.readers import read_file
from icotlib.data.run_data import RunData
from icotlib.data.symbols import symbol_tokenizer
from icotlib.data.training_questions import trained_on
from icotlib.errors import ConfigError, DataError
from icotlib.evaluation.on_file import evaluate_file, stood_in_training
from icotlib.evaluation.stage_model import StageModel
from icotlib.experiments import GRAPHS, PRESETS
from icotlib.tasks import get_task
from icotlib.tasks.base import PADDING
from icotlib.tasks.prose import split_marks, typeset
from icotlib.tasks.prosqa import CONCEPTS, PEOPLE
from icotlib.training.trainer import train
from tests.helpers import TINY_SIZES

WORDS = ["prosqa-10", "prosqa-23", "prosqa-23x5to6"]
NUMBERS = ["graph-10", "graph-23", "graph-32", "graph-23x5", "graph-23-frontier"]


def drawn(task, n, seed=0, **how):
    return task.sample(np.random.default_rng(seed), n)


def examples(task, n, seed=0):
    rng = np.random.default_rng(seed)
    return task.text(task.render(task.sample(rng, n), rng))


def graph_of(example):
    """Edges, root and candidates of a question, read from its text alone."""
    if "[Q]" in example.question:
        edges, _, rest = example.question.partition("[Q]")
        first, second, _, root = rest.split()
        return [tuple(part.split()) for part in edges.split("|")[:-1]], root, (first, second)
    text = split_marks(example.question)
    root, *candidates = re.search(r"Is (\w+) a (\w+) or (\w+) \?", text).groups()
    return re.findall(r"(\w+) is a (\w+) \.", text), root, tuple(candidates)


def nodes_of_chain(example):
    facts = re.findall(r"is a (\w+) \.", split_marks(example.chain))
    return facts or example.chain.split()


def answer_of(example):
    return split_marks(example.answer).split()[-2] if " " in example.answer else example.answer


def distances(edges, root):
    """How far everything is that is reached from a root."""
    far, front = {root: 0}, {root}
    while front:
        front = {b for a, b in edges if a in front} - set(far)
        far |= dict.fromkeys(front, max(far.values()) + 1)
    return far


# --- the published statistics ------------------------------------------------------------------


def measures(question):
    """What is counted of a question in the published form."""
    edges, words = [tuple(edge) for edge in question["edges"]], question["idx_to_symbol"]
    starts, ends = zip(*edges, strict=True)
    people = [node for node in range(len(words)) if node not in ends]
    far = distances(edges, question["root"])
    other = {person: distances(edges, person) for person in people if person != question["root"]}
    to_other = [d[question["neg_target"]] for d in other.values() if question["neg_target"] in d]
    return {
        "nodes": len(words),
        "edges": len(edges),
        "words": len(question["question"].split()),
        "people": len(people),
        "people besides two": len(people) > 2,
        "facts of the person": starts.count(question["root"]),
        "facts per person": sum(map(starts.count, people)) / len(people),
        "nodes reached": len(far),
        "steps to the other candidate": min(to_other),
        "the other candidate is nearer": min(to_other) < len(question["steps"]),
        "ends": sum(node not in starts for node in range(len(words))),
    } | {
        f"{n} steps": len(question["steps"]) == n for n in (3, 4, 5, 6)
    } | {
        f"nodes with {n} parents": sum(ends.count(node) == n for node in range(len(words)))
        for n in (1, 2, 3, 4)
    }  # fmt: skip


def test_generated_questions_have_the_statistics_of_the_published_ones(reference):
    path = reference / "prosqa" / "prosqa_valid.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    task = get_task("prosqa-23")
    published = [measures(row) for row in json.loads(path.read_text())]
    generated = [measures(row) for row in task.to_json(examples(task, 3000))]
    for name in published[0]:
        ours, theirs = (np.array([one[name] for one in rows]) for rows in (generated, published))
        error = np.sqrt(ours.var() * (1 / len(ours) + 1 / len(theirs)))
        assert abs(ours.mean() - theirs.mean()) < 3.5 * error, name
        if ours.max() > 1:
            assert 0.85 < ours.std() / theirs.std() < 1.18, name


def test_the_words_are_those_of_the_published_set(reference):
    path = reference / "prosqa" / "prosqa_valid.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    words = {word for row in json.loads(path.read_text()) for word in row["idx_to_symbol"]}
    assert words == {*PEOPLE, *CONCEPTS}


# --- questions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*WORDS, *NUMBERS])
def test_the_chain_is_a_shortest_path_to_the_only_candidate_reached(name):
    task = get_task(name)
    for example in examples(task, 200):
        edges, root, candidates = graph_of(example)
        far, answer, chain = distances(edges, root), answer_of(example), nodes_of_chain(example)
        assert [one for one in candidates if one in far] == [answer]
        assert task.steps[0] <= far[answer] == len(chain) <= task.steps[1]
        assert len(set(edges)) == len(edges) <= task.most_edges
        assert [far[node] for node in chain] == list(range(1, len(chain) + 1))
        if not name.endswith("frontier"):
            assert chain[-1] == answer
            assert set(zip([root, *chain], chain, strict=False)) <= set(edges)
        # nothing follows from a candidate, and the other one belongs to another root
        assert not set(candidates) & {start for start, _ in edges}
        (other,) = set(candidates) - {answer}
        ends = {end for _, end in edges}
        roots = {start for start, _ in edges} - ends - {root}
        assert any(other in distances(edges, start) for start in roots)
        assert all(far[node] < len(edges) for node in far)  # no cycle is met


@pytest.mark.parametrize("name", WORDS)
def test_people_are_those_without_parents(name):
    several = 0
    for example in examples(get_task(name), 200):
        edges, root, _ = graph_of(example)
        starts, ends = map(set, zip(*edges, strict=True))
        assert starts - ends == (starts | ends) & set(PEOPLE)
        assert root in PEOPLE
        assert set(re.findall(r"Every (\w+) is", example.question)) == starts - set(PEOPLE)
        assert example.answer == f"{root} is a {answer_of(example)} ."
        several += len(starts - ends) > 2
        steps = re.findall(r"(Every )?(\w+) is a \w+ \.", example.chain)
        assert [bool(every) for every, _ in steps] == [False] + [True] * (len(steps) - 1)
    assert several > 20


@pytest.mark.parametrize("name", ["prosqa-23", "graph-23"])
def test_the_answer_is_the_other_candidate_once_another_root_is_asked_about(name):
    task, changed = get_task(name), 0
    for example in examples(task, 100):
        edges, root, candidates = graph_of(example)
        (other,) = set(candidates) - {answer_of(example)}
        for start in {start for start, _ in edges} - {end for _, end in edges} - {root}:
            far = distances(edges, start)
            if set(candidates) & set(far) == {other} and far[other] <= task.steps[1]:
                asked, mark = ("Is {} a", "Is ") if "prosqa" in name else ("[R] {}", "[R]")
                assert mark in example.question
                question = example.question.replace(asked.format(root), asked.format(start))
                again = task.text(task.render(task.parse_question(question)))[0]
                assert answer_of(again) == other
                assert len(nodes_of_chain(again)) == far[other]
                changed += 1
    assert changed >= 95


@pytest.mark.parametrize("name", ["prosqa-23", "graph-23-frontier"])
def test_a_corrupted_question_has_a_root_that_leads_to_the_other_candidate_alone(name):
    task = get_task(name)
    questions = drawn(task, 300)
    corrupted, found = task.corrupted(questions)
    assert found.sum() > 250
    assert np.array_equal(corrupted[~found], questions[~found])
    assert np.array_equal(corrupted[:, 1:], questions[:, 1:])
    before, after = (task.text(task.render(one[found])) for one in (questions, corrupted))
    for own, other in zip(before, after, strict=True):
        edges, root, candidates = graph_of(other)
        far = distances(edges, root)
        assert (
            set(candidates) & set(far) == {answer_of(other)} == set(candidates) - {answer_of(own)}
        )
        assert 1 <= far[answer_of(other)] <= task.steps[1]


@pytest.mark.parametrize("name", ["prosqa-23", "graph-23"])
def test_the_order_of_the_candidates_decides_nothing(name):
    task = get_task(name)
    questions = drawn(task, 2000)
    swapped = questions.copy()
    swapped[:, [1, 2]] = questions[:, [2, 1]]
    assert np.array_equal(task.render(questions).answer, task.render(swapped).answer)
    texts = task.text(task.render(questions))
    first = np.mean([graph_of(text)[2][0] == answer_of(text) for text in texts])
    assert abs(first - 0.5) < 0.045


def test_numbers_of_nodes_say_nothing_about_the_answer():
    """Published numbers grow with the distance from the root; a model could count on that."""
    task = get_task("graph-23")
    questions = drawn(task, 4000)
    right, other = task.render(questions).answer[:, 0] + 1, questions[:, 1:3].sum(axis=1)
    assert abs(np.mean(right > other - right) - 0.5) < 0.032
    assert np.isin(questions[:, 0], [1, 2]).mean() < 0.1
    assert set(right) == set(range(1, task.drawn + 1))


def test_a_chain_is_drawn_anew_from_what_is_valid():
    question = "0 1 | 0 2 | 1 3 | 2 3 | 3 4 | 0 6 | 5 7 | [Q] 4 7 [R] 0"
    rng = np.random.default_rng(0)
    for name, allowed in (
        ("graph-10", {"1 3 4", "2 3 4"}),
        ("graph-10-frontier", {"1 3 4", "2 3 4", "6 3 4"}),
    ):
        task = get_task(name)
        row = task.parse_question(question)
        chains = [x.chain for x in task.text(task.render(np.repeat(row, 300, axis=0), rng))]
        assert set(chains) == allowed
        assert all(chains.count(chain) > 250 / len(allowed) - 40 for chain in allowed)
        assert task.text(task.render(row))[0] == (question, "1 3 4", "4")


def test_by_hand():
    task = get_task("prosqa-10")
    typed = (
        "Every terpus is a brimpus. Tom is a terpus. Davis is a shumpus. Tom is a dumpus. Every "
        "brimpus is a lempus. Every shumpus is a scrompus. Is Tom a scrompus or lempus?"
    )
    example = task.text(task.render(task.parse_question(typed)))[0]
    assert example == (
        split_marks(typed),
        "Tom is a terpus . Every terpus is a brimpus . Every brimpus is a lempus .",
        "Tom is a lempus .",
    )
    assert task.to_json([example]) == [
        {
            "question": typed,
            "steps": [
                *("Tom is a terpus.", "Every terpus is a brimpus.", "Every brimpus is a lempus.")
            ],
            "answer": "Tom is a lempus.",
            "idx_to_symbol": [
                *("Davis", "Tom", "brimpus", "dumpus", "lempus", "scrompus", "shumpus", "terpus")
            ],
            "edges": [[7, 2], [1, 7], [0, 6], [1, 3], [2, 4], [6, 5]],
            "root": 1,
            "target": 4,
            "neg_target": 5,
        }
    ]  # fmt: skip


@pytest.mark.parametrize("name", [*WORDS, *NUMBERS])
def test_questions_are_parsed_as_they_were_rendered(name):
    task = get_task(name)
    questions = drawn(task, 30, seed=1)
    for row, example in zip(questions, task.text(task.render(questions)), strict=True):
        assert np.array_equal(task.parse_question(example.question), row[None])
        assert np.array_equal(task.parse_question(typeset(example.question)), row[None])
    assert task.parse_question(task.example_question).shape == questions[:1].shape
    assert get_task(task.name).name == task.name == name


@pytest.mark.parametrize("name", ["graph-23-frontier", "prosqa-23x5to6"])
def test_smaller_questions_are_questions_of_the_task(name):
    task, largest = get_task(name), []
    for share in (0.0, 0.3, 1.0):
        rng = np.random.default_rng(1)
        questions = task.sample_up_to(rng, 300, share)
        assert questions.shape == drawn(task, 300).shape
        edges = (questions[:, 3::2] > 0).sum(axis=1)
        assert edges.min() == 2  # two roots with a child each
        largest.append(edges.max())
        for example in task.text(task.render(questions, rng))[:60]:
            found, root, candidates = graph_of(example)
            far, chain = distances(found, root), nodes_of_chain(example)
            assert [one for one in candidates if one in far] == [answer_of(example)]
            assert [far[node] for node in chain] == list(range(1, len(chain) + 1))
            assert 1 <= len(chain) <= task.steps[1]
    assert largest[0] == 2 < largest[1] < largest[2] / 2


def test_training_questions_grow_step_by_step_and_held_out_ones_do_not():
    sizes = {"valid_examples": 20, "test_examples": 20}
    plain = load_corpus(DataConfig(task="graph-12", **sizes))
    growing = load_corpus(DataConfig(task="graph-12", growth_steps=10, **sizes))
    assert growing.digest != plain.digest
    assert examples_of(growing.test) == examples_of(plain.test)
    draw = drawing(growing, 64, seed=0)
    edges = [int((draw(step)[0][:, 3::2] > 0).sum(axis=1).max()) for step in (0, 3, 10, 50)]
    assert edges[0] == 2 < edges[1] < min(edges[2:])
    assert np.array_equal(draw(3)[0], drawing(growing, 64, seed=0)(3)[0])
    config = RunConfig().override({"data.task": "graph-12", "data.growth_steps": 10})
    config = config.override({"train.steps": 12, "train.batch_size": 8})
    assert is_in_sorted(
        get_task("graph-12").canonical(drawing(load_corpus(config.data), 8, config.seed)(0)[0]),
        trained_on([config]),
    ).all()


def test_training_that_ends_before_questions_have_grown_is_refused():
    config = RunConfig().override({"data.task": "graph-12", "data.growth_steps": 10})
    with pytest.raises(ConfigError, match=r"growth_steps=10 is more than train.steps=9"):
        config.override({"train.steps": 9})


def test_no_held_out_question_is_trained_on_under_other_names():
    """Of small graphs many are the same but for the numbers of nodes and the order of edges."""
    corpus = load_corpus(DataConfig(task="graph-10", valid_examples=50, test_examples=50))
    task = corpus.task
    assert len(set(corpus.held_out)) == 100
    drawn = np.concatenate([drawing(corpus, 64, seed=0)(step)[0] for step in range(40)])
    assert not is_in_sorted(task.canonical(drawn), corpus.held_out).any()
    others = task.sample(np.random.default_rng(0), 2000)
    assert is_in_sorted(task.canonical(others), corpus.held_out).any()


def test_a_task_with_too_few_forms_of_questions_says_so(monkeypatch):
    task = get_task("graph-10")
    same = np.zeros(10_000, dtype=np.uint64)
    monkeypatch.setattr(type(task), "canonical", lambda self, questions: same[: len(questions)])
    with pytest.raises(ConfigError, match=r"only 1 were found .*lower data.valid_examples"):
        load_corpus(DataConfig(task="graph-10", valid_examples=5, test_examples=5))


def test_where_the_smallest_questions_are_held_out_growth_ends_with_an_error(tmp_path):
    task = get_task("graph-12")
    smallest = task.text(task.render(task.sample_up_to(np.random.default_rng(0), 1, 0.0)))
    write_json(tmp_path / "held.json", smallest, task)
    own = {"hold_out": str(tmp_path / "held.json"), "growth_steps": 10}
    corpus = load_corpus(DataConfig(task="graph-12", valid_examples=20, test_examples=20, **own))
    with pytest.raises(ConfigError, match=r"graph-12 begins with is held out.*data.hold_out"):
        drawing(corpus, 8, seed=0)(0)
    assert len(drawing(corpus, 8, seed=0)(9)[0]) == 8


def test_a_plan_of_growing_questions_tests_those_of_the_tasks_own_size():
    changes = {"data.task": "graph-23", "train.steps": 400, "method": "no_cot"}
    plain = RunConfig().override(changes)
    growing = plain.override({"data.growth_steps": 200})
    first, second = (cost_of(one, RunData(one)) for one in (plain, growing))
    assert second.evaluation - second.validation == pytest.approx(
        first.evaluation - first.validation
    )
    assert second.tokens < 0.8 * first.tokens


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"task": "mult-2x2"}, "mult-2x2 has no smaller questions"),
        ({"task": "graph-12", "train_examples": 50}, "a fixed training set"),
        ({"path": "here"}, "from files are taken as they are"),
    ],
)
def test_questions_that_cannot_grow_say_why(changes, why):
    with pytest.raises(ConfigError, match=rf"data.growth_steps: .*{why}.*growth_steps=null"):
        DataConfig(growth_steps=10, **changes)


@pytest.mark.parametrize("name", ["prosqa-32", "prosqa-23x5to6", "graph-23", "graph-32x6"])
def test_rows_are_small_and_as_wide_as_the_longest_example(name):
    task = get_task(name)
    questions = drawn(task, 400)
    assert np.array_equal(questions.astype(np.int8), questions)
    assert questions.min() >= 0
    many, single = task.render(questions), task.render(questions[:1])
    assert [x.shape[1] for x in many] == [x.shape[1] for x in single] == list(task.widths)
    assert len(task.question_names) == many.question.shape[1]
    for symbols in many:
        padding = symbols == PADDING
        assert not (padding[:, :-1] & ~padding[:, 1:]).any()  # only at the end of a row
        assert symbols.max() < len(task.symbols)


@pytest.mark.parametrize("name", ["prosqa-23", "graph-23", "graph-23-frontier"])
def test_batches_encode_like_their_text(name):
    task = get_task(name)
    layout = Layout(symbol_tokenizer(task.symbols))
    batch = task.render(drawn(task, 40), np.random.default_rng(1))
    fast, slow = layout.encode_symbols(batch, task), layout.encode(task.text(batch))
    for field in ("ids", "question", "chain", "total"):
        assert np.array_equal(getattr(fast, field), getattr(slow, field))


@pytest.mark.parametrize("name", ["prosqa-23", "graph-23", "graph-18-frontier"])
def test_shifts_have_longer_paths_and_no_other_symbols(name):
    task = get_task(name)
    shifts = task.shifts()
    assert shifts
    for label, other in shifts.items():
        steps = {len(nodes_of_chain(x)) for x in examples(other, 20)}
        assert steps == {int(label.split()[0])}
        assert min(steps) > task.steps[1]
        assert other.symbols == task.symbols
        assert name.endswith("frontier") == other.name.endswith("frontier")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "prosqa-20x4x1",
            "number of nodes, as in prosqa-23; or nodes and steps, as in prosqa",
        ),
        ("graph-x", "number of nodes, as in graph-23"),
        ("graph-9", "10 to 32, got 9"),
        ("prosqa-33", "10 to 32, got 33"),
        ("graph-23x8", "with 23 nodes a path has 2 to 7 steps, got 8 to 8"),
        ("graph-23x5to4", "got 5 to 4"),
        ("prosqa-12x5", "with 12 nodes a path has 2 to 4 steps"),
        ("prosqa-23-frontier", "number of nodes"),
    ],
)
def test_a_size_that_cannot_be_says_so(name, message):
    with pytest.raises(ConfigError, match=message):
        get_task(name)


@pytest.mark.parametrize(
    ("name", "typed", "message"),
    [
        ("graph-10", "0 1 | 1 2 [Q] 2 3", "type edges, candidates and root: .* \\[R\\]"),
        ("graph-10", "0 1 | 1 [Q] 2 3 [R] 0", "type edges"),
        ("graph-10", "0 1 | 1 2 | [Q] 2 3 [R] 99", "node 99: graph-10 has nodes 0 to 11"),
        ("graph-10", "0 1 | 1 2 | [Q] 3 4 [R] 0", "lead to neither candidate"),
        ("graph-10", "0 1 | 1 2 | [Q] 1 2 [R] 0", "lead to both candidates"),
        ("graph-10", "0 1|1 2|2 3|3 4|4 5|[Q] 5 6 [R] 0", "has 5 steps, graph-10 has up to 4"),
        ("graph-10", "0 1 | " * 25 + "[Q] 1 3 [R] 0", "has 25 facts, graph-10 has up to 24"),
        ("prosqa-10", "Tom is a terpus.", "type facts and a question about a person: "),
        ("prosqa-10", "Tom is a rock. Is Tom a rock or terpus?", "'rock' is none of the people"),
        ("prosqa-10", "Tom is a terpus. Every terpus is nice. Is Tom a terpus or lempus?",
         "something else"),
        ("prosqa-10", "Tom is a terpus. terpus is a lempus. Is Tom a lempus or dumpus?",
         "a concept without 'Every'"),
        ("prosqa-10", "Every terpus is a lempus. Is terpus a lempus or dumpus?", "about a concept"),
        ("prosqa-10", "Tom is a terpus. Is Tom a lempus or dumpus?", "neither candidate"),
    ],
)  # fmt: skip
def test_text_that_is_no_question_says_why(name, typed, message):
    with pytest.raises(ValueError, match=message):
        get_task(name).parse_question(typed)


# --- one question in several forms -------------------------------------------------------------


def renumbered(task, questions, seed=0):
    """The same graphs with other numbers, the edges and candidates in another order."""
    rng = np.random.default_rng(seed)
    numbers = rng.permuted(np.tile(np.arange(1, task.n_names + 1), (len(questions), 1)), axis=1)
    numbers = np.hstack([np.zeros((len(questions), 1), dtype=int), numbers])
    changed = np.take_along_axis(numbers, questions, axis=1)
    changed[:, [1, 2]] = changed[:, [2, 1]]
    edges = changed[:, 3:].reshape(len(changed), -1, 2)
    order = np.argsort(np.where(edges[:, :, 0] > 0, rng.random(edges.shape[:2]), 2), axis=1)
    changed[:, 3:] = np.take_along_axis(edges, order[:, :, None], axis=1).reshape(len(changed), -1)
    return changed


def test_canonical_keys_know_a_graph_by_its_form_alone():
    task = get_task("graph-23")
    questions = drawn(task, 500)
    keys = task.canonical(questions)
    assert len(np.unique(keys)) == 500
    changed = renumbered(task, questions)
    assert not (changed == questions).all(axis=1).any()
    assert np.array_equal(task.canonical(changed), keys)
    # an edge turned around, an edge less, another root, another candidate
    turned = questions.copy()
    turned[:, [3, 4]] = questions[:, [4, 3]]
    less = questions.copy()
    last = (questions[:, 3::2] > 0).sum(axis=1) - 1
    less[np.arange(500), 3 + 2 * last] = less[np.arange(500), 4 + 2 * last] = 0
    rooted, asked = questions.copy(), questions.copy()
    rooted[:, 0] = asked[:, 2] = questions[:, 3]
    assert (task.canonical(turned) != keys).mean() > 0.98  # it may lie apart from all else
    assert (task.canonical(less) != keys).all()
    assert np.array_equal(task.canonical(rooted) != keys, rooted[:, 0] != questions[:, 0])
    assert np.array_equal(task.canonical(asked) != keys, asked[:, 2] != questions[:, 2])


def test_a_question_with_other_names_and_order_stood_in_training_too():
    config = RunConfig().override(TINY_SIZES | {"data.task": "graph-12", "train.steps": 3})
    task, corpus = get_task("graph-12"), load_corpus(config.data)
    trained, _ = drawing(corpus, config.train.batch_size, config.seed)(1)
    others = drawn(task, 5, seed=9)
    asked = np.concatenate([renumbered(task, trained), others])
    texts = [one.question for one in task.text(task.render(asked))]
    assert stood_in_training(config, texts).tolist() == [True] * len(trained) + [False] * 5


def test_published_questions_are_all_different_in_form(reference):
    task = get_task("graph-23x3to6")
    report = read_file(reference / "prosqa" / "prosqa_valid.json", task)
    keys, known = same_keys_of_texts(task, [example.question for example in report.kept])
    assert known.all()
    assert len(np.unique(keys)) == 300


SIZES = {"valid_examples": 30, "test_examples": 30}


@pytest.mark.parametrize("name", ["graph-10", "prosqa-10"])
def test_no_question_of_a_file_is_drawn_in_any_form(name, tmp_path):
    """The file has what would be drawn first, with other numbers or names and in other orders."""
    task = get_task(name)
    before = load_corpus(DataConfig(task=name, **SIZES))
    rows = [task.parse_question(x) for x in before.valid["question"]]
    batch = np.concatenate([*rows, drawn(task, 30, seed=5)])
    if name.startswith("graph"):
        batch = renumbered(task, batch)
    else:
        batch[:, 3:] = batch[:, 3:].reshape(len(batch), -1, 2)[:, ::-1].reshape(len(batch), -1)
        gaps = (batch[:, 3:] == 0).sum(axis=1)  # the facts begin where the row does
        for row, gap in zip(batch, gaps, strict=True):
            row[3:] = np.roll(row[3:], -gap)
    held = set(task.canonical(batch).tolist())
    write_json(tmp_path / "held.json", task.text(task.render(batch)), task)
    corpus = load_corpus(DataConfig(task=name, hold_out=str(tmp_path / "held.json"), **SIZES))
    assert corpus.file_questions.questions == 60
    assert corpus.file_questions.foreign == 0
    assert set(corpus.file_questions.keys.tolist()) == held
    assert corpus.digest != before.digest
    assert corpus.file_questions.met == 0  # nothing is trained on yet
    for part in (corpus.valid, corpus.test):
        questions = np.concatenate([task.parse_question(x) for x in part["question"]])
        assert not held & set(task.canonical(questions).tolist())
    shown = task.text(stream(corpus, 200, seed=0)(0))
    keys, _ = same_keys_of_texts(task, [example.question for example in shown])
    assert not held & set(keys.tolist())


def test_the_published_file_is_held_out_of_both_forms(reference):
    path = str(reference / "prosqa" / "prosqa_valid.json")
    corpus = load_corpus(DataConfig(task="prosqa-23", hold_out=path, **SIZES))
    assert (corpus.file_questions.questions, corpus.file_questions.foreign) == (300, 0)
    corpus = load_corpus(DataConfig(task="graph-23", hold_out=path, **SIZES))
    assert (corpus.file_questions.questions, corpus.file_questions.foreign) == (257, 0)


def test_a_file_may_hold_graphs_that_a_smaller_task_never_draws(tmp_path):
    """They are no questions of it, and need not be kept out; a row without a question must be."""
    larger, smaller = get_task("graph-23"), DataConfig(task="graph-12", **SIZES)
    rows = get_task("graph-12").to_json(examples(get_task("graph-12"), 5))
    path = tmp_path / "graphs.json"
    path.write_text(json.dumps(rows + larger.to_json(examples(larger, 5))))
    corpus = load_corpus(replace(smaller, hold_out=str(path)))
    assert corpus.file_questions.questions >= 5
    path.write_text(json.dumps([*rows, {"question": "of some other form"}]))
    with pytest.raises(DataError, match=r"1 row whose questions could not be kept out"):
        load_corpus(replace(smaller, hold_out=str(path)))


# --- published files ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["prosqa-12", "graph-12", "graph-12-frontier"])
def test_published_json_is_read_as_it_was_written(name):
    task = get_task(name)
    written = examples(task, 50)
    for row, example in zip(task.to_json(written), written, strict=True):
        assert task.read_json(json.loads(json.dumps(row))) == example


@pytest.mark.parametrize(
    ("name", "kind"), [("graph-12", "a list of nodes"), ("prosqa-12", "a list of sentences")]
)
def test_steps_that_are_no_list_are_refused(name, kind):
    task = get_task(name)
    row = json.loads(json.dumps(task.to_json(examples(task, 1))[0]))
    with pytest.raises(ValueError, match=f"steps are {kind}, not '17 2 25'"):
        task.read_json(row | {"steps": "17 2 25"})


def test_a_graph_is_read_from_words_with_new_numbers():
    words, task = get_task("prosqa-23x3to4"), get_task("graph-23")
    rows = words.to_json(examples(words, 200))
    read = [task.read_json(row) for row in rows]
    assert read == [task.read_json(row) for row in rows]  # the same every time
    first = []
    for row, example in zip(rows, read, strict=True):
        edges, root, candidates = graph_of(example)
        assert answer_of(example) == nodes_of_chain(example)[-1]
        assert len(nodes_of_chain(example)) == len(row["steps"])
        # each node has the parents and children that its word has
        for names, number in ((row["edges"], row["root"]), (row["edges"], row["target"])):
            node = root if number == row["root"] else answer_of(example)
            for side in (0, 1):
                count = sum(edge[side] == number for edge in names)
                assert sum(edge[side] == node for edge in edges) == count
        assert len(edges) == len(row["edges"])
        first.append(candidates[0] == answer_of(example))
    assert 60 < sum(first) < 140
    assert len({graph_of(example)[1] for example in read}) > 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": [[0, 1]]}, "lead to neither candidate"),
        ({"edges": 3}, "'3' is no edge"),
        ({"edges": None}, "cannot read its columns"),
        ({"edges": [[0, 1], [2]]}, "is no edge, which is a pair"),
        ({"edges": [[0, "x"]]}, "'x' is no number of a node"),
        ({"root": -1}, "'-1' is no number of a node"),
        ({"target": 5, "neg_target": 4}, "lead to the other candidate, not to the target"),
        (
            {"edges": [[0, x] for x in range(1, 20)]},
            "has 20 nodes, graph-10 has up to 12",
        ),
    ],
)
def test_an_object_that_is_no_graph_of_the_task_is_left_out(tmp_path, change, message):
    row = {"edges": [[0, 1], [1, 2], [2, 4], [3, 5]], "root": 0, "target": 4, "neg_target": 5}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row, row | change]))
    report = read_file(path, get_task("graph-10"))
    assert len(report.kept) == 1
    assert len(report.kept[0].chain.split()) == 3
    assert re.search(message, next(iter(report.dropped)))
    assert "1 from rows.json as graph-10: edges, root, target, neg_target" in "\n".join(
        report.lines("test")
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"answer": "Tom is a dumpus."},
            "facts lead to 'lempus', and the answer is 'Tom is a d",
        ),
        ({"steps": ["Tom is a terpus."]}, "do not lead from Tom to lempus"),
        ({"steps": ["Tom is a lempus."]}, "not among the facts"),
        ({"steps": []}, "do not lead"),
        ({"question": "Tom is a terpus. Is Tom a lempus or dumpus?"}, "lead to neither candidate"),
        ({"question": "Tom is a rock. Is Tom a rock or dumpus?"}, "'rock' is none of the people"),
    ],
)
def test_sentences_whose_answer_does_not_follow_are_left_out(tmp_path, change, message):
    row = {
        "question": "Every terpus is a lempus. Tom is a terpus. Sam is a dumpus. "
        "Is Tom a lempus or dumpus?",
        "steps": ["Tom is a terpus.", "Every terpus is a lempus."],
        "answer": "Tom is a lempus.",
    }
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row, row | change]))
    report = read_file(path, get_task("prosqa-10"))
    assert [x.chain for x in report.kept] == ["Tom is a terpus . Every terpus is a lempus ."]
    assert re.search(message, next(iter(report.dropped)))


LONG = (
    "Tom is a terpus. Every terpus is a lempus. Every lempus is a wumpus. Every wumpus is a "
    "zumpus. Every zumpus is a yumpus. Sam is a dumpus. Is Tom a yumpus or dumpus?"
)


@pytest.mark.parametrize("name", ["prosqa-12", "graph-12"])
def test_a_run_is_evaluated_on_a_published_file(runs_folder, tmp_path, capsys, name):
    """Words and numbers from one file; what has more steps than the graphs is left out."""
    words = get_task("prosqa-12")
    written = examples(get_task("prosqa-12x3to4"), 14)
    written += words.text(words.render(words.parse_question(LONG)))
    path = tmp_path / "test.json"
    write_json(path, written, words)
    run = train(RunConfig().override(TINY_SIZES | {"data.task": name, "method": "no_cot"}))
    result = evaluate_file(StageModel.of(run, device="cpu"), path)
    assert main(["evaluate", run.name, str(path)]) == 0
    printed = capsys.readouterr().out
    assert "none of its questions stood in training" in printed
    reason = f"left out: 1 because the shortest way to the answer has 5 steps, {name} has up to 4"
    if name.startswith("graph"):
        assert len(result.table) == 14
        assert reason in printed
        assert all("[R]" in question for question in result.table.question)
    else:
        assert result.table.answer.tolist() == [x.answer for x in written]
        assert "left out" not in printed


def test_the_published_files_are_read_whole(reference):
    folder = reference / "prosqa"
    words, graphs = get_task("prosqa-23"), get_task("graph-23")
    for name, task, kept, dropped in (
        ("prosqa_valid", words, 300, 0),
        ("graph_valid", words, 257, 0),
        ("graph_valid", graphs, 257, 0),
        ("prosqa_valid", graphs, 257, 43),
    ):
        report = read_file(folder / f"{name}.json", task)
        assert (len(report.kept), sum(report.dropped.values())) == (kept, dropped)
    rows = json.loads((folder / "graph_valid.json").read_text())
    layers = [task["neighbor_k"] for task in graphs.to_json(read_file(
        folder / "graph_valid.json", graphs).kept)]  # fmt: skip
    for ours, row in zip(layers, rows, strict=True):
        assert {k: len(v) for k, v in ours.items()} == {
            k: len(v) for k, v in row["neighbor_k"].items()
        }


@pytest.mark.parametrize("name", ["prosqa-12", "graph-12"])
def test_generated_json_is_prepared_into_the_same_examples(name, tmp_path, capsys):
    out, again = tmp_path / "json", tmp_path / "text"
    sizes = ["--train", "40", "--valid", "10", "--test", "10"]
    assert main(["data", name, "--out", str(out), "--format", "json", *sizes]) == 0
    assert main(["prepare", str(out), "--out", str(again)]) == 0
    assert "left out" not in capsys.readouterr().out
    config = DataConfig(task=name, train_examples=40, valid_examples=10, test_examples=10)
    expected, prepared = load_corpus(config), load_corpus(DataConfig(path=str(again)))
    for split in ("train", "valid", "test"):
        texts = [
            [tuple(map(split_marks, x)) for x in examples_of(getattr(corpus, split))]
            for corpus in (prepared, expected)
        ]
        assert texts[0] == texts[1]


# --- methods on graphs -------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_methods_on_graphs_share_data_model_examples_and_stages(preset):
    configs = {name: make(preset) for name, make in GRAPHS.items()}
    assert len({config.run_name for config in configs.values()}) == len(configs)
    decays = {one.optim.decay_fraction for one in configs.values()}
    assert len(decays) == (2 if preset == "fast" else 1)  # SIM-CoT's was tuned
    alike = [replace(one.optim, decay_fraction=0.0) for one in configs.values()]
    assert all(one == alike[0] for one in alike)
    assert len({(one.data, repr(one.model), one.train) for one in configs.values()}) == 1
    stages = {
        name: config.spec.make_schedule(config, 4).stages(config.train.steps)
        for name, config in configs.items()
        if name in ("graph_coconut", "graph_pause_as_thought", "graph_icot_si")
    }
    assert [removed for _, removed in stages["graph_coconut"]] == [0, 1, 2, 3, 4]
    assert all(one == stages["graph_coconut"] for one in stages.values())


def test_a_toy_method_on_graphs_trains_with_graphs_that_grow(runs_folder):
    run = train(GRAPHS["graph_coconut"]("smoke"))
    assert run.stages.removed.tolist() == [0, 1, 2, 3, 4]
    assert run.config.data.growth_steps == 20
