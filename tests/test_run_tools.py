"""Tools around a folder of runs: summaries, tables as files, filters, archives, cleaning up."""

import errno
import io
import json
import os
import re
import shutil
import tarfile
import time
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import icotlib as icot
from icotlib.cli import main
from icotlib.config import RunConfig
from icotlib.errors import ConfigError, RunError, RunWarning
from icotlib.reporting import figures, tables
from icotlib.reporting.cleanup import delete, removable
from icotlib.reporting.groups import (
    compared_settings,
    differences_in_words,
    distinct_variants,
    group_runs,
)
from icotlib.reporting.results import learning_table, results_table
from icotlib.reporting.selection import matching
from icotlib.reporting.statistics import wilson_interval
from icotlib.reporting.summary import summary
from icotlib.runs import Run, all_runs, begins
from icotlib.sharing.archive import export_runs, import_runs
from icotlib.training.trainer import Trainer, train
from tests.helpers import TINY, TINY_SIZES

LINEAR = {
    "method": "icot_si",
    "removal.schedule": "linear",
    "removal.pace": 1,
    "removal.steps_per_epoch": 2,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Tiny runs: two paces of one schedule at several seeds, a method that builds on another."""
    patch = pytest.MonkeyPatch()
    patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("runs")))
    base = RunConfig().override(TINY | LINEAR)
    teacher = RunConfig().override(TINY_SIZES | {"method": "explicit_cot", "preset": "smoke"})
    student = TINY_SIZES | {"method": "kd_student", "phases": {"teacher": teacher}}
    runs = {
        "seed 0": base,
        "seed 1": base.override(seed=1),
        "again": base.override(label="again"),
        "slow": base.override({"removal.pace": 0.5}),
        "student": RunConfig().override(student),
    }
    yield {name: train(config) for name, config in runs.items()} | {"teacher": Run.of(teacher)}
    patch.undo()


# --- summaries and tables ----------------------------------------------------------------------


def test_a_summary_has_a_row_per_configuration(trained):
    rows = summary()
    stepwise = rows[rows.method == "ICoT-SI"].set_index("settings")
    assert stepwise.seeds.to_dict() == {"removal.pace=1.0": 2, "removal.pace=0.5": 1}
    one = stepwise.loc["removal.pace=0.5"]
    stage = trained["slow"].stages.iloc[-1]
    low, high = wilson_interval(stage.accuracy * 24, 24)
    assert one.interval_over == "24 questions, one seed"
    measured = [one.accuracy, one.accuracy_low, one.accuracy_high]
    assert measured == [round(100 * x, 1) for x in (stage.accuracy, low, high)]
    both = stepwise.loc["removal.pace=1.0"]
    assert both.interval_over == "2 seeds, 24 questions"
    assert both.runs.split() == [trained["seed 0"].name, trained["seed 1"].name]
    teacher = rows[rows.method == "Explicit CoT"].iloc[0]
    assert teacher.settings == ""  # its name alone tells it apart


def test_a_summary_of_rows_is_that_of_the_runs(trained, monkeypatch, tmp_path):
    table = results_table(all_runs())
    pd.testing.assert_frame_equal(summary(table), summary(all_runs()))
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path))  # the folders of the runs are elsewhere
    assert summary(table).seeds.tolist() == [1, 2, 1, 1]
    table.to_csv(tmp_path / "table.csv", index=False)
    pd.testing.assert_frame_equal(summary(pd.read_csv(tmp_path / "table.csv")), summary(table))
    with pytest.raises(ConfigError, match=r"make it with icot\.results_table"):
        summary(table.drop(columns="configuration"))
    for stages in (99, "first"):
        with pytest.raises(ConfigError, match=rf"stages={stages!r}: give 'last', 'all' or a stage"):
            summary(table, stages=stages)
    read = pd.read_csv(tmp_path / "table.csv")
    pd.testing.assert_series_equal(
        distinct_variants(read).variant, distinct_variants(table).variant, check_dtype=False
    )


def test_a_summary_by_a_setting_has_its_column(trained):
    runs = matching(all_runs(), {"method": "icot_si"})
    rows = summary(runs, by="removal.pace")
    assert rows["removal.pace"].tolist() == [0.5, 1.0]
    with pytest.raises(ConfigError, match=r"reads the setting 'removal\.pase'"):
        summary(runs, by="removal.pase")
    every = summary(runs, stages="all")
    assert every[every.seeds == 2].removed.tolist() == [0, 1, 2, 3, 4]
    assert summary(runs, stages=2).removed.tolist() == [2, 2]
    assert summary([]).empty


# --- runs that build on others -----------------------------------------------------------------


@pytest.fixture(params=["missing", "damaged"])
def lost(request, trained, tmp_path):
    """A phase that another run builds on, which is not there or not whole during the test."""
    teacher, kept = trained["teacher"].folder, tmp_path / "kept"
    shutil.copytree(teacher, kept)
    if request.param == "missing":
        shutil.rmtree(teacher)
    else:
        (teacher / "done.json").write_text("{")
    yield trained["teacher"]
    shutil.rmtree(teacher, ignore_errors=True)
    shutil.copytree(kept, teacher)


@pytest.mark.filterwarnings("always:left out:icotlib.errors.RunWarning")
def test_a_run_whose_phase_is_lost_is_left_out_of_tables_and_named(lost, trained, capsys):
    student = trained["student"].name
    with pytest.warns(RunWarning, match=f"{student} builds on {lost.name}"):
        table = results_table(all_runs())
    others = {run.name for run in trained.values()} - {student, lost.name}
    assert set(table.run) == others
    shown = {name for names in summary().runs for name in names.split()}
    assert shown == others - {trained["again"].name}  # of the same seed as another
    assert main(["runs", "--csv"]) == 0
    said = capsys.readouterr()
    assert student not in said.out
    assert f"{student} builds on {lost.name}" in said.err
    with pytest.raises(RunError, match="builds on a run that is missing or damaged"):
        icot.compare(student, trained["slow"].name)


def of_seeds(own: int, teachers: int) -> RunConfig:
    """A student of this seed, whose teacher has that one."""
    teacher = RunConfig().override(TINY_SIZES | {"method": "explicit_cot", "seed": teachers})
    settings = {"method": "kd_student", "seed": own, "phases": {"teacher": teacher}}
    return RunConfig().override(TINY_SIZES | settings)


def test_the_seed_of_a_phase_that_is_not_the_runs_is_a_setting(runs_folder):
    same, other = compared_settings(of_seeds(0, 0)), compared_settings(of_seeds(0, 1))
    assert compared_settings(of_seeds(1, 1)) == same
    assert other == same | {"teacher.seed": 1}
    words = differences_in_words({"a": same, "b": other})
    assert words == {"a": "teacher.seed=the run's", "b": "teacher.seed=1"}
    runs = []
    for config in (of_seeds(0, 0), of_seeds(0, 1), of_seeds(1, 1)):
        runs.append(Run.of(config))
        runs[-1].begin(config, "cpu", {"data": "x", "trained_with": {}})
    sizes = [len(group.runs) for group in group_runs(runs)]
    assert sorted(sizes) == [1, 2]


# --- tables as files ---------------------------------------------------------------------------


@pytest.fixture
def small():
    """A table with everything that needs care: an interval, a gap, characters, large numbers."""
    return pd.DataFrame(
        {
            "method": ["A|B_1", "50% & more"],
            "variant": ["", ""],
            "accuracy": [97.25, np.nan],
            "accuracy_low": [96.1, np.nan],
            "accuracy_high": [98.0, np.nan],
            "relative_speed": [0.981, 1.0],
            "train_examples": [153_600, 96],
            "configuration": ["k1", "k2"],
            "runs": ["r1 r2", "r3"],
        }
    )


MARKDOWN = r"""
| method | accuracy (%) | speed, No CoT = 1 | training examples |
| --- | --- | --- | --- |
| A\|B_1 | 97.2 (96.1 to 98.0) | 0.98 | 153,600 |
| 50% & more | - | 1.00 | 96 |

<!--
row 1: r1 r2
row 2: r3
-->
"""

LATEX = r"""
% row 1: r1 r2
% row 2: r3
\begin{tabular}{lrrr}
\toprule
method & accuracy (\%) & speed, No CoT = 1 & training examples \\
\midrule
A|B\_1 & 97.2 (96.1 to 98.0) & 0.98 & 153,600 \\
50\% \& more & - & 1.00 & 96 \\
\bottomrule
\end{tabular}
"""


def test_tables_of_every_kind(small, tmp_path, runs_folder):
    for name, expected in (("t.md", MARKDOWN), ("t.tex", LATEX)):
        written = icot.write_table(small, tmp_path / "new" / name)
        assert written[0].read_text() == expected.lstrip("\n")
        assert json.loads(written[1].read_text())["rows"] == [["r1", "r2"], ["r3"]]
    icot.write_table(small, tmp_path / "t.csv")
    read = pd.read_csv(tmp_path / "t.csv", keep_default_na=False, na_values={"accuracy": ""})
    assert read.columns.tolist() == small.columns.tolist()
    assert read.runs.tolist() == ["r1 r2", "r3"]
    with pytest.raises(ConfigError, match=r"a table ends in \.csv, \.md or \.tex"):
        icot.write_table(small, tmp_path / "t.xlsx")


def test_a_table_for_a_terminal_says_what_is_shared_once(small):
    small["unit"], small["removed"] = "tokens", [12, 3]
    above, *rows = tables.as_text(small).splitlines()
    assert above == "all rows: unit tokens"
    assert len(rows) == 3
    _, *narrow = tables.as_text(small, 50).splitlines()
    assert max(map(len, narrow)) <= 50
    blocks = [line.split()[0] for line in narrow if line[:1] in ("1", "2")]
    assert blocks == ["1", "2"] * (len(blocks) // 2) != ["1", "2"]
    assert "unit" in tables.as_text(small[:1]).splitlines()[0].split()  # a row by itself


def test_a_table_keeps_its_origin_where_another_has_its_name(small, tmp_path, runs_folder):
    icot.write_table(small, tmp_path / "t.md")
    icot.write_table(small, tmp_path / "t.tex")  # the same rows
    before = (tmp_path / "t.json").read_text()
    with pytest.raises(ConfigError, match=r"t\.json says where the rows of t\.(md|tex) come from"):
        icot.write_table(small[:1], tmp_path / "t.csv")
    with pytest.raises(ConfigError, match=r"delete t\.md, or write both at once"):
        icot.write_table(small[:1], tmp_path / "t.csv", tmp_path / "t.tex")
    assert (tmp_path / "t.json").read_text() == before
    every = [tmp_path / f"t{kind}" for kind in (".md", ".tex")]
    assert icot.write_table(small[:1], *every) == [*every, tmp_path / "t.json"]
    assert json.loads((tmp_path / "t.json").read_text())["rows"] == [["r1", "r2"]]
    assert all("r3" not in path.read_text() for path in every)


def test_quantities_in_one_column_are_each_rounded_as_they_need():
    rows = pd.DataFrame({"mean": ["speed", "steps", "seconds"], "A": [0.38, 1200, 151.37]})
    rows["A"] = pd.Series([0.384, 1200, 151.37], dtype=object)
    assert tables.presented(rows).A.tolist() == ["0.384", "1,200", "151.4"]


def test_both_accuracies_of_a_stage_are_in_percent():
    rows = pd.DataFrame({"accuracy": [0.5], "answer_accuracy": [0.75]})
    assert tables.presented(rows).loc[0].to_dict() == {
        "accuracy (%)": "50.0",
        "answer accuracy (%)": "75.0",
    }


def test_a_table_without_runs_has_nothing_beside_it(small, tmp_path):
    assert icot.write_table(small.drop(columns="runs"), tmp_path / "t.md") == [tmp_path / "t.md"]
    assert "<!--" not in (tmp_path / "t.md").read_text()


def test_every_row_of_a_summary_names_its_origin(trained, tmp_path):
    rows = summary()
    _, beside = icot.write_table(rows, tmp_path / "summary.tex")
    origin = json.loads(beside.read_text())
    assert origin["rows"] == [names.split() for names in rows.runs]
    known = {run["run"]: run for run in origin["runs"]}
    assert known.keys() == {name for row in origin["rows"] for name in row}
    one = known[trained["slow"].name]
    assert one["data"] == trained["slow"].provenance["data"]
    assert {"commit", "device", "seed"} <= one.keys()


def test_numbers_are_shown_alike():
    assert [tables.shown(x) for x in (1.25, 0.0, np.int64(1200), None, np.nan, "x")] == [
        *("1.2", "0.0", "1,200", "-", "-", "x")
    ]


# --- choosing ----------------------------------------------------------------------------------


def chosen(*words: str, capsys) -> list[str]:
    assert main(["runs", *words]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["run", "key", "right", "trained"]
    return [line.split()[0] for line in lines]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--method icot_si --seed 1", {"seed 1"}),
        ("--where removal.pace=0.5", {"slow"}),
        ("--where removal.pace=1 --where label=again", {"again"}),
        ("--where teacher.train.steps=12", {"student"}),
        ("--preset smoke", {"teacher"}),
        ("--where optim.lr=1e-3 --method explicit_cot", {"teacher"}),  # text in YAML
        ("--task mult-2x2 --method explicit_cot --finished", {"teacher"}),
    ],
)
def test_runs_are_filtered_by_any_setting(words, expected, trained, capsys):
    assert set(chosen(*words.split(), capsys=capsys)) == {trained[name].name for name in expected}


def test_a_filter_that_no_method_reads_is_a_mistake(trained, capsys):
    assert main(["runs", "--where", "removal.pase=1"]) == 1
    assert "Did you mean 'removal.pace'" in capsys.readouterr().err
    assert main(["runs", "--where", "removal.pace"]) == 1
    assert "--where needs SETTING=VALUE" in capsys.readouterr().err
    assert main(["runs", "--unfinished"]) == 0
    assert "no such run among the" in capsys.readouterr().out


def test_a_filter_that_is_given_twice_must_say_the_same(trained, capsys):
    assert chosen("--seed", "1", "--where", "seed=1", capsys=capsys) == [trained["seed 1"].name]
    assert main(["runs", "--seed", "1", "--where", "seed=0"]) == 1
    assert "--seed 1 and --where seed=0 leave no run" in capsys.readouterr().err


def test_runs_are_found_by_the_file_that_they_hold_out(runs_folder, tmp_path, capsys, monkeypatch):
    held = tmp_path / "held.txt"
    held.write_text("1 1 * 2 2||a #### 4\n")
    config = RunConfig().override(TINY | {"data.hold_out": str(held)})
    Run.of(config).begin(config, "cpu", {"data": "hash"})
    monkeypatch.chdir(tmp_path)
    for value in (str(held), "held.txt", config.data.hold_out):
        assert chosen("--where", f"data.hold_out={value}", capsys=capsys) == [config.run_name]
    assert main(["runs", "--where", "data.hold_out=other.txt"]) == 0
    assert "no such run among the" in capsys.readouterr().out


def test_runs_are_sorted(trained, capsys, monkeypatch):
    names = chosen("--sort", "name", capsys=capsys)
    assert names == sorted(run.name for run in trained.values())
    accuracies = {name: number / 10 for number, name in enumerate(names)}
    stages = Run.stages.fget
    made = property(lambda self: stages(self).assign(accuracy=accuracies[self.name]))
    monkeypatch.setattr(Run, "stages", made)
    assert chosen("--sort", "accuracy", capsys=capsys) == names[::-1]
    old = trained["slow"].folder / "done.json"
    os.utime(old, (1e9, 1e9))
    assert chosen("--sort", "date", capsys=capsys)[-1] == trained["slow"].name


def test_the_list_names_what_compare_takes(trained, capsys):
    assert main(["runs", "--method", "icot_si", "--seed", "1"]) == 0
    key = capsys.readouterr().out.splitlines()[1].split()[1]
    assert main(["compare", key, trained["slow"].name]) == 0
    out = capsys.readouterr().out
    assert re.search(r"removal\.pace +1\.0 +0\.5", out)
    assert "A claim about the two configurations needs" in " ".join(out.split())


def test_a_comparison_is_written_as_a_file(trained, tmp_path, capsys):
    names = [trained["seed 0"].name, trained["seed 1"].name]
    command = ["compare", *names, "--csv", str(tmp_path / "c.csv"), "--md", str(tmp_path / "c")]
    assert main(command) == 0
    table = pd.read_csv(tmp_path / "c.csv")
    assert table.runs.tolist() == [" ".join(names)] * 5
    assert (tmp_path / "c.md").read_text().startswith("| removed | ")
    assert "none but the seed" in capsys.readouterr().out
    # Both are replaced together by a comparison of other runs.
    assert main([*command[:2], trained["slow"].name, *command[3:]]) == 0
    assert pd.read_csv(tmp_path / "c.csv").runs.str.contains(trained["slow"].name).any()
    assert trained["slow"].name in (tmp_path / "c.md").read_text()
    capsys.readouterr()
    assert main(["compare", "nothing", names[0]]) == 1
    assert "begins with 'nothing'; see `icot runs`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--threshold", "0"], "2 of 2 seeds of A and 1 of 1 of B reach 0%: no difference"),
        ([], "0 of 2 seeds of A and 0 of 1 of B reach 95%: no difference"),
    ],
)
def test_the_accuracy_at_which_a_seed_succeeds_can_be_set(trained, capsys, words, said):
    assert main(["runs", "--method", "icot_si", "--seed", "1"]) == 0
    key = capsys.readouterr().out.splitlines()[1].split()[1]
    assert main(["compare", key, trained["slow"].name, *words]) == 0
    assert said in " ".join(capsys.readouterr().out.split())


def test_the_summary_is_printed_and_written(trained, tmp_path, capsys):
    assert main(["runs", "--method", "icot_si", "--summary"]) == 0
    assert "removal.pace=0.5" in capsys.readouterr().out
    assert main(["runs", "--tex", str(tmp_path / "s.tex"), "--csv", str(tmp_path / "s.csv")]) == 0
    assert len(pd.read_csv(tmp_path / "s.csv")) == 4
    assert r"\toprule" in (tmp_path / "s.tex").read_text()


def test_a_table_is_written_to_a_folder_that_is_made_for_it(trained, tmp_path, capsys):
    for number, more in enumerate(([], ["--summary"])):
        file = tmp_path / f"new-{number}" / "results.csv"
        assert main(["runs", "--csv", str(file), *more]) == 0
        assert len(pd.read_csv(file))
    assert main(["runs", "--csv", str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--csv", "--sort", "date"], "--csv has an order of its own: leave out --sort"),
        (["--summary", "--sort", "name"], "leave out --sort"),
        (["--summary", "export", "x.tar.gz"], "export prints no list: leave out --summary"),
        (["--seed", "0", "ship", "x"], "does not choose runs by filters: leave out --seed"),
        (["--unfinished", "import", "x"], "leave out --unfinished"),
    ],
)
def test_what_a_list_of_runs_would_ignore_is_refused(trained, capsys, words, said):
    assert main(["runs", *words]) == 1
    assert said in capsys.readouterr().err


def test_a_file_of_the_users_beside_a_table_is_never_replaced(trained, tmp_path, capsys):
    own = tmp_path / "package.json"
    for text in ('{"name": "mine", "version": "1"}', "[]", '{"runs": [1], "x": 2}', "{"):
        own.write_text(text)
        assert main(["runs", "--summary", "--md", str(tmp_path / "package.md")]) == 1
        assert "choose another name" in capsys.readouterr().err
        assert own.read_text() == text
        assert not (tmp_path / "package.md").exists()
    for _ in range(2):  # its own it may replace
        assert main(["runs", "--summary", "--md", str(tmp_path / "mine.md")]) == 0
        assert main(["runs", "--csv", str(tmp_path / "results.csv")]) == 0
    mine = {tmp_path / "notes.md": "my notes", tmp_path / "data.csv": "mine\n1\n"}
    names = [trained["seed 0"].name, trained["seed 1"].name]
    for path, text in mine.items():
        path.write_text(text)
    for words in (
        ["runs", "--summary", "--md", "notes.md"],
        ["compare", *names, "--md", "notes"],
        ["runs", "--csv", "data.csv"],
        ["runs", "--summary", "--csv", "data.csv"],
    ):
        *rest, name = words
        assert main([*rest, str(tmp_path / name)]) == 1
        assert "another" in capsys.readouterr().err
    assert {path: path.read_text() for path in mine} == mine


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "icot-si"], "no method is called 'icot-si'.* Did you mean 'icot_si'"),
        (["--where", "method=icotsi"], "no method is called 'icotsi'"),
        (["--preset", "smok"], "no preset is called 'smok'.* Did you mean 'smoke'"),
    ],
)
def test_a_filter_that_is_misspelt_is_an_error(trained, capsys, words, message):
    assert main(["runs", *words]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_a_table_of_no_run_replaces_nothing(trained, tmp_path, capsys):
    for words, file in ((["--summary", "--csv"], "s.csv"), (["--csv"], "r.csv")):
        path = tmp_path / file
        assert main(["runs", *words, str(path)]) == 0
        before = path.read_text()
        assert main(["runs", "--preset", "paper", *words, str(path)]) == 1
        assert "is not written" in capsys.readouterr().err
        assert path.read_text() == before


# --- archives ----------------------------------------------------------------------------------


@pytest.fixture
def archive(trained, tmp_path) -> Path:
    """An archive of two runs, one of which builds on a third."""
    export_runs([trained["seed 0"], trained["student"]], tmp_path / "runs.tar.gz")
    return tmp_path / "runs.tar.gz"


@pytest.fixture
def elsewhere(trained, tmp_path, monkeypatch) -> Path:
    """Another folder of runs, which is empty."""
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere"


def test_tables_and_figures_are_drawn_again_from_an_archive(archive, trained, tmp_path, elsewhere):
    imported, present = import_runs(archive)
    names = {run.name for run in imported}
    assert names == {trained[name].name for name in ("seed 0", "student", "teacher")}
    assert present == []
    assert {path.name for path in elsewhere.iterdir()} == names
    original = [trained[name] for name in ("seed 0", "student")]
    here = [Run(elsewhere / run.name) for run in original]
    pd.testing.assert_frame_equal(results_table(here), results_table(original))
    pd.testing.assert_frame_equal(here[0].answers, original[0].answers)
    drawn = []
    for number, runs in enumerate((here, original)):
        table, learning = results_table(runs), learning_table(runs)
        figure = figures.headline(table, learning)
        written = figures.save_published(figure, "headline", table, runs, tmp_path / str(number))
        drawn.append([path.read_bytes() for path in written])
    assert drawn[0] == drawn[1]
    with pytest.raises(RunError, match="imported without them"):
        here[0].weights()


def test_a_run_is_not_imported_without_those_it_builds_on(archive, trained, tmp_path, elsewhere):
    """No table could say what it took."""
    teacher = trained["teacher"].name
    members = {name: x for name, x in contents(archive).items() if not name.startswith(teacher)}
    lacking = packed(tmp_path / "lacking.tar.gz", members)
    with pytest.raises(RunError, match=f"builds on {teacher}, which is not finished"):
        import_runs(lacking)
    assert list(elsewhere.iterdir()) == []
    import_runs(archive)
    assert len(import_runs(lacking)[1]) == 2  # the teacher is here


def test_an_archive_with_weights_answers_questions(trained, tmp_path, elsewhere):
    export_runs([trained["seed 0"]], tmp_path / "runs.tgz", weights=True)
    import_runs(tmp_path / "runs.tgz")
    one = Run(elsewhere / trained["seed 0"].name)
    assert icot.load(one, 2).evaluate().accuracy == one.stages.accuracy[2]


def test_what_is_there_already_stays(archive, trained, elsewhere):
    import_runs(archive)
    done = elsewhere / trained["seed 0"].name / "done.json"
    done.write_text(json.dumps({"seconds": 1234}))
    imported, present = import_runs(archive)
    assert imported == []
    assert len(present) == 3
    assert json.loads(done.read_text()) == {"seconds": 1234}


def test_damaged_weights_are_not_exported(tiny_run, tmp_path):
    weights = tiny_run.folder / "model" / "model.safetensors"
    weights.write_bytes(b"0" + weights.read_bytes()[1:])
    with pytest.raises(RunError, match="has changed since it was written: put it back"):
        export_runs([tiny_run], tmp_path / "runs.tgz", weights=True)
    assert not (tmp_path / "runs.tgz").exists()
    export_runs([tiny_run], tmp_path / "tables.tgz")


def test_a_run_without_weights_is_not_exported_with_them(tiny_run, tmp_path):
    shutil.rmtree(tiny_run.folder / "model")
    with pytest.raises(RunError, match="has no weights"):
        export_runs([tiny_run], tmp_path / "runs.tgz", weights=True)
    export_runs([tiny_run], tmp_path / "tables.tgz")


def test_damaged_results_are_not_exported(tiny_run, tmp_path):
    stages = tiny_run.folder / "stages.csv"
    stages.write_text(stages.read_text().replace("1", "2"))
    with pytest.raises(RunError, match=r"stages\.csv has changed"):
        export_runs([tiny_run], tmp_path / "runs.tgz")
    assert not (tmp_path / "runs.tgz").exists()


@pytest.mark.parametrize(
    ("file", "content", "lacking"),
    [
        (
            "done.json",
            b'{"seconds": 1}',
            r"done\.json is damaged \(it has no chain_length, examples",
        ),
        ("stages.csv", b"a,b\n1,2\n", r"stages\.csv is damaged \(it has no accuracy, ci_high"),
    ],
)
def test_a_run_without_what_tables_are_drawn_from_is_not_imported(
    file, content, lacking, archive, tmp_path, trained, elsewhere
):
    """Of a run without hashes, as old ones are."""
    members, name = contents(archive), trained["seed 0"].name
    totals = json.loads(members[f"{name}/done.json"])
    kept = {key: totals[key] for key in ("chain_length", "examples", "seconds", "step", "tokens")}
    members[f"{name}/done.json"] = json.dumps(kept).encode()
    members[f"{name}/{file}"] = content
    with pytest.raises(RunError, match=lacking):
        import_runs(packed(tmp_path / "changed.tar.gz", members))
    assert list(elsewhere.iterdir()) == []


def test_a_full_disk_is_not_the_archives_fault(archive, elsewhere, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        import_runs(archive)
    assert list(elsewhere.iterdir()) == []


def test_a_line_that_was_cut_spoils_no_other_of_the_history(tiny_run):
    path = tiny_run.folder / "history.jsonl"
    before = tiny_run.history.event.tolist()
    path.write_text(path.read_text() + '{"event": "resu')
    tiny_run.log("stopped", 7)
    assert tiny_run.history.event.tolist() == [*before, "stopped"]
    assert tiny_run.history.step.iloc[-1] == 7


def test_only_finished_runs_are_exported_to_a_new_file(trained, tmp_path, archive):
    with pytest.raises(RunError, match="exists: delete it"):
        export_runs([trained["slow"]], archive)
    with pytest.raises(RunError, match=r"ends in \.tar\.gz"):
        export_runs([trained["slow"]], tmp_path / "runs.zip")
    with pytest.raises(RunError, match="nothing to export"):
        export_runs([], tmp_path / "none.tar.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["runs.tar.gz"]


def packed(path: Path, *members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    """An archive of these members."""
    with tarfile.open(path, "w:gz") as made:
        for name, content in chain.from_iterable(one.items() for one in members):
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                made.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return path


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo("x")
    member.type, member.linkname = kind, target
    return member


ATTACKS = {
    "above": ("../outside/config.json", b"{}"),
    "inside above": ("run/../../config.json", b"{}"),
    "absolute": ("/icot-outside/config.json", b"{}"),
    "hidden": (".locks/config.json", b"{}"),
    "no run": ("config.json", b"{}"),
    "code": ("run/model/modeling.py", b"import os"),
    "pickle": ("run/model/pytorch_model.bin", b"\x80"),
    "deep": ("run/model/../../x.json", b"{}"),
    "newline": ("run\n/config.json", b"{}"),
    "symlink": ("run/config.json", special(tarfile.SYMTYPE, "/etc/passwd")),
    "hard link": ("run/config.json", special(tarfile.LNKTYPE, "run/done.json")),
    "linked folder": ("run", special(tarfile.SYMTYPE, "..")),
    "device": ("run/config.json", special(tarfile.CHRTYPE)),
    "folder": ("run/model", special(tarfile.DIRTYPE)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_archive_writes_nothing_but_runs(attack, tmp_path, elsewhere):
    name, content = ATTACKS[attack]
    path = packed(tmp_path / "bad.tar.gz", {name: content})
    before = {one.name for one in tmp_path.iterdir()} - {"elsewhere"}
    with pytest.raises(RunError, match=r"bad\.tar\.gz: .* (is no file|is a link)"):
        import_runs(path)
    assert {one.name for one in tmp_path.iterdir()} - {"elsewhere"} == before
    assert list(elsewhere.iterdir()) == []


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as opened:
        return {one.name: opened.extractfile(one).read() for one in opened}


def test_a_damaged_archive_leaves_nothing_half_imported(archive, tmp_path, elsewhere, capsys):
    whole = archive.read_bytes()
    damaged = tmp_path / "damaged.tar.gz"
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for data in (whole[: len(whole) // 2], whole[:-4], bytes(flipped), b"no archive", b""):
        damaged.write_bytes(data)
        assert main(["runs", "import", str(damaged)]) == 1
        assert "damaged.tar.gz" in capsys.readouterr().err
        assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("done.json", None, r"lacks done\.json"),
        (
            "config.json",
            lambda text: text.replace(b'"steps": 12', b'"steps": 13'),
            r"config\.json has changed",
        ),
        (
            "config.json",
            lambda text: text.replace(b'"format": 3', b'"format": 2'),
            r"config\.json has",
        ),
        ("provenance.json", lambda text: b"{}", "provenance\\.json has changed"),
        ("stages.csv", lambda text: b'"', r"cannot be read: stages\.csv has"),
        ("answers.parquet", lambda text: text[:-9], r"answers\.parquet has changed"),
    ],
)
def test_a_run_that_cannot_be_read_is_not_imported(
    file, change, message, archive, tmp_path, trained, elsewhere
):
    members = contents(archive)
    name = f"{trained['seed 0'].name}/{file}"
    content = members.pop(name)
    if change is not None:
        assert change(content) != content
        members[name] = change(content)
    with pytest.raises(RunError, match=message):
        import_runs(packed(tmp_path / "changed.tar.gz", members))
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "free", "message"),
    [
        (lambda name, members: [{}], 2**40, "changed.tar.gz holds no run"),
        (
            lambda name, members: [members, {f"{name}/done.json": b"{}"}],
            2**40,
            "changed.tar.gz holds '{name}/done.json' twice",
        ),
        (
            lambda name, members: [members, {f"{name}/speed.json": b" " * 10**6}],
            10**6 - 1,
            "changed.tar.gz: {name}/speed.json does not fit on this disk",
        ),
        (
            lambda name, members: [{x.replace(name, "mine"): y for x, y in members.items()}],
            2**40,
            "mine holds the settings of {name}",
        ),
    ],
    ids=["empty", "twice", "too large", "renamed"],
)
def test_an_archive_that_is_not_as_it_was_exported_says_what_is_wrong(
    change, free, message, archive, tmp_path, trained, elsewhere, monkeypatch
):
    name = trained["seed 0"].name
    changed = packed(tmp_path / "changed.tar.gz", *change(name, contents(archive)))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    with pytest.raises(RunError, match=message.format(name=name)):
        import_runs(changed)
    assert list(elsewhere.iterdir()) == []


def test_runs_that_were_moved_go_back_where_another_cannot_be(
    archive, trained, elsewhere, monkeypatch
):
    present = elsewhere / trained["teacher"].name
    shutil.copytree(trained["teacher"].folder, present)

    def stored():
        return {one: one.read_bytes() for one in present.rglob("*") if one.is_file()}

    listed, before = everything(elsewhere), stored()
    moved, rename = [], Path.rename

    def fails(self, target):
        if self.parent.name.startswith(".import-"):
            moved.append(self.name)
            if len(moved) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fails)
        with pytest.raises(RunError, match=r"elsewhere cannot be written: .*No space left"):
            import_runs(archive)
    names = [trained[name].name for name in ("seed 0", "student")]
    assert sorted(moved) == sorted(names)
    assert everything(elsewhere) == listed
    assert stored() == before
    imported, left = import_runs(archive)
    assert sorted(run.name for run in imported) == sorted(names)
    assert [run.folder for run in left] == [present]
    assert stored() == before


@pytest.mark.parametrize("weights", [True, False])
def test_the_command_exports_weights_where_it_is_told_to(weights, trained, tmp_path):
    file, name = tmp_path / "out.tar.gz", trained["slow"].name
    more = ["--weights"] * weights
    assert main(["runs", "export", str(file), "--where", "removal.pace=0.5", *more]) == 0
    members = contents(file)
    assert f"{name}/stages.csv" in members
    assert (f"{name}/model/model.safetensors" in members) == weights
    assert any(member.startswith(f"{name}/stages/") for member in members) == weights


def test_the_commands_export_and_import(trained, tmp_path, monkeypatch, capsys):
    file = str(tmp_path / "out.tar.gz")
    assert main(["runs", "export", file, "--where", "removal.pace=0.5"]) == 0
    assert ": 1 run, with" in capsys.readouterr().out
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "there"))
    assert main(["runs", "import", file]) == 0
    assert capsys.readouterr().out == f"imported  {trained['slow'].name}\n"
    assert main(["runs", "import", file]) == 0
    assert "was here" in capsys.readouterr().out
    assert main(["runs", "import", str(tmp_path / "none.tar.gz")]) == 1
    assert "no such file" in capsys.readouterr().err


# --- cleaning up -------------------------------------------------------------------------------


def aged(path: Path, days: float) -> None:
    """Make a file or folder, and all in it, so old."""
    when = time.time() - days * 24 * 3600
    for one in [*path.rglob("*"), path]:
        os.utime(one, (when, when))


@pytest.fixture
def littered(runs_folder, tiny, monkeypatch) -> dict[str, Path]:
    """A folder of runs with one of everything that can be deleted, and what must stay."""
    done = train(tiny.override(LINEAR))
    (done.folder / "checkpoint" / "step-1").mkdir(parents=True)
    (done.folder / "checkpoint" / "step-1" / "model.safetensors").write_bytes(b"x" * 1000)
    (done.folder / ".answers.parquet.77").write_bytes(b"half")
    (done.folder / ".fresh.part").write_bytes(b"just now")
    aged(done.folder / ".answers.parquet.77", 1)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_finish", lambda self, rows: None)
        old, new = (train(tiny.override(seed=seed)) for seed in (1, 2))
    aged(old.folder, 8)
    (runs_folder / ".import-1" / "run").mkdir(parents=True)
    aged(runs_folder / ".import-1", 1)
    # A lease of a process of another machine, which counted last a day ago.
    (runs_folder / ".locks" / "gone").write_text('{"token": "x", "machine": "another", "pid": 1}')
    aged(runs_folder / ".locks" / "gone", 1)
    (runs_folder / "notebooks").mkdir()
    aged(runs_folder / "notebooks", 99)
    return {"done": done.folder, "old": old.folder, "new": new.folder}


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_cleaning_up_is_a_dry_run_first(littered, runs_folder, capsys):
    before = everything(runs_folder)
    assert main(["runs", "clean"]) == 0
    out = capsys.readouterr().out
    assert everything(runs_folder) == before
    assert "nothing is deleted yet: add --yes" in out
    listed = {line.split(maxsplit=2)[2].split(": ")[0] for line in out.splitlines()[:-1]}
    done, old = littered["done"].name, littered["old"].name
    expected = {f"{done}/checkpoint", f"{done}/.answers.parquet.77", old, ".import-1"}
    assert listed == expected | {".locks/gone"}
    assert main(["runs", "clean", "--yes"]) == 0
    gone = before - everything(runs_folder)
    assert {name for name in gone if Path(name).parent.as_posix() not in gone} == listed
    assert Run(littered["done"]).done
    capsys.readouterr()
    assert main(["runs", "clean"]) == 0
    assert capsys.readouterr().out == "nothing to delete\n"


def test_filters_and_days_restrict_what_is_cleaned_up(littered):
    runs = all_runs(finished=False)
    paths_ = {item.path for item in removable(runs, days=30)}
    assert littered["old"] not in paths_
    assert {item.path for item in removable(runs, days=0)} >= {littered["old"], littered["new"]}
    one = [run for run in runs if run.folder == littered["old"]]
    assert littered["done"] / "checkpoint" not in {item.path for item in removable(one)}
    assert {item.path for item in removable(one, 0, all_runs=False)} == {littered["old"]}


def test_filters_before_and_after_an_action_both_count(littered, capsys):
    assert main(["runs", "--where", "seed=1", "clean", "--days", "0", "--where", "label=x"]) == 0
    assert littered["old"].name not in capsys.readouterr().out
    assert main(["runs", "--where", "seed=1", "clean", "--days", "0"]) == 0
    listed = capsys.readouterr().out
    assert littered["old"].name in listed
    assert littered["new"].name not in listed


def test_files_named_before_an_action_are_imported(trained, tmp_path, capsys):
    words = ["runs", "--import", str(tmp_path / "none.py"), "export", str(tmp_path / "x.tar.gz")]
    assert main(words) == 1
    assert "none.py" in capsys.readouterr().err


def test_what_is_begun_after_it_was_listed_stays(littered, runs_folder):
    old = Run(littered["old"])
    listed = removable([old])
    assert old.folder in {item.path for item in listed}
    with old.lock():
        delete(listed)
        assert old.folder.is_dir()


def test_a_lock_that_is_held_stays(littered, runs_folder):
    with Run(littered["done"]).lock():
        assert not [x for x in removable([], 0) if x.path.name == littered["done"].name]


def test_stage_weights_are_deleted_on_request(littered, tmp_path, monkeypatch):
    run = Run(littered["done"])
    assert run.checkpointed_stages == [0, 1, 2, 3, 4]
    last = icot.load(run).evaluate()
    for _ in range(2):  # the second time there is nothing left to delete
        delete(removable([run], stage_weights=True))
        assert icot.load(run).evaluate() == last
        with pytest.raises(RunError, match="the weights of stage 2 are not here"):
            icot.load(run, 2)
        assert run.stages_with_weights == icot.load(run).stages == [4]
        assert icot.load(run).at(4).removed == 4
    assert not [item for item in removable([run], stage_weights=True) if "lock" not in item.reason]
    archived = tmp_path / "cleaned.tar.gz"
    export_runs([run], archived, weights=True)
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "elsewhere"))
    ((imported,), _) = import_runs(archived)
    assert icot.load(imported).evaluate() == last
    with pytest.raises(RunError, match="the weights of stage 2 are not here"):
        icot.load(imported, 2)
    assert run.stages.removed.tolist() == [0, 1, 2, 3, 4]


def test_cleaning_up_lists_stage_weights_where_it_is_told_to(littered, runs_folder, capsys):
    run, before = Run(littered["done"]), everything(runs_folder)
    stages = {f"{run.name}/stages/removed-{removed:03d}" for removed in range(5)}
    of_last = max(stages)
    files = {f"{stage}/model.safetensors" for stage in stages - {of_last}}
    assert files <= before
    listed = []
    for words in ([], ["--stage-weights"]):
        assert main(["runs", "clean", *words]) == 0
        lines = capsys.readouterr().out.splitlines()[:-1]
        listed.append({line.split(maxsplit=2)[2].split(": ")[0] for line in lines})
    assert listed[1] - listed[0] == files | {of_last}
    assert listed[0] < listed[1]
    assert everything(runs_folder) == before


def test_a_seed_is_not_the_beginning_of_a_longer_one():
    tenth = "one_model-mult-4x2-s10-v2-b2872f3ccf"
    assert not begins(tenth, "one_model-mult-4x2-s1")
    assert begins(tenth, "one_model-mult-4x2-s10")
    assert begins(tenth, "one_model-mult-4x2-s10-v2-b28")  # a part of the digest
    assert begins(tenth, "one_model")
    assert begins(tenth, tenth)
    assert not begins(tenth, "icot_si")
