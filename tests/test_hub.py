"""Exported models: a folder that stands for itself, with a card whose code works anywhere."""

import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import huggingface_hub
import pytest
import yaml
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM

from icotlib import experiments
from icotlib.cli import main
from icotlib.config import RunConfig
from icotlib.data.corpus import examples_of
from icotlib.errors import ConfigError, RunError
from icotlib.evaluation.stage_model import StageModel
from icotlib.runs import Run
from icotlib.sharing import card_code, cards, hub, push
from icotlib.system import leases
from icotlib.training.trainer import train
from tests.helpers import TINY, bytes_tokenizer, save_pretrained, unigram_tokenizer

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
        quick = TINY | {"data.task": "mult-1x2", "train.steps": 2, "train.eval_every": 2}
        # Large random weights: what such a model writes depends on every position and token.
        quick |= {"model.options": {"initializer_range": 0.5}}
        shifting = {"removal.keep_positions": False}
        all_removed = {"method": "icot_si", "removal.remove_all_at": 0, "removal.warmup_steps": 0}
        config = RunConfig().override(quick | {"removal.warmup_steps": 1})
        own = quick | {"data.path": str(write_own(home / "my <b>data</b>"))}
        own |= {"removal.warmup_steps": 1, "model.options": {}}
        for_bytes = save_pretrained(
            home, "gpt2", tokenizer=bytes_tokenizer(OWN_LINES), initializer_range=0.5
        )
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
            "plain": train(
                config.override(
                    shifting | {"method": "icot_si", "removal.pace": 2.0, "train.steps": 4,
                                "removal.steps_per_epoch": 1, "removal.warmup_steps": 0}
                )
            ),
            "bytes_kept": train(RunConfig().override(own | {"model.pretrained": for_bytes})),
            "bytes_steps": train(
                RunConfig().override(
                    own | all_removed | shifting
                    | {"model.pretrained": for_bytes, "removal.step_end": ">>",
                       "model.spaced_separators": True}
                )
            ),
            "unigram": train(
                RunConfig().override(
                    own | all_removed | shifting | {"model.pretrained": for_unigram}
                )
            ),
            "coupled": train(
                experiments.icot_kd(
                    "smoke", overrides={"train.steps": 4, "train.eval_every": 4} | {
                        name: x for name, x in quick.items() if name.startswith(("data.", "model."))
                    }
                )
            ),
        }  # fmt: skip


ALONE = ["no_cot", "no_cot_plain", "explicit", "kept", "plain", "bytes_kept", "bytes_steps",
         "unigram", "kept_at_2"]  # fmt: skip


@pytest.fixture(scope="module")
def exported(runs, tmp_path_factory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("elsewhere")
    folders = {name: hub.export(run, home / name) for name, run in runs.items()}
    return folders | {"kept_at_2": hub.export(runs["kept"], home / "kept_at_2", removed=2)}


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text()


def code_of(folder: Path) -> str:
    return re.search(r"^(`{3,})python\n(.*?)^\1$", card_of(folder), re.DOTALL | re.MULTILINE)[2]


def own_answer(folder: Path, runs: dict[str, Run]) -> str:
    """What icotlib writes after the question of the card, its chain and its answer."""
    removed = hub.record(folder)["removed"]
    model = StageModel.of(runs[folder.name.partition("_at_")[0]], removed, device="cpu")
    example = card_code.training_example(model)
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
    said = 0
    for name, script in zip(ALONE, scripts, strict=True):
        ours, theirs = own_answer(exported[name], runs), " ".join(printed[script].split())
        said += bool(ours)
        assert bool(theirs) == bool(ours), name
        # One of them writes for longer: these models may never end.
        assert theirs.startswith(ours) or ours.startswith(theirs), name
    assert said > 4


def test_the_code_of_the_card_works_in_a_session_beside_its_folder(
    runs, exported, monkeypatch, capsys
):
    for name in ("plain", "coupled"):
        monkeypatch.chdir(exported[name].parent)
        exec(code_of(exported[name]), {})
        assert " ".join(capsys.readouterr().out.split()).startswith(
            own_answer(exported[name], runs)
        )


def test_the_card_names_what_a_reader_needs_and_gives_nothing_away(runs, exported):
    for name, run in runs.items():
        folder = exported[name]
        card = card_of(folder)
        model = StageModel.of(run, device="cpu")
        header = ModelCard(card).data.to_dict()
        spec = run.config.spec
        assert header["license"] == ("apache-2.0" if name.startswith("bytes") else "unknown")
        assert header["library_name"] == ("icotlib" if name == "coupled" else "transformers")
        assert (f"arxiv:{spec.paper}" in header["tags"]) == bool(spec.paper)
        stage = run.stages.iloc[-1]
        for text in (
            run.name, run.provenance["data"], spec.label, f"test {len(model.corpus.test)}.",
            f"| {stage.removed} (this model) | {stage.accuracy:.1%} | {stage.ci_low:.1%} to ",
        ):  # fmt: skip
            assert text in card
        assert ("adapters" in card) == bool(run.config.model.lora)
        question = card_code.training_example(model).question
        assert repr(question) in card
        for split in ("test", "valid"):
            held_out = [x.question for x in examples_of(getattr(model.corpus, split))]
            assert question not in held_out
            assert not any(repr(one) in card for one in held_out)
        for file in [path for path in folder.iterdir() if path.suffix != ".safetensors"]:
            assert "hidden-home" not in file.read_text()
            assert str(Path.home()) not in file.read_text()


def test_the_card_shows_only_settings_that_the_run_reads(runs, exported):
    def settings(name):
        blocks = re.findall(r"```yaml\n(.*?)```", card_of(exported[name]), re.DOTALL)
        return yaml.safe_load(blocks[-1])

    assert settings("kept")["model"]["layers"] == 2
    assert settings("kept")["removal"]["keep_positions"] is True
    assert "step_end" not in settings("kept")["removal"]
    own = settings("bytes_steps")
    assert own["removal"]["step_end"] == ">>"
    assert own["model"] == {"extra_positions": 0, "spaced_separators": True}
    assert "data" not in own
    assert set(settings("coupled")["phases"]) == {"explicit_cot", "kd_student", "kd_emulator"}
    config = runs["kept"].config.override({"optim.name": "adamw"})
    assert "muon_lr" not in cards.applied(config)["optim"]


@pytest.mark.parametrize(
    "text",
    [
        "a *b* _c_ [d](e) <f> | `g`",
        "back ``ticks`` and ` alone",
        "two\nlines: and\ttab",
        "--- # no: header",
        "<script>alert(1)</script> &amp; $x$ ~~y~~",
        "![image](http://x) \\ {{ jinja }} {% x %}",
    ],
)  # fmt: skip
def test_texts_from_outside_stay_text_in_the_card(text):
    """Checked with the parser of the notebooks' pages."""
    from markdown_it import MarkdownIt  # jupyterlab has it

    def shown(markdown):
        tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(f"on {markdown} end.")
        assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
        kinds = {child.type for child in tokens[1].children}
        assert kinds <= {"text", "code_inline", "text_special"}
        return "".join(child.content for child in tokens[1].children)

    one_line = " ".join(text.split())
    assert shown(cards.plain(text)) == f"on {one_line} end."
    assert shown(cards.code(text)) == f"on {one_line} end."
    fence = cards.fenced(f"x = {text!r}\n```\n", "python").splitlines()
    assert fence[0].removesuffix("python") == fence[-1] == "````"


def test_an_export_is_whole_or_not_there_and_never_replaces_anything(runs, tmp_path, monkeypatch):
    run, folder = runs["plain"], tmp_path / "new" / "model"

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(hub, "save_model", killed)
        with pytest.raises(KeyboardInterrupt):
            hub.export(run, folder)
    assert list(folder.parent.iterdir()) == []
    # A kill leaves part and lease behind; nobody holds the lease any more.
    (folder.parent / ".model.part").mkdir()
    (folder.parent / ".model.part" / "model.safetensors").write_text("half")
    gone = {"token": "x", "beats": 3, **leases.this_process(), "pid": 2**22 - 1}
    (folder.parent / ".model.lease").write_text(json.dumps(gone))
    assert hub.export(run, folder, removed=2) == folder
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for existing in (folder, tmp_path, folder / "config.json"):
        with pytest.raises(ConfigError, match="exists"):
            hub.export(run, existing)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert "| 2 (this model) |" in card_of(folder)
    with pytest.raises(ConfigError, match=r"config\.json/x cannot be written"):
        hub.export(run, folder / "config.json" / "x")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "save_model", full)
    with pytest.raises(ConfigError, match="cannot be written: No space left on device"):
        hub.export(run, tmp_path / "other")
    assert not list(tmp_path.glob("*other*"))


def test_what_cannot_be_exported_says_why(runs, tmp_path, monkeypatch):
    student = Run.of(runs["coupled"].config.phases["student"])
    with pytest.raises(RunError, match="answers no questions by itself"):
        hub.export(Run(runs["coupled"].folder.parent / student.name), tmp_path / "model")
    with pytest.raises(ConfigError, match="no stage with 99 tokens removed"):
        hub.export(runs["no_cot"], tmp_path / "model", removed=99)
    unfinished = tmp_path / "run"
    shutil.copytree(runs["no_cot"].folder, unfinished)
    (unfinished / "done.json").unlink()
    with pytest.raises(RunError, match="not finished"):
        hub.export(Run(unfinished), tmp_path / "model")
    changed = tmp_path / "changed"
    shutil.copytree(runs["plain"].folder, changed)
    about = runs["plain"].provenance | {"data": "0" * 16}
    monkeypatch.setattr(Run, "provenance", about)
    with pytest.raises(RunError, match="trained on data with the hash 0000000000000000"):
        hub.export(Run(changed), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_class_is_named_in_the_config_only_when_asked(runs, exported, tmp_path):
    config = json.loads((exported["coupled"] / "config.json").read_text())
    assert "auto_map" not in config
    folder = hub.export(runs["coupled"], tmp_path / "model", auto_map=True)
    config = json.loads((folder / "config.json").read_text())
    assert config["auto_map"]["AutoModelForCausalLM"] == "modeling_icotlib.Coupled"
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    assert type(model).__name__ == "Coupled"
    # A plain model needs none.
    plain = hub.export(runs["plain"], tmp_path / "plain", auto_map=True)
    assert not (plain / hub.AUTO_MAP).exists()


# --- push --------------------------------------------------------------------------------------


class Recorded:
    """A hub that takes everything and notes what it is asked."""

    asked: ClassVar[list] = []
    is_private: ClassVar[bool] = False

    def repo_info(self, name):
        return SimpleNamespace(private=self.is_private)

    def whoami(self):
        self.asked.append("whoami")

    def create_repo(self, name, private, exist_ok):
        self.asked.append(("create", name, private, exist_ok))
        return f"https://hub/{name}"

    def upload_folder(self, repo_id, folder_path, allow_patterns):
        self.asked.append(("upload", repo_id, sorted(allow_patterns)))


def test_it_is_pushed_only_when_asked_and_nothing_but_the_export(
    runs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("ICOT_RUNS", str(runs["kept"].folder.parent))
    monkeypatch.setattr("huggingface_hub.HfApi", Recorded)
    monkeypatch.setattr(Recorded, "asked", asked := [])
    out = tmp_path / "two"
    command = ["export", runs["kept"].name, "--license", "mit", "--out"]
    assert main([*command, str(tmp_path / "one")]) == 0
    assert not asked
    push = [*command, str(out), "--push", "owner/name"]
    assert main(push) == 0
    files = sorted(path.name for path in out.iterdir())
    assert asked[-2:] == [("create", "owner/name", True, False), ("upload", "owner/name", files)]
    assert "https://hub/owner/name" in capsys.readouterr().out
    assert "path = 'owner/name'" in code_of(out)
    assert ModelCard(card_of(out)).data.license == "mit"
    # The upload is tried again from what is there; files beside the export are not taken.
    (out / "secret.txt").write_text("x")
    (out / "README.md").write_text(card_of(out) + "edited")
    assert main([*push, "--public", "--update"]) == 0
    assert asked[-2:] == [("create", "owner/name", False, True), ("upload", "owner/name", files)]
    # A repository keeps its visibility: nothing goes to a public one unasked.
    before = len([one for one in asked if one[0] == "upload"])
    assert main([*push, "--update"]) == 1
    assert "owner/name is public already" in capsys.readouterr().err
    monkeypatch.setattr(Recorded, "is_private", True)
    assert main([*push, "--public", "--update"]) == 1
    assert "owner/name is private already" in capsys.readouterr().err
    assert len([one for one in asked if one[0] == "upload"]) == before
    for other in ([*push[:-1], "owner/another"], [*push, "--license", "apache-2.0"]):
        assert main(other) == 1  # another export than is there
        assert "exists" in capsys.readouterr().err
    assert main([*push, "--auto-map"]) == 1
    assert "exists" in capsys.readouterr().err
    (out / "config.json").write_text("{}")
    assert main(push) == 1
    assert "config.json is not what was exported" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "three"), "--public"]) == 1


class Refusing(http.server.BaseHTTPRequestHandler):
    """A hub that answers with the status that the test has chosen."""

    status: ClassVar[dict[str, int]] = {}

    def answer(self):
        status = self.status.get(self.path, 200)
        body = json.dumps({"name": "me", "error": "because"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.answer()

    def log_message(self, *args):
        pass


@pytest.fixture
def refusing(monkeypatch):
    """huggingface_hub's own client, against a server of this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        "huggingface_hub.HfApi",
        functools.partial(huggingface_hub.HfApi, endpoint=endpoint, token="t"),
    )
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/api/whoami-v2", 401, "the hub refuses the token: hf auth login"),
        ("/api/repos/create", 403, "the token may not write to me/it"),
        ("/api/repos/create", 409, "me/it exists on the hub: take another name, or .* --update"),
        ("/api/repos/create", 500, "the hub answers 500"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    refusing, runs, tmp_path, monkeypatch, path, status, message
):
    monkeypatch.setattr(Refusing, "status", {path: status})
    folder = hub.export(runs["plain"], tmp_path / "it", name="me/it")
    with pytest.raises(ConfigError, match=message):
        push.push(folder, "me/it")


def test_a_hub_out_of_reach_is_noticed_before_the_export(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ICOT_RUNS", str(runs["plain"].folder.parent))
    command = ["export", runs["plain"].name, "--out", str(tmp_path / "x"), "--push"]
    api = huggingface_hub.HfApi
    closed = functools.partial(api, endpoint="http://127.0.0.1:9", token="t")
    for offline, client, name, message in (
        (False, closed, "me/it", "the hub cannot be reached"),
        (True, closed, "me/it", "HF_HUB_OFFLINE is set"),
        (False, functools.partial(api, token=None), "me/it", "you are not logged in"),
        (False, closed, "no-owner", "give OWNER/NAME"),
        (False, closed, "me/../it", "give OWNER/NAME"),
        (False, closed, "me/it--x..y", "--push me/it--x..y"),
    ):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr("huggingface_hub.HfApi", client)
        monkeypatch.setattr("huggingface_hub.hf_api.get_token", lambda: None)
        assert main([*command, name]) == 1
        assert message in capsys.readouterr().err
        assert not (tmp_path / "x").exists()
