"""The repository itself: pins, pages, log, folders and commands agree with the code."""

import ast
import functools
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from accelerate.commands.launch import launch_command_parser

import icotlib as icot
from icotlib import experiments, interp, paths, registry
from icotlib.cli import COMMANDS, command_parser, main
from icotlib.cli.train import config_of
from icotlib.config import NUMERICS, DataConfig
from icotlib.data.corpus import load_corpus
from icotlib.publishing import guide
from icotlib.publishing.blocks import BLOCKS
from icotlib.publishing.guide import blocks_of, pages
from icotlib.tasks import get_task
from icotlib.training.trainer import train
from tests.helpers import TINY_SIZES

ROOT = paths.PROJECT
README = ROOT / "README.md"
GUIDE = paths.NOTEBOOKS / "guide"
LOG = ROOT / "LOG.md"
PAGES = pages()

#: The packages of the library whose docstrings name their files.
FOLDERS = sorted(path.parent for path in (ROOT / "icotlib").glob("**/*/__init__.py"))


def of_page(page: Path) -> str:
    """A page's name in test reports."""
    return page.relative_to(ROOT).as_posix()


def of_folder(folder: Path) -> str:
    return folder.relative_to(ROOT / "icotlib").as_posix()


def tracked() -> list[str]:
    try:
        command = ["git", "-C", str(ROOT), "ls-files"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [name for name in listed.splitlines() if (ROOT / name).exists()]


def fences(page: Path, language: str) -> list[str]:
    """The code of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every line of a page's terminal code, without comments."""
    for code in fences(page, "bash"):
        for line in code.splitlines():
            if words := shlex.split(line, comments=True):
                yield [words[0].removeprefix(".venv/bin/"), *words[1:]]


# --- pins --------------------------------------------------------------------------------------


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.lower().split("==") for line in lines if not line.startswith("#"))


def test_every_dependency_is_pinned_and_pins_stay_out_of_the_metadata():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = project["optional-dependencies"]
    wanted = [*project["dependencies"], *groups["dev"], *groups["site"]]
    for requirement in wanted:
        assert re.split(r"[><=]", requirement)[0].lower() in pins()
        assert "==" not in requirement
    assert "+" not in "".join(pins().values())  # a local build is not to be had elsewhere


def test_the_conda_environment_takes_everything_else_from_the_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert python == "python=3.11"
    assert pip == "pip"
    assert packages == {"pip": ["-c constraints.txt", "-e .[dev]"]}


# --- pages -------------------------------------------------------------------------------------


def test_the_readme_is_short_and_names_the_numerics():
    text = README.read_text()
    assert len(text) <= 10_700
    assert f"numerics version v{NUMERICS}" in text
    assert {"headline", "results", "times", "tree"} <= set(blocks_of(README))
    assert "notebooks" in blocks_of(GUIDE / "index.md")


@functools.cache
def drawn(name: str) -> str:
    return BLOCKS[name]()


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_every_block_says_what_its_table_says(page):
    text, blocks = page.read_text(), blocks_of(page)
    assert sorted(re.findall(r"<!-- end (\w+) -->", text)) == sorted(blocks)
    assert sorted(re.findall(r"<!-- (\w+) -->", text)) == sorted(blocks)
    for name, shown in blocks.items():
        assert shown == drawn(name), f"{of_page(page)}: {name}; `icot publish` writes it anew"


def test_every_block_stands_on_a_page():
    assert set().union(*map(blocks_of, PAGES)) == set(BLOCKS)


def test_pages_are_rewritten_in_their_blocks_alone(tmp_path, monkeypatch):
    def unpublished():
        raise FileNotFoundError("figures/pears.csv")

    drawn_anew = {"apples": lambda: "| 7\\1 |\n| - |", "plums": lambda: "", "pears": unpublished}
    for name, draw in drawn_anew.items():
        monkeypatch.setitem(BLOCKS, name, draw)

    def text(apples, plums):
        return (
            f"# Fruit \u00e9\n\n<!-- apples -->\n{apples}\n<!-- end apples -->\t\n\n  between\n"
            f"<!-- plums -->\n{plums}\n<!-- end plums --> <!-- a remark -->\n\n"
            "<!-- pears -->\nas published\n<!-- end pears -->\n"
            "<!-- figs -->\nof nobody: apples\n<!-- end figs -->\n\n\nend"
        )

    first, second = tmp_path / "first.md", tmp_path / "second.md"
    first.write_text(text("old", "old\n\nand long"), encoding="utf-8")
    second.write_text("<!-- apples -->\n| 7\\1 |\n| - |\n<!-- end apples -->", encoding="utf-8")
    wanted = {first: text("| 7\\1 |\n| - |", "").encode(), second: second.read_bytes()}
    monkeypatch.setattr(guide, "pages", lambda: [first, second])
    for _ in range(2):  # the second time nothing is left to change
        guide.update_pages()
        assert {page: page.read_bytes() for page in (first, second)} == wanted


def prose(page: Path) -> str:
    """A page without code, without blocks, and without what is no measurement."""
    text = re.sub(r"<!-- (\w+) -->.*?<!-- end \1 -->", "", page.read_text(), flags=re.DOTALL)
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`|\b95% interval", "", text)


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_no_measured_number_stands_in_prose(page):
    measured = r"\d[\d,.]*\s*(?:%|percent\b|times\b|min\b|minutes?\b|seconds?\b|hours?\b)"
    assert re.findall(measured, prose(page)) == []


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [*PAGES, LOG, ROOT / "data" / "README.md"], ids=of_page)
def test_links_point_to_something(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    local = [one.partition("#") for one in targets if not re.match(r"https?://", one)]
    missing = [file for file, _, _ in local if not (page.parent / file).exists()]
    assert missing == []
    for file, _, anchor in local:
        target = page.parent / file if file else page
        if anchor and target.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in map(slug, headings), f"{target.name} has no heading #{anchor}"


def test_the_index_names_every_page():
    linked = set(re.findall(r"\]\((\w+\.md)\)", (GUIDE / "index.md").read_text()))
    assert linked == {page.name for page in GUIDE.glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("page", PAGES[1:], ids=of_page)
def test_every_page_of_the_guide_says_what_it_is_for(page):
    title, empty, opening = page.read_text().splitlines()[:3]
    assert title.startswith("# ")
    assert empty == ""
    assert opening.startswith("After this page you can ")


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_every_command_on_a_page_exists(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    targets = makefile_targets()
    for words in commands(page):
        if words[0] == "make":
            assert set(words[1:2]) <= set(targets), words
        elif words[0] == "icot":
            assert words[1] in COMMANDS, words
            options = command_parser(words[1]).parse_args(words[2:])
            if words[1] == "train" and not options.list and not options.imports:
                options.hold_out = None  # a file that a user has
                config_of(options)  # its name and settings are known
        elif words[0] == "accelerate":
            launch_command_parser().parse_args(words[2:])  # its options are known
            options = words[words.index("icotlib") + 1 :]
            config_of(command_parser(options[0]).parse_args(options[1:]))
        else:
            assert words[0] in ("papermill", "torchrun", "tensorboard", "export", "python"), words


@pytest.mark.parametrize("page", PAGES, ids=of_page)
def test_every_name_in_the_pages_code_exists(page):
    for code in fences(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id == "icot":
                    assert node.attr in icot.__all__
                if node.value.id == "interp":
                    assert hasattr(interp, node.attr)


def test_the_functions_that_the_probing_page_lists_exist():
    table = (GUIDE / "probing.md").read_text().split("function of `icotlib.interp`")[1]
    rows = re.findall(r"^\|.*\|(.*)\|$", table.split("\n\n")[0], re.MULTILINE)
    names = re.findall(r"`(\w+)`", " ".join(rows))
    assert names
    assert set(names) <= set(interp.__all__)


# --- the code of the pages ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def page_run(tmp_path_factory):
    """A tiny model for all k that the pages' code finds, on 4x2 digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("runs")))
        every = {"removal.warmup_steps": 0, "train.steps": 14}
        sizes = TINY_SIZES | {"data.task": "mult-4x2"} | every
        config = experiments.one_model("fast", overrides=sizes)
        yield train(config)


def test_the_code_of_the_readme_runs(page_run, capsys):
    (code,) = fences(README, "python")
    exec(code, {})
    answer, _, accuracy, *patched = capsys.readouterr().out.splitlines()
    assert re.search(r" (True|False) \d+$", answer)
    assert float(accuracy) == icot.load(page_run, k=6).evaluate(n=20).accuracy
    assert patched[0].startswith("tensor([")


def test_the_terminal_code_of_the_readme_runs(page_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(paths.DATA.parent)
    lines = [words[1:] for words in commands(README) if words[0] == "icot"]
    assert [words[0] for words in lines] == ["ask", "evaluate"]
    assert [main(words) for words in lines] == [0, 0]
    out = capsys.readouterr().out
    assert "question  9 1 7 3 * 4 8" in out
    assert "with 6 tokens removed" in out
    assert "of 20 answers right" in out


def test_the_code_of_the_index_runs(capsys, runs_folder, monkeypatch):
    panel, code, script = fences(GUIDE / "index.md", "python")
    started = []
    monkeypatch.setattr(icot.Training, "start", lambda training: started.append(training))
    exec(panel, {})
    assert [run.name for run in started[0].runs.values()] == [
        experiments.icot_si("fast").pinned().run_name
    ]
    exec(code, {})
    assert capsys.readouterr().out.startswith("icot_si-linear-mult-4x2-s1-v")
    exec(
        script.replace('"fast", seed=1', '"smoke", seed=1, overrides={"train.steps": 3}'),
        {"__name__": "__main__"},
    )
    assert "removed" in capsys.readouterr().out


def test_the_code_of_the_probing_page_runs(page_run, capsys):
    (code,) = fences(GUIDE / "probing.md", "python")
    fewer = {
        "m.config, 200": "m.config, 60",
        "variables_of(questions)": "variables_of(questions)[:2]",
    }
    for text, less in fewer.items():
        assert text in code
        code = code.replace(text, less)
    exec(code, {})
    out = capsys.readouterr().out
    assert "control_score" in out
    assert "pattern" in out


def test_the_analysis_of_the_guide_runs(page_run, tmp_path, monkeypatch, capsys):
    (code,) = fences(GUIDE / "adding_an_analysis.md", "python")
    assert "1000" in code
    monkeypatch.chdir(tmp_path)
    exec(code.replace("1000", "60"), {"__name__": "__main__"})
    assert "control_score" in capsys.readouterr().out
    origin = json.loads((tmp_path / "saved_figures" / "parity.json").read_text())
    assert [run["run"] for run in origin["runs"]] == [page_run.name]


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Saves a page's code as a file and imports it, as `--import` does."""
    monkeypatch.setenv(registry.IMPORTS, "")
    known = [(one, dict(one.items())) for one in (registry.TASKS, registry.METHODS)]

    def add(name: str, code: str) -> None:
        (tmp_path / f"{name}.py").write_text(code)
        registry.import_file(tmp_path / f"{name}.py")

    yield add
    for one, before in known:
        one._items = before
    for name in [name for name in sys.modules if name.startswith("icotlib_user_page")]:
        del sys.modules[name]


def test_the_task_of_the_page_works(imported):
    (code,) = fences(GUIDE / "adding_a_task.md", "python")
    imported("page_task", code)
    task = get_task("reverse-5")
    example = task.text(task.render(task.parse_question("abcde")))[0]
    assert example == ("a b c d e", "e d c b", "e d c b a")
    corpus = load_corpus(DataConfig(task="reverse-5", valid_examples=5, test_examples=5))
    assert corpus.valid[0]["chain"]


def test_the_second_method_of_the_page_works(imported, runs_folder):
    toy, code = fences(GUIDE / "adding_a_method.md", "python")
    assert toy.strip() == (ROOT / "tests" / "toy_method.py").read_text().strip()
    imported("page_method", code)
    changes = {"train.steps": 4, "train.eval_every": 2, "sudden.at": 0.5}
    run = train(experiments.run_config("sudden", "smoke", overrides=changes))
    assert run.stages.removed.tolist() == [0, run.totals["chain_length"]]
    assert run.config.sudden.at == 0.5
    assert run.name.startswith("sudden-mult-1x2-s0-")


def test_the_page_of_tasks_names_every_part():
    text = (GUIDE / "adding_a_task.md").read_text()
    public = [name for name in vars(get_task("parity-8").__class__.__base__) if name[0] != "_"]
    missing = [name for name in public if f"`{name}" not in text and name not in ("text", "widths")]
    assert missing == []


# --- folders -----------------------------------------------------------------------------------


def test_the_tree_names_every_folder():
    tree = drawn("tree").splitlines()[1:-1]
    printed = []
    for line in tree:
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        above = printed[-1].split("/")[:depth] if depth else []
        printed.append("/".join([*above, name.rstrip("/")]))
        assert len(line.split()) > 1, f"{name} is not described"
    folders = {name.rpartition("/")[0] for name in tracked() if "/" in name}
    top = {name.split("/")[0] for name in folders}
    assert top <= set(printed)
    assert {f"icotlib/{of_folder(folder)}" for folder in FOLDERS} <= set(printed)


@pytest.mark.parametrize("folder", FOLDERS, ids=of_folder)
def test_the_docstring_of_a_folder_names_its_files(folder):
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    named = re.findall(r"^(\w+)  +\S", text, re.MULTILINE)
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    files |= {path.parent.name for path in folder.glob("*/__init__.py")}
    assert len(named) == len(set(named))
    assert set(named) == files


def test_the_top_level_holds_what_it_should():
    folders = {name.split("/")[0] for name in tracked() if "/" in name}
    assert folders <= {".ci", ".github", "notebooks", "icotlib", "figures", "data", "tests"}


# --- log, results, automation ------------------------------------------------------------------


def test_the_log_has_one_dated_heading_for_each_experiment():
    text = LOG.read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    dates = [heading[:10] for heading in headings]
    for heading in headings:
        assert re.match(r"\d{4}-\d\d-\d\d: .+ — .+", heading), f"no date or verdict: {heading}"
    assert dates == sorted(dates, reverse=True)
    index = re.findall(r"^- \[(.*)\]\(#(.*)\)$", text.partition("\n## ")[0], re.MULTILINE)
    assert index == [(heading, slug(heading)) for heading in headings]
    assert len(set(headings)) == len(headings)


def test_published_runs_have_a_known_origin():
    for path in sorted((ROOT / "figures").glob("*.json")):
        table = pd.DataFrame(json.loads(path.read_text())["runs"])
        if table.empty:  # costs: measured of steps, not of runs
            continue
        assert table[["commit", "device", "data", "run", "seed"]].notna().all().all(), path.name
        assert not table["commit"].str.contains(r"\+|unknown").any(), path.name
        assert set(table.preset) <= {"fast", "paper"}, path.name
        assert table.run.str.contains(f"-v{NUMERICS}-").all(), path.name


@pytest.mark.parametrize("name", ["budget", "methods"])
@pytest.mark.parametrize("unit", ["examples", "seconds"])
def test_published_budgets_are_equal(name, unit):
    """On average over seeds, to two in a hundred; on graphs, whose runs are long enough for the
    machine's speed to change between them, to five."""
    table = pd.read_csv(ROOT / "figures" / f"{name}.csv")
    tasks = table.groupby("task") if "task" in table else [("", table)]
    for task, own in tasks:
        given = own[own.budget == f"{unit} of icot_si"]
        reference = own[(own.method == "icot_si") & (own.budget == "own")][unit].mean()
        ratios = given.groupby("method")[unit].mean() / reference
        near = 0.05 if str(task).startswith("graph-") else 0.02
        assert ratios.between(1 - near, 1 + near).all(), f"{task}: {ratios.to_dict()}"


def test_published_times_have_a_known_origin():
    table = pd.read_csv(ROOT / "figures" / "times.csv")
    assert list(table) == ["command", "minutes", "device", "commit", "date"]
    assert table.notna().all().all()
    assert (table.minutes > 0).all()
    for command in table.command:
        assert command.split()[1] in makefile_targets()


def test_published_times_of_the_series_compare_equal_seeds():
    table = pd.read_csv(ROOT / "figures" / "series.csv")
    assert table.notna().all().all()
    for _, rows in table.groupby(["device", "date"]):
        before = set(rows.seed[rows.commit == "b780830"])
        assert before
        for _, ours in rows[rows.commit != "b780830"].groupby(["commit", "precision"]):
            assert set(ours.seed) <= before
            assert ours.seed.is_unique


def test_nothing_tracked_names_a_machine():
    naming = []
    for name in tracked():
        path = ROOT / name
        if (
            path.suffix in (".png", ".pdf", ".safetensors", ".parquet")
            or path.name == "test_project.py"
        ):
            continue
        pattern = r"(?<![\w.])/(root|home|work|tmp)/\w|pypi\.org|file:///"
        if re.search(pattern, path.read_text(encoding="utf-8")):
            naming.append(name)
    assert naming == []


def makefile_targets() -> list[str]:
    """The targets that a person types, as the Makefile declares them."""
    text = (ROOT / "Makefile").read_text()
    return re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()


def test_make_help_lists_every_target():
    try:
        command = ["make", "-s", "-C", str(ROOT), "help"]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("make is not installed")
    listed = re.findall(r"^make (\w+) +\S", out, re.MULTILINE)
    assert sorted(listed) == sorted(makefile_targets())
    assert sorted(re.findall(r"`make (\w+)`", drawn("targets"))) == sorted(makefile_targets())


def test_the_public_workflow_runs_what_ci_runs():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o100
    makes = re.findall(r"^make (\w+)", script.read_text(), re.MULTILINE)
    check = re.search(r"^check: (.*?) ##", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert makes == check.split()
