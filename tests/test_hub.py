"""Exported models: a folder that stands for itself, with a card whose code works anywhere."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM

from icotlib import experiments, paths
from icotlib.cli import main
from icotlib.config import RunConfig
from icotlib.data.corpus import examples_of, load_corpus
from icotlib.errors import ConfigError, RunError
from icotlib.evaluation.stage_model import StageModel
from icotlib.reporting import card_code, cards, hub
from icotlib.runs import Run
from icotlib.training.trainer import train
from tests.helpers import TINY_SIZES, bytes_tokenizer, save_pretrained, unigram_tokenizer

#: Runs a script of an export from another folder, where there is no icotlib.
GUARD = """\
import contextlib, io, json, os, runpy, sys
class NoIcotlib:
    def find_spec(self, name, *args):
        if name.partition(".")[0] == "icotlib":
            raise ImportError("no icotlib here")
sys.meta_path.insert(0, NoIcotlib())
printed = {}
for script in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runpy.run_path(script, run_name="__main__")
    printed[script] = out.getvalue()
print(json.dumps(printed))
"""

#: Own data with steps of different length, in which nothing is in two splits.
OWN_LINES = [f"{a} + {b} + 1 =||<<{a}+{b}>> <<{a + b}+1>> #### {a + b + 1}" for a in range(9)
             for b in (*range(9), 10)]  # fmt: skip


def write_own(folder: Path) -> Path:
    folder.mkdir(parents=True)
    splits = {"train": OWN_LINES[:70], "valid": OWN_LINES[70:80], "test": OWN_LINES[80:]}
    for split, lines in splits.items():
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Short runs of every kind whose models are asked in different ways."""
    home = tmp_path_factory.mktemp("hidden-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(home / "runs"))
        quick = TINY_SIZES | {"data.task": "mult-1x2", "train.steps": 30, "train.eval_every": 30}
        shifting = {"removal.keep_positions": False}
        config = RunConfig().override(quick | {"removal.warmup_steps": 4})
        own = quick | {"data.path": str(write_own(home / "my <b>data</b>")), "method": "icot_si"}
        own |= {"removal.warmup_steps": 4, "train.steps": 12, "train.eval_every": 12}
        for_bytes = save_pretrained(home, "gpt2", tokenizer=bytes_tokenizer(OWN_LINES))
        (Path(for_bytes) / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
        for_unigram = save_pretrained(
            home,
            "llama",
            tokenizer=unigram_tokenizer([line.replace(">", " ") for line in OWN_LINES]),
        )
        yield {
            "no_cot": train(config.override({"method": "no_cot"})),
            "no_cot_plain": train(config.override({"method": "no_cot"} | shifting)),
            "explicit": train(config.override({"method": "explicit_cot"})),
            "kept": train(config),
            "plain": train(config.override(shifting)),
            "bytes_kept": train(RunConfig().override(own | {"model.pretrained": for_bytes})),
            "bytes_steps": train(
                RunConfig().override(
                    own | shifting | {"model.pretrained": for_bytes, "removal.step_end": ">>",
                                      "model.spaced_separators": True}
                )
            ),
            "unigram": train(
                RunConfig().override(own | shifting | {"model.pretrained": for_unigram})
            ),
            "coupled": train(
                experiments.icot_kd(
                    "smoke", overrides={"train.steps": 40, "train.eval_every": 40} | {
                        name: x for name, x in quick.items() if name.startswith(("data.", "model."))
                    }
                )
            ),
        }  # fmt: skip


ALONE = ["no_cot", "no_cot_plain", "explicit", "kept", "plain", "bytes_kept", "bytes_steps",
         "unigram"]  # fmt: skip


@pytest.fixture(scope="module")
def exported(runs, tmp_path_factory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("elsewhere")
    return {name: hub.export(run, home / name) for name, run in runs.items()}


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text()


def code_of(folder: Path) -> str:
    return re.search(r"^(`{3,})python\n(.*?)^\1$", card_of(folder), re.DOTALL | re.MULTILINE)[2]


def own_answer(run: Run) -> str:
    """What icotlib writes after the question of the card, its chain and its answer."""
    model = StageModel.of(run, device="cpu")
    example = card_code.example_of(model)
    written = model.generate(model.format.arrange(model.layout.encode([example])), 9)
    return model.layout.texts(written)[0]


def test_the_code_of_the_card_answers_from_any_folder_without_icotlib(runs, exported, tmp_path):
    scripts = [str(exported[name] / "example.py") for name in ALONE]
    for name in ALONE:
        assert code_of(exported[name]) == (exported[name] / "example.py").read_text()
        assert "icotlib." not in code_of(exported[name]).replace("icotlib.json", "")
    command = [sys.executable, "-I", "-c", GUARD, *scripts]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    printed = json.loads(done.stdout.splitlines()[-1])
    for name, script in zip(ALONE, scripts, strict=True):
        ours, theirs = own_answer(runs[name]), " ".join(printed[script].split())
        assert ours
        # A model so young may never end: the code goes on for longer.
        assert theirs == ours or theirs.startswith(ours), name


def test_the_code_of_the_card_works_in_a_session_beside_its_folder(
    runs, exported, monkeypatch, capsys
):
    for name in ("plain", "coupled"):
        monkeypatch.chdir(exported[name].parent)
        exec(code_of(exported[name]), {})
        assert " ".join(capsys.readouterr().out.split()).startswith(own_answer(runs[name]))
