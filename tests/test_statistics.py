"""Statistics over seeds and questions, against hand-worked numbers, scipy and planted effects."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from icotlib.config import RunConfig
from icotlib.errors import RunError
from icotlib.reporting import comparison, groups, statistics
from icotlib.reporting.comparison import compare
from icotlib.reporting.groups import Group, find_group, group_runs
from icotlib.reporting.results import results_table
from icotlib.reporting.samples import paired_answers, sample_of
from icotlib.reporting.statistics import (
    Sample,
    difference_interval,
    fisher,
    mcnemar,
    mean_interval,
    success_rate,
    wilson_interval,
)
from icotlib.runs import Run, all_runs
from icotlib.training.trainer import train
from tests.helpers import TINY, TINY_SIZES

RNG = np.random.default_rng(0)


def answers(seeds: int, questions: int, share: float, spread: float = 0.0) -> np.ndarray:
    """Answers `[seeds, questions]` whose seeds differ by `spread` (standard deviation)."""
    shares = (share + spread * RNG.normal(size=(seeds, 1))).clip(0, 1)
    return RNG.random((seeds, questions)) < shares


# --- one configuration -------------------------------------------------------------------------


def test_one_seed_has_the_interval_of_its_questions():
    right = np.arange(200) < 180
    interval = mean_interval(Sample.of(right))
    exact = stats.binomtest(180, 200).proportion_ci(method="wilson")
    assert interval == pytest.approx((0.9, exact.low, exact.high))
    assert mean_interval(Sample(np.array([0.9]), np.array([200]))) == pytest.approx(interval)


def test_seeds_that_are_all_right_do_not_have_an_empty_interval():
    interval = mean_interval(Sample.of(np.ones((3, 1000), bool)))
    assert interval.value == interval.high == 1
    assert interval.low == pytest.approx(wilson_interval(1000, 1000)[0])


def test_many_seeds_give_the_interval_of_students_t():
    """Where questions are many, only seeds vary, and their means are the whole sample."""
    right = answers(8, 20_000, 0.7, spread=0.05)
    means = right.mean(axis=1)
    expected = stats.t.interval(0.95, 7, means.mean(), stats.sem(means))
    low, high = mean_interval(Sample.of(right))[1:]
    assert (low, high) == pytest.approx(expected, abs=0.012)


def test_seeds_that_fail_on_the_same_questions_are_no_larger_test_set():
    """Ten copies of one run know no more than one test set does."""
    one = answers(1, 400, 0.8)
    copies = mean_interval(Sample.of(np.repeat(one, 10, axis=0)))
    apart = mean_interval(Sample.of(answers(10, 400, 0.8)))
    alone = wilson_interval(one.sum(), 400)
    assert copies.high - copies.low == pytest.approx(alone[1] - alone[0], rel=0.1)
    assert apart.high - apart.low < 0.7 * (copies.high - copies.low)


def coverage(seeds: int, skill: float, spread: float, runs: int = 200) -> float:
    """How often intervals hold the true mean, of seeds of different skill (standard deviation
    `spread`) on questions of different difficulty."""
    rng, difficulty = np.random.default_rng(seeds), 0.5
    truth = stats.norm.cdf(skill / np.sqrt(1 + spread**2 + difficulty**2))
    covered = 0
    for number in range(runs):
        score = skill + spread * rng.normal(size=(seeds, 1)) + difficulty * rng.normal(size=300)
        right = score + rng.normal(size=(seeds, 300)) > 0
        interval = mean_interval(Sample.of(right), draws=500, seed=number)
        covered += interval.low <= truth <= interval.high
    return covered / runs


def test_the_interval_covers_the_truth():
    assert 0.9 <= coverage(3, 0.8, 0.5) < 1
    assert 0.9 <= coverage(5, 0.8, 0.5) < 1
    assert coverage(5, 0.8, 0.0) >= 0.95


def test_the_guide_is_right_to_warn_of_seeds_that_rarely_fail():
    """Most seeds are near the top: three of them do not show how far the others fall."""
    assert coverage(3, 2.0, 1.0) < 0.9


def test_a_large_sample_is_drawn_in_blocks(monkeypatch):
    sample = Sample.of(answers(5, 300, 0.6, 0.1))
    whole = mean_interval(sample)
    monkeypatch.setattr(statistics, "BLOCK", 1000)
    assert mean_interval(sample) == pytest.approx(whole)


def test_unknown_answers_have_the_wider_interval():
    """Without single answers, seeds may have failed on the same questions."""
    known = Sample.of(answers(4, 100, 0.6, 0.02))
    unknown = Sample(known.accuracy, known.n)
    narrow, wide = mean_interval(known), mean_interval(unknown)
    assert wide.value == narrow.value
    assert wide.low < narrow.low < narrow.high < wide.high
    assert not known.asked_as(unknown)


def test_the_same_draws_every_time():
    sample = Sample.of(answers(3, 100, 0.5, 0.1))
    assert mean_interval(sample) == mean_interval(sample)


def test_success_is_a_share_of_seeds():
    rate = success_rate(np.array([0.97, 0.95, 0.94]))
    exact = stats.binomtest(2, 3).proportion_ci(method="wilson")
    assert rate == pytest.approx((2 / 3, exact.low, exact.high))


# --- two configurations ------------------------------------------------------------------------


def test_no_seed_has_no_mean():
    for measure in (lambda: success_rate([]), lambda: Sample(np.array([]), np.array([]))):
        with pytest.raises(RunError, match="there is no seed"):
            measure()


def test_a_planted_difference_is_found_and_none_is_invented():
    hard = RNG.normal(size=1000)

    def made(skill: float) -> Sample:
        return Sample.of(skill + hard + 0.3 * RNG.normal(size=(5, 1000)) > 0)

    better, worse, same = made(1.2), made(0.9), made(0.9)
    found = difference_interval(better, worse)
    assert found.low > 0
    assert found.low < stats.norm.cdf(1.2 / 1.044) - stats.norm.cdf(0.9 / 1.044) < found.high
    none = difference_interval(worse, same)
    assert none.low < 0 < none.high


def test_pairing_narrows_the_interval_where_the_same_questions_are_hard():
    hard = RNG.normal(size=500)
    first, second = (Sample.of(x + hard + 0.2 * RNG.normal(size=(3, 500)) > 0) for x in (0, 0.1))
    apart = Sample(second.accuracy, second.n, second.right, "other questions")
    paired, unpaired = difference_interval(first, second), difference_interval(first, apart)
    assert paired.value == unpaired.value
    assert paired.high - paired.low < 0.7 * (unpaired.high - unpaired.low)


def test_the_difference_of_one_run_each_is_that_of_its_questions():
    """Against the normal approximation of a paired difference: (b - c) / n."""
    first, second = answers(1, 2000, 0.8)[0], answers(1, 2000, 0.7)[0]
    paired = first.astype(float) - second
    expected = stats.norm.interval(0.95, paired.mean(), stats.sem(paired))
    low, high = difference_interval(Sample.of(first), Sample.of(second))[1:]
    assert (low, high) == pytest.approx(expected, abs=0.003)


def test_runs_that_answer_alike_have_a_difference_of_nothing_but_not_for_sure():
    sample = Sample.of(answers(1, 100, 0.7))
    found = difference_interval(sample, sample)
    assert found.value == 0
    assert found.high == -found.low == pytest.approx(wilson_interval(0, 100)[1])


def test_mcnemar_by_hand():
    """Only 8 questions differ, 7 of them one way: p = 2 * (1 + 8) / 2^8."""
    first = np.array([True] * 7 + [False] * 1 + [True] * 20)
    second = np.array([False] * 7 + [True] * 1 + [True] * 20)
    assert mcnemar(first, second) == (7, 1, pytest.approx(2 * 9 / 256))
    assert mcnemar(first, first) == (0, 0, 1.0)
    with pytest.raises(RunError, match="one run answered 28, the other 27"):
        mcnemar(first, second[1:])


def test_fisher_by_hand():
    """Three successes of three against none of three: one table of twenty on each side."""
    a, b, p, least = fisher(np.array([1.0, 0.96, 0.95]), np.array([0.1, 0.2, 0.94]))
    assert (a, b) == (3, 0)
    assert p == least == pytest.approx(2 / 20)


# --- groups of runs ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Tiny runs: three seeds of two methods, a setting that hides behind no label, a label."""
    patch = pytest.MonkeyPatch()
    patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("runs")))
    base = RunConfig().override(TINY)
    bare = base.override({"method": "no_cot"})
    for seed in (0, 1, 2):
        train(base.override(seed=seed))
        train(bare.override(seed=seed))
    train(bare.override({"train.steps": 16}))
    train(bare.override(label="again"))
    train(base.override({"data.test_examples": 20, "label": "fewer"}))
    yield base, bare
    patch.undo()


def test_every_question_is_kept(trained):
    run = Run.of(trained[0])
    kept = run.answers
    assert kept.groupby("removed").right.mean().tolist() == run.stages.accuracy.tolist()
    assert len(kept) == 24 * len(run.stages)
    first = kept[(kept.removed == 0) & (kept.number < 8)]
    samples = run.samples[run.samples.removed == 0]
    for column in ("question", "answer", "written", "right"):
        assert first[column].tolist() == samples[column].tolist()


def test_groups_differ_in_more_than_the_seed(trained):
    """A label separates nothing, and a setting separates even without a label."""
    found = group_runs(all_runs())
    sizes = {(g.config.method, g.config.train.steps, g.config.data.test_examples): g for g in found}
    assert {key: len(group.runs) for key, group in sizes.items()} == {
        ("one_model", 12, 24): 3,
        ("one_model", 12, 20): 1,
        ("no_cot", 12, 24): 3,
        ("no_cot", 16, 24): 1,
    }
    assert [run.config.label for run in sizes["no_cot", 12, 24].runs] == ["", "", ""]
    table = results_table(all_runs())
    assert set(table.configuration) == {group.key for group in found}


def test_the_seed_of_a_phase_is_no_setting_and_its_settings_are():
    def config(phase: dict, **own) -> RunConfig:
        teacher = RunConfig().override(TINY_SIZES | {"method": "explicit_cot"} | phase)
        changes = TINY_SIZES | {"method": "kd_student", "phases": {"teacher": teacher}}
        return RunConfig().override(changes | own)

    plain = groups.compared_settings(config({}))
    assert groups.compared_settings(config({"seed": 1}, seed=1)) == plain
    longer = groups.compared_settings(config({"train.steps": 13}))
    assert groups.differing([plain, longer]) == ["teacher.train.steps"]
    words = groups.differences_in_words({"a": plain, "b": longer})
    assert words == {"a": "teacher.train.steps=12", "b": "teacher.train.steps=13"}


def test_a_default_is_named_by_its_value(trained):
    base, _ = trained
    every = {"a": base, "b": base.override({"optim.lr": 0.5, "model.options": {"x": 1}})}
    settings = {key: groups.compared_settings(config) for key, config in every.items()}
    assert groups.differences_in_words(settings) == {
        "a": "model.options={}, optim.lr=0.001",
        "b": 'model.options={"x": 1}, optim.lr=0.5',
    }


def test_other_data_and_other_numerics_are_another_group(trained, monkeypatch):
    run = Run.of(trained[0])
    key = groups.configuration(run)
    origin = run.provenance
    for change in ({"numerics": 99}, {"data": "other"}):
        monkeypatch.setattr(Run, "provenance", property(lambda self, c=change: origin | c))
        assert groups.configuration(run) != key
    older = {name: x for name, x in origin.items() if name != "numerics"}
    keys = []
    for one in (older, older | {"numerics": 1}):
        monkeypatch.setattr(Run, "provenance", property(lambda self, one=one: one))
        keys.append(groups.configuration(run))
    assert keys[0] == keys[1]  # runs that do not say it are of the first version


def names(group: Group) -> list[str]:
    return [run.name for run in group.runs]


def test_a_name_stands_for_all_seeds_or_for_one_run(trained):
    bare = trained[1]
    group = find_group("one_model")
    assert [run.config.seed for run in group.runs] == [0, 1, 2]
    assert names(find_group(group.key)) == names(group)
    assert names(find_group(bare.run_name)) == [bare.run_name]
    with pytest.raises(RunError, match=r"no run under .* begins with 'nothing'"):
        find_group("nothing")
    with pytest.raises(RunError, match="several configurations") as error:
        find_group("no_cot")
    assert "3 seeds: train.steps=12" in str(error.value)
    assert "1 seed: train.steps=16" in str(error.value)


def test_comparing_groups(trained):
    bare = trained[1]
    key = groups.configuration(Run.of(bare))
    found = compare("one_model", key)
    assert found.paired
    assert set(found.settings.setting) == {"method", "removal.warmup_steps"}
    assert found.stages.removed.tolist() == list(range(9))
    last = found.stages.iloc[-1]
    assert last.A_seeds == last.B_seeds == 3
    shown = found.titled(found.stages)
    assert {"A: One model for all k", "B: No CoT_low"} <= set(shown)
    assert len(last.runs.split()) == 6
    assert found.stages.A_less_B.notna().tolist() == [False] * 8 + [True]
    assert "3 seeds each" in found.words[1]
    assert "Both answered the same 24 questions" in found.words[2]
    assert "with so few seeds, p is at least 0.10" in found.words[3]
    with pytest.raises(RunError, match="there is no stage with 3 removed"):
        compare("one_model", key, removed=3)
    assert compare(key, key).words[0] == "Both sides are the same runs."
    assert "Both sides are the same runs." not in found.words


def test_comparing_two_runs_supports_no_claim_about_methods(trained):
    names = [Run.of(trained[1].override(seed=seed)).name for seed in (0, 1)]
    found = compare(*names)
    assert found.settings.empty
    assert "questions alone, one seed" in found.words[0]
    assert "needs at least 3 seeds" in found.words[1]
    assert "McNemar's exact test" in found.words[3]


def test_different_test_sets_are_not_paired(trained):
    base, _ = trained
    other = base.override({"data.test_examples": 20, "label": "fewer"})
    with pytest.raises(RunError, match=r"different questions \(24 and 20\).*data\.test_examples"):
        paired_answers(Run.of(base), Run.of(other), (8, 8))
    found = compare(base.run_name, other.run_name)
    assert not found.paired
    assert "different questions (24 and 20)" in found.words[2]
    assert not any("McNemar" in sentence for sentence in found.words)


def test_a_run_without_single_answers_is_compared_by_its_accuracy(trained, monkeypatch, tmp_path):
    base, bare = trained
    file = Run.of(base).folder / "answers.parquet"
    moved = file.rename(tmp_path / file.name)
    done, known = Run.of(base).folder / "done.json", (Run.of(base).folder / "done.json").read_text()
    older = {name: x for name, x in json.loads(known).items() if name not in ("files", "sha256")}
    done.write_text(json.dumps(older))  # as runs were stored before every answer was kept
    try:
        with pytest.raises(RunError, match=r"no answers\.parquet"):
            Run.of(base).answers  # noqa: B018
        rows = results_table([Run.of(base)])
        assert sample_of(rows[rows.removed == 8]).right is None
        found = compare(base.run_name, bare.run_name)
        assert not found.paired
        assert "no answers.parquet" in found.words[2]
    finally:
        moved.rename(file)
        done.write_text(known)


WORDS = [
    (0.9, 0.6, 5, "A is better: A minus B is 3", r"A: (89|90)\.\d%"),
    (0.6, 0.9, 5, "B is better: A minus B is -", r"A: (59|60)\.\d%"),
    (0.6, 0.6, 5, "No difference is shown: ", r"A: (59|60)\.\d%"),
    (0.9, 0.6, 2, "needs at least 3 seeds", r"A: (89|90)\.\d%"),
]


@pytest.mark.parametrize(("first", "second", "seeds", "expected", "of_first"), WORDS)
def test_conclusions_in_words(first, second, seeds, expected, of_first, trained, monkeypatch):
    made = {"one_model": first, "no_cot": second}

    def sample(rows: pd.DataFrame) -> Sample:
        method = rows.method.iloc[0]
        rng = np.random.default_rng(list(made).index(method))
        return Sample.of(rng.random((seeds, 2000)) < made[method])

    monkeypatch.setattr(comparison, "sample_of", sample)
    groups_ = [Group(g.key, g.runs) for g in group_runs(all_runs()) if len(g.runs) == 3]
    in_order = sorted(groups_, key=lambda group: list(made).index(group.config.method))
    found = comparison.compare(*in_order)
    assert expected in found.words[1]
    assert re.search(of_first, found.words[0])


def test_the_mean_over_seeds_has_students_interval():
    found = statistics.mean_over_seeds(np.array([1.0, 2.0, 3.0]))
    half = 4.302653 / np.sqrt(3)  # Student's t at 97.5% with two degrees of freedom; their sd is 1
    assert found.value == 2
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))
    wider = statistics.mean_over_seeds(np.array([1.0, 2.0, 3.0]), shared=1.0)
    assert wider.high - 2 == pytest.approx(np.hypot(half, 1.959964))
