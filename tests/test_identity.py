"""A run is what its data, models and code hold: never an old number for new data."""

import functools
import json
import linecache
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import icotlib as icot
from icotlib.cli import main
from icotlib.config import RunConfig, to_dict
from icotlib.data.corpus import load_corpus
from icotlib.errors import ConfigError, DataError, RunError
from icotlib.registry import TASKS
from icotlib.reporting.summary import summary
from icotlib.runs import Run, all_runs, unfinished
from icotlib.sharing.archive import export_runs, import_runs
from icotlib.system import contents, origin
from icotlib.system.names import as_name, check_name
from icotlib.system.spreadsheets import inert
from icotlib.tasks.base import SymbolBatch, Task
from icotlib.training.trainer import Trainer, train
from tests.helpers import TINY, ended, trainer_in


def written(folder: Path, add: int = 0) -> Path:
    """A folder of data: sums of two digits, each with one digit added."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, first in (("train", range(6)), ("valid", (6, 7)), ("test", (8, 9))):
        lines = [f"{a} + {b}||{a} {b} #### {(a + b + add) % 10}\n" for a in first for b in range(9)]
        (folder / f"{split}.txt").write_text("".join(lines))
    return folder


def config_on(path: Path | str, **changes: object) -> RunConfig:
    sizes = {"data.valid_examples": 8, "data.test_examples": 8, "data.path": str(path)}
    return RunConfig().override(
        {x: y for x, y in TINY.items() if x != "data.task"} | sizes | changes
    )


@pytest.fixture
def killed(monkeypatch):
    """Trains a run up to its last checkpoint and kills it there."""

    def begin(config: RunConfig) -> Run:
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_finish", lambda self, rows: None)
            return train(config)

    return begin


# --- data --------------------------------------------------------------------------------------


def test_the_name_depends_on_what_the_data_hold(tmp_path, runs_folder, monkeypatch):
    first = config_on(written(tmp_path / "a" / "data"))
    name, other = first.run_name, config_on(written(tmp_path / "b" / "data", add=1)).run_name
    assert name != other
    assert config_on(written(tmp_path / "c" / "data")).run_name == name
    for folder in ("a", "b"):  # the same relative path in two folders
        monkeypatch.chdir(tmp_path / folder)
        assert config_on("data").run_name == {"a": name, "b": other}[folder]
    written(tmp_path / "a" / "data", add=1)  # other data at the same path
    assert first.run_name == other
    (tmp_path / "b" / "data" / "notes.md").write_text("not read")
    assert config_on(tmp_path / "b" / "data").run_name == other


def test_moved_data_are_the_same_run(tmp_path, runs_folder):
    run = train(config_on(written(tmp_path / "data")))
    (tmp_path / "data").rename(tmp_path / "another name")
    moved = config_on(tmp_path / "another name")
    assert unfinished([moved]) == []
    assert Run.of(moved).name == run.name
    assert summary([run]).seeds.tolist() == [1]  # without its data
    assert run.config.run_name == run.name
    with pytest.raises(DataError, match=r"train\.txt: no such file"):
        load_corpus(run.config.data)


def test_an_old_model_is_not_tested_on_new_data(tmp_path, runs_folder):
    run = train(config_on(written(tmp_path / "data")))
    model = icot.load(run)
    written(tmp_path / "data", add=1)
    with pytest.raises(DataError, match=r"data.* has changed: it holds \w+, and the run was made"):
        model.evaluate()
    assert run.done
    assert not Run.of(config_on(tmp_path / "data")).done


def test_a_run_that_was_stopped_never_goes_on_with_other_data(tmp_path, runs_folder, killed):
    config = config_on(written(tmp_path / "data")).pinned()
    run = killed(config)
    written(tmp_path / "data", add=1)
    with pytest.raises(DataError, match="has changed"):
        train(config)
    assert killed(config_on(tmp_path / "data")).name != run.name
    written(tmp_path / "data")
    assert train(config).done


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "another"}, "the data changed since"),
        ({"numerics": 0}, "the numerics version changed since"),
        ({"trained_with": {"tokenizer": "another"}}, "the tokenizer changed since"),
        ({"trained_with": {"precision": "bf16"}}, "the precision changed since"),
        ({"trained_with": {"pretrained model": "another"}}, None),  # this run has none
        ({"trained_with": {"code of the task": "another"}}, None),
    ],
)
def test_a_run_goes_on_only_as_it_began(change, message, runs_folder, tiny, killed):
    run = killed(tiny)
    path = run.folder / "provenance.json"
    path.write_text(json.dumps(run.provenance | change))
    if message is None:
        assert train(tiny).done
        return
    with pytest.raises(RunError, match=f"cannot go on: {message}.*or delete {run.folder}"):
        train(tiny)


def test_a_checkpoint_knows_its_data_where_provenance_is_lost(runs_folder, tiny, killed):
    run = killed(tiny)
    (run.folder / "provenance.json").unlink()
    assert train(tiny).provenance["data"] == load_corpus(tiny.data).digest
    assert [one.name for one in all_runs()] == [run.name]


def test_a_run_never_goes_on_from_the_checkpoint_of_another(runs_folder, tiny, killed):
    own, other = killed(tiny), killed(tiny.override(seed=1))
    shutil.rmtree(own.folder / "checkpoint")
    shutil.copytree(other.folder / "checkpoint", own.folder / "checkpoint")
    with pytest.raises(RunError, match=f"is of another run.*or delete {own.folder}"):
        train(tiny)


def test_a_plan_for_data_that_are_elsewhere(runs_folder):
    config = config_on("/nowhere/data")
    assert "-data-s0-v2-" in config.run_name
    with pytest.raises(DataError, match="no such file"):
        train(config)
    assert list(runs_folder.glob("*/config.json")) == []


# --- models ------------------------------------------------------------------------------------


def test_other_weights_at_the_same_path_are_another_run(tmp_path, pretrained, runs_folder):
    folder = Path(pretrained("gpt2"))
    config = RunConfig().override({"model.pretrained": str(folder)})
    name = config.run_name
    shutil.copytree(folder, tmp_path / "copy")
    assert config.override({"model.pretrained": str(tmp_path / "copy")}).run_name == name
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        before = (folder / file).read_bytes()
        (folder / file).write_bytes(before + b" ")
        assert config.run_name != name
        (folder / file).write_bytes(before)
    (folder / "README.md").write_text("not read")
    (folder / "generation_config.json").write_text("{}")
    assert config.run_name == name
    hub = RunConfig().override({"model.pretrained": "owner/name"})
    assert hub.pinned() == hub


def test_a_run_does_not_begin_with_other_weights_than_it_was_asked_for_with(
    pretrained, runs_folder, tiny
):
    folder = Path(pretrained("gpt2"))
    config = tiny.override({"model.pretrained": str(folder)}).pinned()
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"n_inner": 7}))
    with pytest.raises(DataError, match=r"model\.pretrained=.* has changed"):
        train(config)


# --- code --------------------------------------------------------------------------------------

TASK = '''
"""A task of a user's own: the last digit of a sum."""

import numpy as np
from icotlib.tasks.base import SymbolBatch, Task, register


@register("lastdigit")
class LastDigit(Task):
    symbols = tuple("0123456789+")
    n_questions = 10**4
    example_question = "1 2 + 3 4"

    def __init__(self, size):
        self.name = f"lastdigit-{size}"

    @classmethod
    def parse(cls, size):
        return cls(size)

    def sample(self, rng, n):
        return rng.integers(0, 10, (n, 4))

    def render(self, questions, rng=None):
        a, b, c, d = questions.T
        sign = np.full(len(a), 10)
        question = np.stack([a, b, sign, c, d], axis=1)
        return SymbolBatch(question, np.stack([b, d], axis=1), ((b + d + ADD) % 10)[:, None])

    def parse_question(self, typed):
        return np.array([[int(x) for x in typed.split() if x != "+"]])
'''


def command(*words: str, runs: Path) -> subprocess.CompletedProcess:
    import os

    environment = os.environ | {"ICOT_RUNS": str(runs), "ICOT_LIVE": "0"}
    return subprocess.run(
        [sys.executable, "-m", "icotlib", *words],
        env=environment,
        capture_output=True,
        text=True,
        cwd=Path(icot.__file__).parent.parent,
    )


def test_a_run_of_a_users_task_without_its_code(tmp_path, runs_folder, monkeypatch, capsys):
    """It is named after the code, listed and summarised without it, and not asked."""
    file = tmp_path / "own.py"
    file.write_text(TASK.replace("ADD", "0"))
    config = to_dict(RunConfig().override(TINY))
    config["data"]["task"] = "lastdigit-2"

    def trained() -> set[str]:
        """The runs there are once another process has trained this one."""
        process = trainer_in(str(runs_folder), config, str(file))
        process.start()
        assert ended(process) == 0
        return {run.name for run in all_runs()}

    [name] = trained()
    file.write_text("# a comment\n" + TASK.replace("ADD", "0"))
    assert trained() == {name}
    file.write_text(TASK.replace("ADD", "1"))
    assert len(trained()) == 2
    assert "lastdigit" not in TASKS.names()
    assert [run.config.task for run in all_runs()] == ["lastdigit-2"] * 2
    assert len(summary()) == 2
    for words in (["runs"], ["runs", "--csv"], ["show", name], ["compare", name, name]):
        assert main(words) == 0
        assert capsys.readouterr().err == ""
    assert main(["ask", name, "1 2 + 3 4"]) == 1
    assert "unknown task 'lastdigit'" in capsys.readouterr().err
    export_runs([Run(runs_folder / name)], tmp_path / "runs.tar.gz")
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "there"))
    assert [run.name for run in import_runs(tmp_path / "runs.tar.gz")[0]] == [name]


def make_task(add: int) -> type[Task]:
    """A class that only a notebook has: no file holds it."""
    space: dict = {"Task": Task, "SymbolBatch": SymbolBatch, "np": np, "__name__": "__main__"}
    source = TASK.partition("@register")[2].partition("\n")[2].replace("ADD", str(add))
    exec(compile(source, "<cell>", "exec"), space)
    return space["LastDigit"]


def test_the_code_of_a_notebook_counts():
    same, again, other = make_task(0), make_task(0), make_task(1)
    assert contents.code_hash(same) == contents.code_hash(again) != contents.code_hash(other)
    assert contents.code_hash(TASKS.get("mult")) is None


@pytest.mark.parametrize("known", [True, False], ids=["cell", "no text"])
@pytest.mark.parametrize(
    "body",
    [
        "@functools.cached_property\n    def order(self): return {}",
        "@property\n    def order(self): return {}",
        "order = property(None, lambda self, value: {})",
        "@staticmethod\n    def order(): return {}",
        "order = {}",
    ],
)
def test_all_that_stands_in_a_class_counts(body, known, monkeypatch):
    def hashed(value, comment=""):
        source = f"class Own:\n    def text(self): return 0{comment}\n    {body.format(value)}\n"
        name, lines = f"<cell {value}{comment}>", source.splitlines(keepends=True)
        space = {"functools": functools, "__name__": "__main__"}
        if known:
            monkeypatch.setitem(linecache.cache, name, (len(source), None, lines, name))
        exec(compile(source, name, "exec"), space)
        return contents.code_hash(space["Own"])

    assert hashed(1) != hashed(2)
    assert hashed(1, "  # a comment") == hashed(1)


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "../up",
        "a/b",
        "a\\b",
        "=1+1",
        "-x",
        ".hidden",
        "..",
        "a b",
        "a\nb",
        "a\0b",
        "x" * 81,
        "e\u0301",
    ],
)
def test_a_name_from_outside_stays_in_the_folder(text, runs_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"becomes the name of a folder|control character"):
        RunConfig().override({"label": text})
    with pytest.raises(ConfigError, match=r"becomes the name of a folder|control character"):
        icot.sweep("icot_si", {"seed": [0]}, name=text, preset="smoke")
    assert not runs_folder.exists() or list(runs_folder.iterdir()) == []


@pytest.mark.parametrize("text", ["kd-teacher", "pace=8", "v1.2", "größe", "a,b", "_x", "x" * 80])
def test_usual_names_are_names(text):
    assert check_name(text, "label") == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gsm8k", "gsm8k"),
        ("my data (v2)", "my-data-v2-"),
        ("=cmd", "cmd"),
        ("..", "data"),
        ("", "data"),
        ("a\nb", "a-b"),
        ("é" * 90, "é" * 40),
    ],
)
def test_folders_of_data_name_runs(text, expected):
    assert as_name(text) == expected


def test_texts_of_a_table_are_no_formulas():
    texts = ["=1+1", "+1", "-1", "@x", "\t=1", "-", "a=b", "", "-x"]
    table = inert(pd.DataFrame({"=text": texts, "number": range(len(texts))}))
    assert table["'=text"].tolist() == ["'=1+1", "+1", "-1", "'@x", "'\t=1", "-", "a=b", "", "'-x"]
    assert table.number.tolist() == list(range(len(texts)))


# --- provenance --------------------------------------------------------------------------------


def test_the_commit_is_that_of_the_project_alone(tmp_path, monkeypatch):
    """An installed package may lie in a repository of something else."""
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "a thesis"]):
        own = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *own, *words], check=True)
    (tmp_path / "installed").mkdir()
    monkeypatch.setattr(origin.paths, "PROJECT", tmp_path / "installed")
    assert origin.git_commit() == "unknown"
    monkeypatch.setattr(origin.paths, "PROJECT", tmp_path.resolve())
    assert re.fullmatch("[0-9a-f]{12}", origin.git_commit())


def test_commands_are_kept_without_the_folders_of_whoever_typed_them(monkeypatch):
    monkeypatch.delenv(origin.COMMAND, raising=False)
    words = [
        "/at/me/.venv/bin/icot",
        "train",
        "--set",
        "data.path=/at/me/own",
        "--out=/x/y.csv",
    ]
    monkeypatch.setattr(sys, "argv", [*words, "a/b"])
    assert origin.command_line() == "icot train --set data.path=own --out=y.csv a/b"
