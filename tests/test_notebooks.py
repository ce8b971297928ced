"""Notebooks: thin, without outputs, and all of them run at smoke."""

import ast
import itertools
import json
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import nbformat
import pandas as pd
import papermill
import pytest
from distributed import Client
from papermill.exceptions import PapermillExecutionError
from papermill.inspection import inspect_notebook

import icotlib as icot
from icotlib import experiments, paths
from icotlib.cli import main
from icotlib.errors import ConfigError, IcotError
from icotlib.publishing import publish
from icotlib.reporting.figures.ideas.pictures import PICTURES
from icotlib.reporting.figures.notebook import _as_html as figure_as_html
from icotlib.running import copies, jobs, notebooks, progress
from icotlib.runs import Run, all_runs
from icotlib.studies import get_study
from tests.browsing import Page, needs_browser, started_lab, write_notebook
from tests.clusters import Cluster

NOTEBOOKS = notebooks.notebooks()
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def outputs_of_all(cells):
    """The outputs of code cells, all of which have run without an error."""
    assert all(cell.execution_count for cell in cells if cell.source)
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    return outputs


@EACH
def test_a_notebook_is_committed_without_outputs(path):
    for cell in code_cells(path):
        assert cell.outputs == []
        assert cell.execution_count is None


@EACH
def test_parameters_are_the_same_everywhere_and_documented(path):
    tagged = [c for c in code_cells(path) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    values = {
        node.target.id: ast.literal_eval(node.value) for node in ast.parse(tagged[0].source).body
    }
    own = {"method": "own_si", "source": "", "columns": {}, "test": "", "model": ""}
    more = {"14_your_own": own}
    assert values == {"preset": "fast", "seed": 0, "overrides": {}} | more.get(path.stem, {})
    inspected = inspect_notebook(str(path))
    assert set(inspected) == set(values) == set(notebooks.parameters(path))
    assert all(entry["help"] for entry in inspected.values())
    types = {name: entry["inferred_type_name"] for name, entry in inspected.items()}
    assert types == {name: type(value).__name__ for name, value in values.items()}
    assert types == {name: kind.__name__ for name, kind in notebooks.parameter_types(path).items()}


@EACH
def test_a_notebook_is_thin(path):
    for cell in code_cells(path):
        assert len(cell.source.splitlines()) <= 15
        kinds = (ast.FunctionDef, ast.ClassDef)
        assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, kinds)]


@EACH
def test_a_notebook_opens_with_its_question_and_ends_with_what_we_saw(path):
    cells = nbformat.read(path, as_version=4).cells
    for part in ("**Question.**", "**You will see**", "**Time.**"):
        assert part in cells[0].source
    headings = [
        number
        for number, cell in enumerate(cells)
        if cell.cell_type == "markdown" and re.search(r"^## ", cell.source, re.MULTILINE)
    ]
    last = headings[-1]
    assert re.match(r"## What we saw(\n|$)", cells[last].source)
    kinds = [cell.cell_type for cell in cells[last + 1 :]]
    assert kinds == (["code"] if path == NOTEBOOKS[-1] else ["code", "markdown"])
    assert re.search(r"^conclusions\.\w+\(.*\)$", cells[last + 1].source.splitlines()[-1])


@pytest.mark.parametrize(
    ("path", "following"),
    list(itertools.pairwise(NOTEBOOKS)),
    ids=[path.stem for path in NOTEBOOKS[:-1]],
)
def test_a_notebook_links_to_the_next(path, following):
    last = nbformat.read(path, as_version=4).cells[-1].source.splitlines()[-1]
    title = notebooks.title(following)
    assert last == f"Next: [{title}]({following.name})"


#: The notebooks that a picture opens: all but that on one's own data, and the results.
PICTURED = [path for path in NOTEBOOKS if not path.stem.startswith(("14", "99"))]

#: Numbers of those in which something is to be predicted, changed and run.
TRIED = ("00", "02", "05", "06", "08", "11", "12", "16")

#: Numbers of those that show the formulas of a method.
WITH_FORMULAS = ("03", "04", "05", "06")


def test_a_picture_of_its_own_opens_every_notebook():
    drawn = []
    for path in PICTURED:
        sources = [cell.source for cell in code_cells(path)]
        [opening] = [n for n, source in enumerate(sources) if "icot.check_parameters()" in source]
        found = re.fullmatch(r'figures\.idea\("(\w+)"\)', sources[opening + 1])
        assert found, path.stem
        drawn.append(found[1])
    assert sorted(drawn) == sorted(PICTURES)


@pytest.mark.parametrize("number", TRIED)
def test_a_notebook_asks_for_predictions(number):
    cells = nbformat.read(notebooks.find_notebook(number), as_version=4).cells
    asked = [n for n, cell in enumerate(cells) if cell.source.startswith("**Try it.** Predict: ")]
    assert 2 <= len(asked) <= 3
    for n in asked:
        assert cells[n + 1].cell_type == "code"
        named = re.search(r"Then change (.*) and run\.$", " ".join(cells[n].source.split()))[1]
        names = re.findall(r"`(\w+)`", named)
        assigned = {
            node.id
            for node in ast.walk(ast.parse(cells[n + 1].source))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        assert set(names) <= assigned


@pytest.mark.parametrize("number", WITH_FORMULAS)
def test_formulas_stand_beside_the_function_that_computes_them(number):
    cells = nbformat.read(notebooks.find_notebook(number), as_version=4).cells
    with_formula = [cell.source for cell in cells if "$$" in cell.source]
    assert with_formula
    for text in with_formula:
        named = re.findall(r"`(icotlib\.[\w.]+)`", text)
        assert named
        for name in named:
            assert callable(pkgutil.resolve_name(name)), name


# --- executed ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    """A cluster of two machines, played by processes with files of their own on this one."""
    made = Cluster(tmp_path_factory.mktemp("machines"), machines=True)
    made.start()
    yield made
    made.stop()


#: The studies that notebooks show.
STUDIES = ("main", "routing", "anytime", "methods", "contents", "auxiliary", "inside", "das")
STUDIES += ("four_digits", "ablations", "depth", "mixtures", "stability", "stages", "levers")
STUDIES += ("shifts", "thoughts")


@pytest.fixture(scope="module")
def series(tmp_path_factory, machines):
    """The executed copies of the whole workbook at smoke, run once, on two machines."""
    folder = tmp_path_factory.mktemp("series")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(folder))
        patch.setenv("ICOT_CLUSTER", machines.address)
        # Those of studies too, which one process after another would train in their kernels.
        members = [one for name in STUDIES for one in get_study(name).members("smoke")]
        icot.ensure([member.config for member in members])
        yield notebooks.run_all("smoke", studies=True, say=lambda line: None)


def test_two_machines_share_the_workbook(series, machines):
    """They share the folder of runs alone: each has a copy of the package, and caches there."""
    shared = [run for run in all_runs() if run.config.seed == 0]  # studies have seeds of their own
    workers = Counter(int(run.history.process.iloc[0]) for run in shared)
    shares = sorted(workers.values())
    assert shares[-2] >= len(shared) / 4
    assert sum(shares[:-2]) <= 1  # a notebook's own run, which its kernel trains
    assert all(run.history.event.tolist() == ["started", "finished"] for run in all_runs())
    with Client(machines.address, set_as_default=False) as client:
        used = client.run(getattr, paths, "PROJECT")
    assert sorted(path.parent.name for path in used.values()) == ["machine-1", "machine-2"]


def test_every_notebook_runs_at_smoke(series):
    assert [copy.name for copy in series] == [path.name for path in NOTEBOOKS]
    for copy in series:
        cells = code_cells(copy)
        outputs = outputs_of_all(cells)
        text = "".join(output.get("text", "") for output in outputs)
        assert "Traceback" not in text
        assert "%|" not in text  # no frames of a progress bar


#: Figures in the executed copies.
FIGURES = {"00": 1, "01": 1, "02": 3, "03": 3, "04": 2, "05": 3, "06": 2, "07": 2, "08": 4}
FIGURES |= {"09": 3, "10": 2, "11": 7, "12": 6, "13": 5, "15": 2, "16": 3}
FIGURES |= {"17": 4, "18": 3, "19": 2, "20": 3, "21": 2, "22": 4, "23": 2, "99": 2}


def test_executed_copies_hold_the_figures(series):
    for name, figures in FIGURES.items():
        copy = next(copy for copy in series if copy.name.startswith(name))
        outputs = [output for cell in code_cells(copy) for output in cell.outputs]
        assert sum("image/png" in output.get("data", {}) for output in outputs) == figures


def test_every_executed_notebook_answers_in_sentences(series):
    """Whole ones, with an interval where a share of questions is reported, and one seed said."""
    for copy in series:
        answered = [cell for cell in code_cells(copy) if "conclusions." in cell.source][-1]
        [text] = [
            output["data"]["text/markdown"]
            for output in answered.outputs
            if "text/markdown" in output.get("data", {})
        ]
        lines = text.splitlines()
        assert lines
        assert all(re.fullmatch(r"- [“A-Z0-9].*[.]", line) for line in lines), text
        assert " nan" not in text
        if not copy.name.startswith(("01", "13")):
            assert re.search("95% interval|worse than their mean|Too few seeds", text)
            assert re.search(r"\bseeds?\b", text)


@pytest.mark.parametrize("name", STUDIES)
def test_each_arm_of_a_study_has_its_figure_and_its_sentences_alone(series, name):
    """As `--arms` asks for it, and where the other runs are not finished yet."""
    study = get_study(name)
    members = study.members("smoke")
    for arm in dict.fromkeys(member.arm for member in members):
        answer = study.answer([member for member in members if member.arm == arm])
        assert answer.words
        assert " nan" not in " ".join(answer.words)
        assert answer.figure.axes


def test_smoke_crosses_the_removal_stages(series):
    for name, config in experiments.schedule_ablations("smoke").items():
        run = Run.of(config)
        stages = run.stages.removed.tolist()
        assert stages[0] == 0
        assert stages[-1] == run.totals["chain_length"] == 6
        assert len(stages) >= (4 if name == "pace 16" else 6)
        assert run.metrics.removed.is_monotonic_increasing
    for make in (experiments.icot_si, experiments.one_model):
        assert Run.of(make("smoke")).stages.removed.tolist() == list(range(7))


def test_smoke_runs_learn(series):
    for run in all_runs():
        # A loss of latent places is added once there are some; a fifth of few steps has one row.
        later = getattr(run.config.own.get("latent"), "step_weight", 0) or len(run.metrics) == 1
        assert later or run.metrics.loss.iloc[-1] < run.metrics.loss.iloc[0]
        if run.config.method == "kd_emulator":
            continue  # it gives no answers
        assert run.metrics[["train_match", "valid_match"]].notna().iloc[-1].all()
        stages = run.stages
        assert (stages.n_test == run.config.data.test_examples).all()
        right = stages.accuracy * stages.n_test
        assert right.to_numpy() == pytest.approx(right.round())
        assert (stages.ci_low <= stages.accuracy + 1e-9).all()
        assert (stages.accuracy <= stages.ci_high + 1e-9).all()


def test_smoke_runs_all_four_phases_of_distillation(series):
    config = experiments.icot_kd("smoke")
    phases = {role: Run.of(phase) for role, phase in config.phases.items()}
    assert phases.keys() == {"teacher", "student", "emulator"}
    assert all(run.done for run in phases.values())
    assert phases["student"].stages.n_test.tolist() == [50]
    assert (phases["emulator"].folder / "model" / "model.safetensors").is_file()
    assert Run.of(config).stages.removed.tolist() == [6]
    assert type(icot.load(Run.of(config)).model).__name__ == "Coupled"


def test_no_notebook_begins_before_its_runs_are_there(series):
    """It would train them itself, and they appear in its copy; only one makes a run of its own."""
    for copy in series:
        outputs = [output for cell in code_cells(copy) for output in cell.outputs]
        trained = re.search(r"step \d+/\d+ ", "".join(output.get("text", "") for output in outputs))
        assert bool(trained) == copy.name.startswith("14")


@pytest.fixture
def planned(runs_folder, monkeypatch):
    """Jobs that would be run: trainings by the name of their run, and notebooks by number."""
    trained, executed = {}, {}

    def run_jobs(listed, workers, on_end):
        for job in listed:
            if job.trains:
                trained[job.name] = job.trains
            else:
                executed[job.arguments["notebook"][:2]] = job
            on_end(jobs.Outcome(job, []))
        return []

    monkeypatch.setattr(jobs, "run_jobs", run_jobs)
    return trained, executed


def test_the_series_is_stepwise_internalization_and_what_it_is_compared_with(planned):
    trained, executed = planned
    assert main(["workbook", "--preset", "smoke", "--series"]) == 0
    methods = {name: config.method for name, config in trained.items()}
    assert set(methods.values()) == {"icot_si", "one_model", "no_cot", "explicit_cot"}
    needs = {
        number: [methods[need] for need in job.needs]
        for number, job in executed.items()
        if number != "99"
    }
    assert needs == {
        "01": [],
        "02": ["explicit_cot", "no_cot"],
        "06": ["icot_si", "one_model"],
        "08": ["one_model", "icot_si", "no_cot", "explicit_cot"],
    }
    before = {*trained, *(job.name for number, job in executed.items() if number != "99")}
    assert set(executed["99"].needs) == before  # it reads the results of all runs
    with pytest.raises(SystemExit):
        main(["workbook", "--series", "--studies"])


#: Settings of stepwise internalization, the second of which No CoT has too.
OF_REMOVAL = {"removal.smoothing": 2.0, "removal.keep_positions": True}


def test_a_notebook_gets_the_overrides_that_its_runs_read(planned):
    trained, executed = planned
    overrides = OF_REMOVAL | {"train.steps": 30}
    made = notebooks.run_all("smoke", overrides=overrides, series=True)
    read = {number: job.arguments["values"]["overrides"] for number, job in executed.items()}
    assert read.pop("02") == {"removal.keep_positions": True, "train.steps": 30}
    assert read == dict.fromkeys(("01", "06", "08", "99"), overrides)
    folder = copies.executed_folder("smoke", 0, overrides)
    assert {job.arguments["folder"] for job in executed.values()} == {folder.name}
    assert {copy.parent for copy in made} == {folder}
    assert {config.train.steps for config in trained.values()} == {30}


def test_the_results_notebook_gets_every_override():
    """It reads all main runs, and names its folder after the overrides."""
    overrides = OF_REMOVAL | {"distill.delta": 2.0, "student.train.steps": 9}
    assert experiments.overrides_for("99_results", "smoke", overrides) == overrides
    assert experiments.overrides_for("14_your_own", "smoke", overrides) == OF_REMOVAL


def test_notebooks_of_studies_take_the_settings_that_their_studies_read():
    own = {"auxiliary.weight": 0.5}
    assert experiments.overrides_for("20_inside_over_seeds", "smoke", own) == own
    own = {"latent.distill_weight": 0.5, "student.train.steps": 9}
    assert experiments.overrides_for("18_methods_of_the_field", "smoke", own) == own


def test_an_override_that_no_run_of_a_notebook_reads_is_refused(planned):
    trained, executed = planned
    with pytest.raises(ConfigError, match=r"no run of 03_mind_reading reads removal\.smoothing"):
        notebooks.run_all("smoke", overrides=OF_REMOVAL, names=["03"])
    assert not executed
    notebooks.run_all("smoke", overrides=OF_REMOVAL, names=["03", "06"])
    read = {number: job.arguments["values"]["overrides"] for number, job in executed.items()}
    assert read == {"03": {}, "06": OF_REMOVAL}
    methods = {config.method for config in trained.values()}
    assert methods == {"explicit_cot", "kd_student", "icot_si", "one_model"}  # what these two need


def test_the_results_notebook_leaves_its_tables(series):
    folder = series[0].parent
    table = pd.read_csv(folder / "results.csv")
    named = {"explicit_cot", "no_cot", "icot_si", "one_model", "kd_student", "icot_kd"}
    later = {"codi", "pause", "running_sums"}  # of studies that may end after this notebook
    assert set(table.method) - later == named | {"coconut"}
    assert set(table.preset) == {"smoke"}
    assert {config.run_name for config in experiments.workbook("smoke")} <= set(table.run)
    assert r"\begin{tabular}" in (folder / "summary.tex").read_text()


def test_the_runs_of_another_task_are_those_that_are_published(runs_folder):
    own = {"data.task": "mult-3x3"}
    configs = experiments.compared("fast", 0, own)
    runs = [Run.of(config) for config in configs]
    for run, config in zip(runs, configs, strict=True):
        run.begin(config, "cpu", {"data": "hash"})
    assert publish.select(runs, experiments.compared, overrides=publish.of_task("mult-3x3")) == runs
    assert publish.select(runs, experiments.compared) == []


def test_distillation_and_the_analyses_can_be_published(series, tmp_path):
    configs = experiments.interp_runs("smoke")
    publish.publish_distillation([Run.of(configs["ICoT-KD"])], tmp_path)
    publish.publish_interp([Run.of(config) for config in configs.values()], tmp_path)
    table = pd.read_csv(tmp_path / "probes_kd.csv").query("measure == 'accuracy'")
    assert set(table.variable) >= {"t1", "s0"}
    assert (table.low <= table.score + 1e-9).all()
    assert (table.score <= table.high + 1e-9).all()
    written = {path.stem for path in tmp_path.glob("*.png")}
    assert written >= {
        "kd_coupling",
        "kd_explained",
        "kd_time_spent",
        "probes_kd",
        "patching_one",
    }
    assert written >= {"moving_inside", "probed_numbers", "digit_shapes"}
    origin = json.loads((tmp_path / "probes_kd.json").read_text())
    assert len(origin["runs"]) >= 6


def test_a_parameter_that_does_not_exist_is_refused(runs_folder):
    with pytest.raises(ConfigError, match=r"has no parameter 'sede'.*Did you mean 'seed'"):
        notebooks.execute(NOTEBOOKS[1], sede=3)


def test_papermill_does_not_go_on_with_the_defaults(tmp_path):
    """It fails in the first cell of the notebook's own, in one line."""
    said = r"no parameter 'sed'; it has preset, seed, overrides. Did you mean 'seed'"
    with pytest.raises(PapermillExecutionError, match=said):
        papermill.execute_notebook(
            NOTEBOOKS[1],
            tmp_path / "copy.ipynb",
            {"sed": 1},
            kernel_name="python3",
            progress_bar=False,
        )
    copy = nbformat.read(tmp_path / "copy.ipynb", as_version=4)
    [error] = [o for cell in copy.cells for o in cell.get("outputs", []) if "traceback" in o]
    assert error.traceback == [f"ConfigError: {error.evalue}"]
    assert [cell.source for cell in code_cells(tmp_path / "copy.ipynb") if cell.execution_count]


def test_a_parameter_of_another_type_is_refused_in_the_first_cells(monkeypatch):
    """A kernel keeps the sources of the cells that have run: what papermill was given stands behind
    the cell that declares it."""
    tagged = [c for c in code_cells(NOTEBOOKS[1]) if "parameters" in c.metadata.get("tags", [])]
    ran = ["", tagged[0].source, "# Parameters\nseed = 3\n"]
    shell = SimpleNamespace(user_ns={"In": ran})
    monkeypatch.setattr(progress, "notebook_shell", lambda: shell)
    icot.check_parameters()
    ran[-1] = "# Parameters\nseed = 'one'\n"
    with pytest.raises(ConfigError, match="seed must be of type int, got 'one'"):
        icot.check_parameters()


def test_the_last_notebook_takes_files_of_ones_own(planned, tmp_path, monkeypatch):
    _, executed = planned
    monkeypatch.chdir(tmp_path)
    for name in ("mine.csv", "test.csv"):
        (tmp_path / name).write_text("q,how,a\n")
    (tmp_path / "own_kd").mkdir()  # the name of a method, and no file that is meant
    names = {"question": "q", "steps": "how"}
    words = ["source=mine.csv", "test=test.csv", f"columns={json.dumps(names)}", "train.steps=9"]
    words.append("method=own_kd")
    assert main(["notebook", "14", *(x for word in words for x in ("--set", word))]) == 0
    values = executed["14"].arguments["values"]
    files = {name: str(tmp_path / f"{file}.csv") for name, file in OWN_FILES.items()}
    common = {"preset": "fast", "seed": 0, "overrides": {"train.steps": 9}}
    assert values == common | files | {"columns": names, "method": "own_kd"}


OWN_FILES = {"source": "mine", "test": "test"}


def test_a_mapping_on_the_command_line_is_one(planned, capsys):
    assert main(["notebook", "14", "--set", "columns=question"]) == 1
    assert "columns must be of type dict, such as {question: q" in capsys.readouterr().err
    assert main(["notebook", "14", "--set", "source"]) == 1
    assert "--set needs SETTING=VALUE, got 'source'" in capsys.readouterr().err


def test_a_typo_in_overrides_fails_the_notebook_with_a_hint(runs_folder):
    with pytest.raises(IcotError, match=re.escape("Did you mean 'train.steps'")):
        notebooks.execute(NOTEBOOKS[1], preset="smoke", overrides={"train.stepz": 3})


def test_plain_papermill_from_a_foreign_directory_with_no_runs(runs_folder, tmp_path):
    notebook = notebooks.find_notebook("06")
    command = [sys.executable, "-m", "papermill", str(notebook), "copy.ipynb", "-k", "python3"]
    command += ["-p", "preset", "smoke", "-p", "seed", "3", "-p", "overrides", "{train.steps: 12}"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    runs = [run for run in all_runs() if run.config.seed == 3]
    assert sorted(run.config.method for run in runs) == ["icot_si", "one_model"]
    assert {run.config.train.steps for run in runs} == {12}
    assert (tmp_path / "copy.ipynb").is_file()


@pytest.fixture(scope="module")
def lab(lab_root, series):
    """A JupyterLab whose notebooks find the runs of the series."""
    with started_lab(lab_root, paths.runs_root()) as address:
        yield address


#: Instruments that answer only in a browser: papermill shows the table in their place, if any.
INSTRUMENT = re.compile(
    r"icot\.(dial|explorer|figure_desk|run_browser|settings_form|training_panel)\("
)
WITH_INSTRUMENTS = [
    path for path in NOTEBOOKS if any(INSTRUMENT.search(cell.source) for cell in code_cells(path))
]


def test_every_instrument_is_seen_in_a_browser(series):
    """Nothing else of a notebook is alive: papermill has run all of its cells."""
    alive = {
        copy.stem
        for copy in series
        for cell in code_cells(copy)
        for output in cell.outputs
        if "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    }
    assert alive <= {path.stem for path in WITH_INSTRUMENTS}


@needs_browser
@pytest.mark.parametrize("path", WITH_INSTRUMENTS, ids=lambda path: path.stem)
def test_every_cell_runs_in_a_browser(path, lab, lab_root, browser):
    at_smoke = path.read_text(encoding="utf-8").replace(
        'preset: str = \\"fast\\"', 'preset: str = \\"smoke\\"'
    )
    (lab_root / path.name).write_text(at_smoke, encoding="utf-8")
    shown = Page(browser, lab, lab_root / path.name, width=900)
    cells = shown.run_all()
    shown.picture(path.stem)
    outputs_of_all(cells)
    assert 'preset: str = "smoke"' in "".join(cell.source for cell in cells)
    shown.close()


#: Shows outputs again; a notebook that only holds them is not trusted, and shows no HTML.
SHOW = """\
import json
from IPython.display import publish_display_data
for data in json.load(open("outputs.json")):
    publish_display_data(data)"""


def as_live(output):
    """The forms of an output of papermill, with a figure as HTML besides, as a person gets it."""
    data, about = dict(output.data), output.metadata.get("image/png")
    return data | {"text/html": figure_as_html(data["image/png"], about)} if about else data


@needs_browser
def test_what_the_other_notebooks_show_can_be_read_in_a_browser(series, lab, lab_root, browser):
    """Their outputs of papermill, all on one page."""
    alone = {path.name for path in WITH_INSTRUMENTS}
    cells = [cell for copy in series if copy.name not in alone for cell in code_cells(copy)]
    outputs = [as_live(output) for cell in cells for output in cell.outputs if "data" in output]
    (lab_root / "outputs.json").write_text(json.dumps(outputs))
    page = Page(browser, lab, write_notebook(lab_root / "others.ipynb", SHOW), width=900)
    shown = outputs_of_all(page.run_all())
    assert [set(output.data) for output in shown] == [set(data) for data in outputs]
    page.picture("others")
    page.close()


def test_notebooks_are_found_by_number_and_by_name():
    assert notebooks.find_notebook("06") == notebooks.find_notebook("stepwise")
    assert copies.executed_folder("smoke", 1) != copies.executed_folder(
        "smoke", 1, {"train.steps": 2}
    )
    assert NOTEBOOKS[0].parent == paths.NOTEBOOKS
