"""Exported models: a folder that stands for itself, with a card whose code works."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from icotlib import experiments
from icotlib.cli import main
from icotlib.data.corpus import examples_of, load_corpus
from icotlib.errors import ConfigError, RunError
from icotlib.evaluation.generation import generate
from icotlib.models.loading import load_stage
from icotlib.reporting import hub
from icotlib.runs import Run
from icotlib.training.trainer import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Short runs: No CoT, stepwise with and without kept positions, and a coupled one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("runs")))
        quick = {"train.steps": 60, "train.eval_every": 60, "data.test_examples": 8}
        shifting = quick | {"removal.keep_positions": False}
        yield {
            "no_cot": train(experiments.no_cot("smoke", overrides=quick)),
            "kept": train(experiments.icot_si("smoke", overrides=quick)),
            "plain": train(experiments.icot_si("smoke", overrides=shifting)),
            "coupled": train(experiments.icot_kd("smoke", overrides=quick | {"model.layers": 3})),
        }


@pytest.mark.parametrize("name", ["no_cot", "kept", "plain", "coupled"])
def test_the_code_of_the_card_writes_what_the_run_writes(runs, name, tmp_path):
    run = runs[name]
    folder = hub.export(run, tmp_path / "model")
    card = (folder / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0]
    assert ("icotlib" in code) == (name != "plain")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    model, layout = load_stage(run)
    form, removed = run.config.input_format, int(run.stages.removed.max())
    batch = form.arrange(layout.encode(examples_of(load_corpus(run.config.data).test)[:1]))
    new = int(re.search(r"max_new_tokens=(\d+)", code)[1])
    (text,) = layout.texts(generate(model, layout, batch, removed, form.keep_positions, new))
    output = " ".join(printed.getvalue().replace("<eos>", "").split())
    assert text
    assert output.endswith(text)


def test_the_card_says_what_it_is_and_where_it_comes_from(runs, tmp_path):
    run = runs["plain"]
    folder = hub.export(run, tmp_path / "model", removed=2)
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers")
    assert f"`{run.name}`" in card
    assert run.provenance["data"] in card
    assert "| 2 (this model) |" in card
    settings = json.loads(card.split("```json\n")[1].split("```")[0])
    stored = json.loads((run.folder / "config.json").read_text())
    assert settings | {"format": stored["format"]} == stored
    assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "gpt2"


def test_what_cannot_be_exported_says_why(runs, tmp_path):
    student = Run.of(runs["coupled"].config.phases["student"])
    with pytest.raises(RunError, match=r"answers no questions by itself: .*\(ICoT-KD student"):
        hub.export(student, tmp_path / "model")
    with pytest.raises(ConfigError, match="no stage with 99 tokens removed"):
        hub.export(runs["no_cot"], tmp_path / "model", removed=99)
    with pytest.raises(ConfigError, match="exists"):
        hub.export(runs["no_cot"], tmp_path)
    unfinished = tmp_path / "run"
    shutil.copytree(runs["no_cot"].folder, unfinished)
    (unfinished / "done.json").unlink()
    with pytest.raises(RunError, match="not finished"):
        hub.export(Run(unfinished), tmp_path / "model")


def test_it_is_pushed_only_when_asked(runs, tmp_path, monkeypatch, capsys):
    asked = []

    class Hub:
        def create_repo(self, name, exist_ok):
            asked.append(name)
            return f"https://hub/{name}"

        def upload_folder(self, repo_id, folder_path):
            asked.append((Path(folder_path) / "README.md").read_text())

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    command = ["export", runs["kept"].name, "--out"]
    assert main([*command, str(tmp_path / "one")]) == 0
    assert not asked
    assert main([*command, str(tmp_path / "two"), "--push", "owner/name"]) == 0
    assert asked[0] == "owner/name"
    assert "path = 'owner/name'" in asked[1]
    assert "https://hub/owner/name" in capsys.readouterr().out
