"""Sentences at the end of notebooks: right numbers, and what the data do not decide."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from icotlib.reporting import conclusions
from icotlib.reporting.conclusions import distillation, removal, sentences
from icotlib.reporting.statistics import Interval, Sample
from icotlib.runs import Run
from icotlib.system import terminal


def said(conclusion):
    return " ".join(conclusion.sentences)


# --- words -------------------------------------------------------------------------------------


def test_a_difference_is_stated_only_where_its_interval_leaves_out_none():
    higher = sentences.difference("the one", "the other", Interval(0.1, 0.05, 0.2))
    assert higher == (
        "The one answers more questions right than the other, by 10.0 points (95% interval 5.0 to "
        "20.0)."
    )
    lower = sentences.difference("the one", "the other", Interval(-0.1, -0.2, -0.05))
    assert (
        "fewer questions right than the other, by 10.0 points (95% interval 5.0 to 20.0)" in lower
    )
    for interval in (Interval(0.1, -0.05, 0.2), Interval(0.0, 0.0, 0.0), Interval(0.1, 0.0, 0.2)):
        assert "do not decide" in sentences.difference("a", "b", interval)


def test_variants_are_sorted_by_what_the_data_decide():
    answers = {"full": 0.9, "worse": 0.2, "alike": 0.9, "also worse": 0.5}
    samples = {name: Sample(np.array([x]), np.array([400])) for name, x in answers.items()}
    first, fewer, undecided = sentences.against_first("the method", samples)
    assert first.startswith("The method: “full” answers 90.0% (95% interval ")
    assert fewer.startswith("Fewer than “full”: “worse” by 70.0 points (95% interval ")
    assert "“also worse” by 40.0 points" in fewer
    assert undecided.startswith("Undecided beside “full”: “alike” by 0.0 points (")


def test_an_arm_of_one_seed_beside_one_of_three_is_not_compared():
    many, one = Sample(np.array([0.9, 0.91, 0.9]), np.full(3, 400)), np.array([0.2])
    samples = {"full": many, "worse": many, "single": Sample(one, np.array([400]))}
    *_, few = sentences.against_first("the method", samples)
    assert few == "Too few seeds for a comparison: “single” (20.0%)."
    assert sentences.about_arms([3, 3]) == sentences.about_seeds(3)
    assert sentences.about_arms([3, 1]) == (
        "The intervals are over 1 to 3 seeds and their questions; fewer than 3 are too few for a "
        "claim."
    )
    rows = [made_rows([0.99], "a", seed=0)]
    rows += [made_rows([0.5], "b", "no_cot", seed=seed) for seed in range(3)]
    text = said(conclusions.results(pd.concat(rows)))
    assert "the next is No CoT, 0 of 0 tokens removed, with too few seeds for a comparison" in text


def test_the_number_of_seeds_is_said():
    assert "one seed" in sentences.about_seeds(1)
    assert "2 seeds are too few" in sentences.about_seeds(2)
    assert "over 5 seeds" in sentences.about_seeds(5)


def test_a_conclusion_is_a_list_in_a_notebook_and_lines_elsewhere():
    made = conclusions.Conclusion(["a * b costs $5 at <sep>.", "second " * 30 + "end."])
    assert made._repr_markdown_().splitlines()[0] == r"- a \* b costs \$5 at \<sep\>."
    assert max(map(len, repr(made).splitlines())) <= 100


# --- runs --------------------------------------------------------------------------------------


def made_rows(accuracies, run="run", method="one_model", n=1000, examples=(100, 100), **more):
    """Rows of `results_table` of one run, a stage for each accuracy."""
    stages = range(len(accuracies))
    ends = np.linspace(*examples, len(accuracies)).astype(int)
    return pd.DataFrame(
        {
            "run": run, "method": method, "removed": stages, "unit": "tokens", "seed": 0,
            "chain_length": len(accuracies) - 1, "accuracy": accuracies, "n_test": n,
            "tokens_mean": [9.0 - stage for stage in stages], "train_examples": ends,
            "train_tokens": 10 * ends, "relative_speed": [1.0 + stage for stage in stages],
            "task": "mult-2x2", "variant": "", "configuration": run,
        }
        | more
    )  # fmt: skip


@pytest.fixture
def of_runs(monkeypatch, runs_folder):
    """Has `results_table` give made rows, and makes runs of the same names."""

    def make(*tables):
        rows = {table.run.iloc[0]: table for table in tables}
        monkeypatch.setattr(
            removal, "results_table", lambda runs: pd.concat(rows[run.name] for run in runs)
        )
        methods = {name: table.method.iloc[0] for name, table in rows.items()}
        return [
            SimpleNamespace(name=name, config=SimpleNamespace(method=method))
            for name, method in methods.items()
        ]

    return make


def test_the_tour_says_what_is_right_and_what_is_written(of_runs):
    [run] = of_runs(made_rows([1.0, 0.95, 0.9]))
    text = said(conclusions.tour(run))
    assert "answers 100.0% (95% interval 99.6% to 100.0%) of 1,000 unseen questions" in text
    assert "and 90.0% (95% interval 88.0% to 91.7%) with 2 of 2 chain tokens removed" in text
    assert "Removal costs 10.0 points" in text
    assert "writes 7.0 tokens on average instead of 9.0" in text
    assert "one seed" in text


def test_what_training_gained_meanwhile_is_not_credited_to_removal(of_runs):
    runs = of_runs(
        made_rows([0.6, 0.5, 0.99], "a", "icot_si", examples=(100, 900)),
        made_rows([1.0, 1.0, 1.0], "b"),
    )
    text = said(conclusions.stepwise(runs))
    assert "when removal began, after 100 examples" in text
    assert "Accuracy is higher without the steps, by 39.0 points" in text
    assert "while training went on" in text
    assert "do not decide whether removal costs accuracy" in text  # of the second
    assert "ICoT-SI answers fewer questions right than one model for all k, by 1.0 points" in text


def test_the_recipe_is_compared_with_what_changes_it(of_runs):
    names = ["paper", "pace 16", "never"]
    curves = [[0.9, 0.9, 0.9], [0.9, 0.2, 0.3], [0.0, 0.0, 0.0]]
    runs = of_runs(*(made_rows(x, name) for name, x in zip(names, curves, strict=True)))
    text = said(conclusions.schedule(dict(zip(names, runs, strict=True))))
    assert "Fewer than “paper”: “pace 16” by 60.0 points" in text
    assert "With “paper”, no stage ended below half" in text
    assert "With “pace 16”, 1 removed is the first stage that ended below half of its start" in text
    assert "later ones did not recover" in text
    assert "With “never”, no question was right with the whole chain" in text


@pytest.mark.parametrize(
    ("curve", "said_of_later"),
    [
        ([0.9, 0.9, 0.2], "2 removed is the first stage that ended below half of its start, and "
         "the last one"),
        ([0.9, 0.2, 0.9, 0.2], "of the 2 later ones, 1 ended below it too"),
        ([0.9, 0.2, 0.8, 0.9], "and later ones recovered"),
    ],
)  # fmt: skip
def test_stages_after_a_fall_are_all_looked_at(of_runs, curve, said_of_later):
    runs = of_runs(made_rows([0.9] * len(curve), "paper"), made_rows(curve, "other"))
    text = said(conclusions.schedule(dict(zip(["paper", "other"], runs, strict=True))))
    assert said_of_later in text


def test_the_costliest_removal_is_one_that_the_data_show(of_runs):
    table = made_rows([0.99, 0.98, 0.7, 0.7])
    [run] = of_runs(table)
    text = said(conclusions.removal_curve(run, table))
    assert "The costliest of its 3 removals is number 2: 28.0 points" in text
    assert "chosen as the largest of them" in text
    assert "4.0 times as many questions in the same time" in text
    table = made_rows([0.99, 0.98, 0.99])
    [run] = of_runs(table)
    assert "None of its 2 removals" in said(conclusions.removal_curve(run, table))


def test_the_best_configuration_is_told_from_the_next_only_by_the_data():
    close = pd.concat([made_rows([0.91], "a"), made_rows([0.9], "b", "no_cot")])
    assert "the data do not tell it from the next, No CoT" in said(conclusions.results(close))
    apart = pd.concat([made_rows([0.91], "a"), made_rows([0.1], "b", "no_cot")])
    assert "above the next, No CoT, 0 of 0 tokens removed, by 81.0 points" in said(
        conclusions.results(apart)
    )


def test_data_counts_questions_that_are_in_two_sets(tiny, monkeypatch):
    text = said(conclusions.data(tiny))
    assert "It never sees the 24 validation and 24 test questions: none of the first 160" in text
    data = removal.RunData(tiny)
    monkeypatch.setattr(removal, "RunData", lambda config: data)
    data._batches = lambda step: data.test[slice(0, 3)]
    assert "3 of the first 60" in said(conclusions.data(tiny))


# --- distillation ------------------------------------------------------------------------------


def answers(true, emulated, coupled, n=1000):
    """The first questions are the easy ones of every phase."""
    shares = {"true states": true, "emulated states": emulated, "coupled": coupled}
    return pd.DataFrame({name: np.arange(n) < share * n for name, share in shares.items()})


def test_what_emulation_loses_and_coupling_regains():
    text = said(conclusions.coupling(answers(1.0, 0.78, 0.99)))
    assert "Emulation loses 22.0 points" in text
    assert "Joint training regains 21.0 points" in text
    assert "of the 22.0 points lost" in text
    assert "coupled model answers fewer questions right than the student, by 1.0 points" in text
    undecided = said(conclusions.coupling(answers(0.5, 0.5, 0.5, n=50)))
    assert "do not decide whether emulation loses" in undecided
    assert "do not decide whether joint training regains any:" in undecided
    worse = said(conclusions.coupling(answers(1.0, 0.78, 0.5)))
    assert "does not regain any of the 22.0 points lost: it loses 28.0 points" in worse
    # Paired: both are right on the same questions, so that four more are more.
    few = said(conclusions.coupling(answers(0.93, 0.91, 0.92, n=400)))
    assert "Joint training regains 1.0 points (95% interval 0." in few


def test_emulation_is_measured_against_the_mean(monkeypatch):
    rng = np.random.default_rng(0)
    spreads = rng.uniform(0.5, 1.5, (200, 3))
    spreads[:, 0] = np.nan
    errors = spreads * np.array([0.5, 0.1, 0.3])

    def made(factor):
        monkeypatch.setattr(
            distillation, "emulation_errors", lambda run: (factor * errors, spreads)
        )
        return said(conclusions.emulation(Run("nowhere")))

    text = made(1)
    assert "explains 80.0% (95% interval 80.0% to 80.0%)" in text
    assert "over the 2 layers whose state varies; 70.0% in layer 2, the worst, and 90.0%" in text
    assert "worse than their mean" in made(20)


# --- inside ------------------------------------------------------------------------------------


def test_probes_are_counted_beside_their_controls():
    rows = pd.DataFrame(
        {"variable": ["t1", "t2", "t3"], "layer": 1, "position": "=", "probe": [0.9, 0.5, 0.4],
         "low": [0.85, 0.4, 0.3], "high": [0.95, 0.6, 0.5], "control": ["input", "input", "No CoT"],
         "control_score": [0.4, 0.5, 0.45], "selectivity": [0.5, 0.0, -0.05],
         "decodable": [True, False, False], "used": [True, True, False]}
    )  # fmt: skip
    numbers = pd.DataFrame({"score": [0.9, 0.5, 0.4], "control_score": [0.3, 0.2, 0.1]})
    text = said(conclusions.probing({"One model": rows}, {"One model": numbers}))
    assert "of 3 chain tokens, 1 can be decoded beyond every" in text
    assert "2 are used by the answer, and 1 both" in text
    assert "The clearest is t1, in layer 1 at =" in text
    assert "90.0% (95% interval 85.0% to 95.0%), the best control (input) in 40.0%" in text
    assert "most often “input”" in text
    assert "median R² 0.50 at the best state, and 0.20" in text


def test_the_state_that_carries_most_is_not_the_digit_itself():
    effects = pd.DataFrame(
        {"changed": "a0", "symbol": [0, 0, 1], "layer": [0, 1, 2], "position": [0, 1, 1],
         "effect": [1.0, 0.8, np.nan], "low": [0.9, 0.6, np.nan], "high": [1.0, 0.9, np.nan],
         "n": [40, 40, 0]}
    )  # fmt: skip
    ablated = pd.DataFrame(
        {"layer": [0, 1], "position": [0, 1], "symbol": -1, "accuracy": [0.2, 0.895],
         "low": [0.1, 0.8], "high": [0.3, 0.95], "intact": 0.9}
    )  # fmt: skip
    arguments = {"m": effects}, {"m": ablated}, {"m": ["a0", "="]}
    text = said(conclusions.causal(*arguments))
    assert "layer 1 at = carries most: with it, s0 follows a0 in 80.0%" in text
    assert "of 40 pairs" in text
    assert "Without the state of m in layer 0 at a0, 20.0% (95% interval 10.0% to 30.0%)" in text
    assert "instead of 90.0%" in text
    assert "50% of its states" in text
    arguments[0]["m"] = effects.assign(low=0.0)
    assert "do not tell this from no effect" in said(conclusions.causal(*arguments))


@pytest.mark.parametrize(("is_terminal", "columns", "width"), [(True, 60, 60), (True, 300, 100),
                                                               (False, 60, 100)])  # fmt: skip
def test_sentences_are_as_wide_as_the_terminal_and_a_hundred_at_most(
    is_terminal, columns, width, monkeypatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = SimpleNamespace(isatty=lambda: is_terminal)
    monkeypatch.setattr(terminal, "sys", SimpleNamespace(stdout=out))
    longest = max(map(len, repr(sentences.Conclusion(["word " * 100])).splitlines()))
    assert width - 5 < longest <= width


def test_no_difference_is_less_than_nothing():
    found = sentences.points(Interval(-0.0001, -0.003, 0.002))
    assert found == "0.0 points (95% interval -0.3 to 0.2)"
