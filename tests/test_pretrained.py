"""Pretrained models of many architectures, tokenizers of every kind, in the hub's own format."""

import json
import re
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from icotlib import experiments
from icotlib.config import ModelConfig, RunConfig
from icotlib.data.files import write_examples
from icotlib.data.inputs import remove
from icotlib.data.layout import Layout
from icotlib.data.prepare import bring
from icotlib.errors import ConfigError, DataError
from icotlib.evaluation.generation import generate, left_padded_questions, logits_of, matches
from icotlib.evaluation.stage_model import load_run
from icotlib.methods.causal_lm import token_loss
from icotlib.models.build import build_model
from icotlib.models.loading import load_model, save_model
from icotlib.models.toy import new_model
from icotlib.reporting.hub import export
from icotlib.running import jobs
from icotlib.tasks import Example
from icotlib.tasks.word_problems import write_problems
from icotlib.training.trainer import Trainer, train
from tests.helpers import bytes_tokenizer, unigram_tokenizer

EXAMPLES = [
    Example("Tom has 12 apples and buys 15 more. How many?", "<<12+15=27>>", "27"),
    Example("Ann sold 48 clips, then half as many.", "<<48/2=24>> <<48+24=72>>", "72"),
    Example("A pen costs $5. What do 1,000 cost?", "<<5*1000=5000>>", "5,000"),
    Example("Nothing is left of 7. How much?", "", "0"),
]
TEXTS = [part for example in EXAMPLES for part in (*example, f"#### {example.answer}")] * 4


@pytest.fixture
def tokenizers(request):
    """Makes the tokenizer of a kind."""

    def make(kind: str):
        if kind == "gpt2":
            folder = request.getfixturevalue("reference") / "gpt2-tokenizer"
            return AutoTokenizer.from_pretrained(folder)
        return {"bytes": bytes_tokenizer, "unigram": unigram_tokenizer}[kind](TEXTS)

    return make


PAIRS = [
    ("gpt2", "gpt2"),
    ("gpt_neo", "bytes"),
    ("gpt_neox", "bytes"),
    ("llama", "unigram"),
    ("qwen2", "bytes"),
    ("mistral", "unigram"),
    ("phi", "gpt2"),
]


@pytest.fixture
def own_data(tmp_path):
    """A folder of data whose splits do not meet."""
    for number, split in enumerate(("train", "valid", "test")):
        examples = [x._replace(question=f"{number}: {x.question}") for x in EXAMPLES]
        write_examples(tmp_path / "own" / f"{split}.txt", examples)
    return str(tmp_path / "own")


SMALL = {
    "optim.name": "adamw",
    "optim.lr": 1e-2,
    "removal.schedule": "linear",
    "removal.keep_positions": False,
    "removal.steps_per_epoch": 4,
    "removal.warmup_steps": 0,
    "train.steps": 8,
    "train.batch_size": 4,
    "train.eval_every": 4,
}


def small(folder, own_data, **changes) -> RunConfig:
    return RunConfig().override(
        SMALL | {"model.pretrained": folder, "data.path": own_data} | changes
    )


# --- tokenizers --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gpt2", "bytes", "unigram"])
@pytest.mark.parametrize("spaced", [False, True])
def test_every_kind_of_tokenizer_gives_the_texts_back(tokenizers, kind, spaced):
    layout = Layout(tokenizers(kind), spaced)
    batch = layout.encode(EXAMPLES)
    for i, example in enumerate(EXAMPLES):
        row = batch.ids[i, : batch.total[i]]
        question, rest = row[: batch.question[i]], row[batch.question[i] :]
        assert question[-1] == layout.sep
        assert layout.tokenizer.decode(question[:-1], skip_special_tokens=True).strip() == (
            example.question
        )
        assert rest[batch.chain[i]] == layout.sep
        chain = layout.tokenizer.decode(rest[: batch.chain[i]]).strip()
        assert chain == example.chain
        written = layout.texts(rest[None])[0]
        assert layout.answer(written) == example.answer
    assert batch.chain[3] == 0


def test_a_token_that_begins_every_text_stands_before_the_question_only(tokenizers):
    layout = Layout(tokenizers("unigram"))
    batch = layout.encode(EXAMPLES)
    bos = layout.tokenizer.bos_token_id
    assert (batch.ids[:, 0] == bos).all()
    assert ((batch.ids == bos).sum(dim=1) == 1).all()
    assert layout.pad == layout.eos  # it has no padding of its own
    assert not (Layout(tokenizers("bytes")).encode(EXAMPLES).ids == bos).all()


def test_no_space_is_put_before_a_text_twice(tokenizers):
    layout = Layout(tokenizers("unigram"))
    tokens = layout.tokenizer.convert_ids_to_tokens(layout.answer_delimiter)
    assert "".join(tokens) == "▁####"


# --- architectures -----------------------------------------------------------------------------


@pytest.mark.parametrize(("architecture", "kind"), PAIRS)
def test_a_memorised_batch_is_generated_back(pretrained, tokenizers, architecture, kind):
    """Half of it with one step removed, padding on both sides, with a cache."""
    folder = pretrained(architecture, tokenizer=tokenizers(kind), hidden_size=32)
    torch.manual_seed(0)
    layout = Layout(AutoTokenizer.from_pretrained(folder), step_end=">>")
    model = build_model(ModelConfig(pretrained=folder), layout, longest=64)
    batch = layout.encode(EXAMPLES)
    k = batch.tokens(torch.tensor([0, 1, 0, 1]))  # the last has no step to lose
    inputs = remove(batch, k)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(300):
        logits = logits_of(model, inputs)
        loss = token_loss(logits, inputs) / (inputs.labels >= 0).sum()
        if matches(logits, inputs)[0].all() and loss < 0.05:
            break
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    texts = layout.texts(generate(model.eval(), layout, batch, k))
    wanted = [
        "<<12+15=27>> #### 27",
        "<<48+24=72>> #### 72",
        "<<5*1000=5000>> #### 5,000",
        "#### 0",
    ]
    assert texts == wanted


@pytest.mark.parametrize(("architecture", "kind"), PAIRS)
def test_stepwise_internalization_trains_saves_and_reloads(
    runs_folder, pretrained, tokenizers, own_data, architecture, kind
):
    folder = pretrained(architecture, tokenizer=tokenizers(kind))
    run = train(small(folder, own_data))
    assert run.stages.removed.tolist()[:3] == [0, 2, 4]
    assert run.metrics.loss.iloc[-1] < run.metrics.loss.iloc[0]
    plain = AutoModelForCausalLM.from_pretrained(run.weights())
    assert plain.config.model_type == architecture
    assert plain.config.vocab_size == len(AutoTokenizer.from_pretrained(folder)) + 3  # as it was
    model, layout, corpus = load_run(run)
    batch = layout.encode([Example(**row) for row in corpus.test])
    removed = int(run.stages.removed.max())
    last = run.samples[run.samples.removed == removed]
    assert layout.texts(generate(model, layout, batch, removed)) == last.written.tolist()


# --- whole steps -------------------------------------------------------------------------------


def test_whole_steps_go_one_after_the_other(runs_folder, pretrained, own_data):
    folder = pretrained("gpt2", tokenizer=bytes_tokenizer(TEXTS))
    run = train(small(folder, own_data, **{"removal.step_end": ">>"}))
    assert run.stages.removed.tolist() == [0, 2]  # pace 8 in 4 steps: two at a time
    assert run.totals["chain_tokens"] == 2


@pytest.mark.parametrize("side", ["left", "right"])
def test_steps_of_unequal_length_leave_room_to_write_the_rest(
    runs_folder, pretrained, tmp_path, side, monkeypatch
):
    """The longest step is first: what a model may write must not be counted from the wrong end."""
    allowed = []
    everything = generate

    def counted(*arguments, **named):
        allowed.append(everything(*arguments, **named))
        return allowed[-1]

    chain = "<<1+1+1+1+1+1+1+1+1+1+1+1=12>> <<12+1=13>>"
    for number, split in enumerate(("train", "valid", "test")):
        write_examples(tmp_path / "long" / f"{split}.txt", [Example(f"q{number}", chain, "13")])
    folder = pretrained("gpt2", tokenizer=bytes_tokenizer(TEXTS))
    changes = {"removal.step_end": ">>", "removal.side": side, "removal.pace": 1.0}
    changes |= {"removal.steps_per_epoch": 3, "train.batch_size": 1}
    monkeypatch.setattr("icotlib.evaluation.scoring.generate", counted)
    run = train(small(folder, str(tmp_path / "long"), **changes))
    layout = load_run(run)[1]
    whole = layout.encode([Example("q", chain, "13")])
    answer = int((whole.total - whole.question - whole.chain)[0])
    left = [int((whole.chain - whole.tokens(s, side))[0]) for s in (0, 1, 2)]
    assert [rows.shape[1] for rows in allowed] == [answer + x + 8 for x in left]


def test_a_space_before_the_separator_is_no_step(tokenizers):
    layout = Layout(tokenizers("bytes"), spaced_separators=True, step_end=">>")
    batch = layout.encode(EXAMPLES)
    assert batch.removal_units.tolist() == [1, 2, 1, 0]
    assert batch.tokens(2).tolist() == batch.chain.tolist()


def test_kept_positions_would_tell_how_long_steps_were():
    with pytest.raises(ConfigError, match="keep_positions needs step_end=None"):
        RunConfig().override({"removal.step_end": ">>"})


def test_a_text_that_ends_no_step_is_refused(runs_folder, pretrained, own_data):
    folder = pretrained("gpt2", tokenizer=bytes_tokenizer(TEXTS))
    with pytest.raises(ConfigError, match=r"'\)\)' stands inside no chain.*<<12\+15=27>>"):
        train(small(folder, own_data, **{"removal.step_end": "))"}))


# --- room, memory, adapters --------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neo", "llama", "gpt_neox"])
def test_a_model_that_is_too_short_is_made_longer(pretrained, architecture):
    folder = pretrained(architecture, max_position_embeddings=8)
    layout = Layout(AutoTokenizer.from_pretrained(folder))
    ids = torch.randint(0, 20, (2, 8), generator=torch.Generator().manual_seed(0))
    before = AutoModelForCausalLM.from_pretrained(folder).eval()
    with pytest.warns(UserWarning, match="room for 8 tokens, 20 are needed"):
        after = build_model(ModelConfig(pretrained=folder), layout, 20).eval()
    assert torch.allclose(before(input_ids=ids).logits, after(input_ids=ids).logits, atol=1e-6)
    assert after.config.max_position_embeddings == 20
    longer = torch.randint(0, 20, (1, 20))
    assert after(input_ids=longer).logits.isfinite().all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_model(ModelConfig(pretrained=folder), layout, 8)


def test_gradient_checkpointing_changes_no_number(runs_folder, pretrained, own_data):
    folder = pretrained("llama", tokenizer=unigram_tokenizer(TEXTS))
    losses = []
    for checkpointing in (False, True):
        config = small(folder, own_data, **{"train.gradient_checkpointing": checkpointing})
        trainer = Trainer(config, run=None)
        assert trainer.model.is_gradient_checkpointing is checkpointing
        trainer.model.train()
        for step in range(4):
            trainer.step(step)
        losses.append(torch.stack(trainer.losses))
    assert torch.allclose(*losses, atol=1e-6)


def test_distillation_refuses_what_it_cannot_train_with(pretrained):
    changes = {"method": "mind_reading", "removal.schedule": "all", "removal.direct": True}
    teacher = RunConfig().override({"method": "explicit_cot", "removal.schedule": "none"})
    for change in ({"train.gradient_checkpointing": True}, LORA | {"model.pretrained": "x"}):
        with pytest.raises(ConfigError, match="gradient_checkpointing"):
            RunConfig().override(changes | {"teacher": teacher} | change)


LORA = {"model.lora": {"r": 2, "lora_alpha": 4}}


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_adapters_train_save_reload_and_merge(
    runs_folder, pretrained, own_data, tmp_path, architecture
):
    folder = pretrained(architecture, tokenizer=bytes_tokenizer(TEXTS))
    run = train(small(folder, own_data, **LORA))
    assert (run.weights() / "adapter_model.safetensors").is_file()
    assert not (run.weights() / "model.safetensors").is_file()
    base = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    model, layout, corpus = load_run(run)
    weights = model.state_dict()
    assert weights.keys() == base.keys()  # merged: a plain model again
    changed = {name for name in base if not torch.equal(base[name], weights[name])}
    assert changed
    assert not any("norm" in name or "ln_" in name or "emb" in name for name in changed)
    batch = layout.encode([Example(**row) for row in corpus.test])
    removed = int(run.stages.removed.max())
    last = run.samples[run.samples.removed == removed]
    assert layout.texts(generate(model, layout, batch, removed)) == last.written.tolist()
    export(run, tmp_path / "shared")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "shared")
    assert all(torch.equal(weights[name], x) for name, x in again.state_dict().items())


def test_a_run_with_adapters_resumes_to_the_same_numbers(
    runs_folder, pretrained, own_data, tmp_path, monkeypatch
):
    config = small(pretrained("gpt2", tokenizer=bytes_tokenizer(TEXTS)), own_data, **LORA)
    save = Trainer._save_checkpoint

    def killed(self, rows):
        save(self, rows)
        saved = next((self.run.folder / "checkpoint").glob("step-*/model.safetensors"))
        kept = load_file(saved)
        assert kept
        assert all("lora" in name for name in kept)  # what is frozen is not kept again
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.setattr(Trainer, "_save_checkpoint", save)
    resumed = train(config)
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "whole"))
    whole = train(config)
    assert resumed.metrics.drop(columns="seconds").equals(whole.metrics.drop(columns="seconds"))
    assert resumed.samples.equals(whole.samples)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora": {"r": 2}, "pretrained": None}, "set model.pretrained"),
        ({"lora": {"rang": 2}}, "no 'rang'"),
        ({"lora": {"r": 0}}, "model.lora"),
    ],
)
def test_bad_adapters_say_what_is_wrong(pretrained, changes, message):
    folder = pretrained("gpt2")
    layout = Layout(AutoTokenizer.from_pretrained(folder))
    with pytest.raises(ConfigError, match=message):
        build_model(ModelConfig(**({"pretrained": folder} | changes)), layout, 20)


def test_small_changes_survive_merging_into_weights_of_low_precision(pretrained, tmp_path):
    folder = pretrained("llama", torch.bfloat16)
    layout = Layout(AutoTokenizer.from_pretrained(folder))
    model = build_model(ModelConfig(pretrained=folder, lora={"r": 2}), layout, 20).eval()
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=1e-4)
    save_model(tmp_path / "adapters", model, layout)
    found, weights = 0, load_model(tmp_path / "adapters")[0].state_dict()
    named = dict(model.named_parameters())
    for name in named:
        if "lora_A" in name:
            b, scale = named[name.replace("lora_A", "lora_B")], 8 / 2  # peft's lora_alpha / r
            at = name.partition(".lora_A")[0] + ".weight"
            delta, wanted = weights[at] - base[at], scale * b @ named[name]
            assert (delta - wanted).norm() < 1e-3 * wanted.norm()
            found += 1
    assert found > 4


def test_distillation_finds_its_separator_behind_the_same_token_at_the_start(
    runs_folder, pretrained, own_data
):
    """As OPT's tokenizer has it: what begins a text also ends it, and separates."""
    tokenizer = bytes_tokenizer(TEXTS)
    backend, end = tokenizer.backend_tokenizer, tokenizer.eos_token
    backend.post_processor = TemplateProcessing(
        single=f"{end} $A", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=end, eos_token=end)
    folder = pretrained("gpt2", tokenizer=tokenizer)
    settings = {"data.path": own_data, "model.pretrained": folder}
    run = train(experiments.own_kd("smoke", 0, settings))
    model, layout, corpus = load_run(run)
    assert (layout.bos_ids, model.config.begin) == ([layout.sep], 1)
    direct = layout.encode([Example(**row) for row in corpus.test]).without_chain()
    seen = []
    emulate = type(model.emulator).forward

    def watched(self, ids, at, *arguments, **named):
        seen.append(at)
        return emulate(self, ids, at, *arguments, **named)

    model.emulator.forward = partial(watched, model.emulator)
    for padded in (direct, direct[slice(0, 1)]):
        ids, mask, positions = left_padded_questions(padded, layout.pad)
        model(input_ids=ids, attention_mask=mask, position_ids=positions)
        assert (seen[-1] == ids.shape[1] - 1).all()


# --- what cannot be found ----------------------------------------------------------------------


def test_what_cannot_be_found_is_named_before_any_work(
    runs_folder, pretrained, own_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # read once, when it is imported
    monkeypatch.setattr(jobs, "work", lambda *_, **__: pytest.fail("work has begun"))
    with pytest.raises(ConfigError, match=r"(?s)no-one/no-model.*hf download no-one/no-model"):
        jobs.ensure(small("no-one/no-model", own_data))
    folder = pretrained("gpt2")
    (Path(folder) / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="holds no weights"):
        jobs.ensure(small(folder, own_data))
    with pytest.raises(DataError, match=r"train.txt: no such file.*icot prepare"):
        jobs.ensure(small(None, str(tmp_path / "nowhere")))
    assert not list(runs_folder.glob("*"))


def test_a_folder_without_a_tokenizer_is_no_pretrained_model(pretrained, own_data):
    folder = pretrained("gpt2")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (Path(folder) / name).unlink()
    with pytest.raises(ConfigError, match=r"tokenizer"):
        train(small(folder, own_data))


def test_settings_of_new_models_are_refused_with_pretrained_ones(pretrained):
    folder = pretrained("gpt2")
    layout = Layout(AutoTokenizer.from_pretrained(folder))
    with pytest.raises(ConfigError, match=r"model\.options"):
        build_model(ModelConfig(pretrained=folder, options={"n_head": 1}), layout, 20)


@pytest.mark.parametrize("preset", experiments.PRESETS)
def test_own_runs_fit_a_pretrained_model_at_every_preset(preset):
    settings = {"data.path": "data", "model.pretrained": "model"}
    for make in (experiments.own_si, experiments.own_kd):
        config = make(preset, 0, settings)
        for one in [config, *config.parents.values()]:
            assert (one.model.options, one.model.dropout) == ({}, 0)
            assert not one.model.spaced_separators
            assert one.data.train_examples is None
            assert one.optim.name == "adamw"


def test_own_runs_name_their_data_and_model(own_data):
    with pytest.raises(ConfigError, match=r"data\.path is missing"):
        experiments.own_kd("smoke")
    with pytest.raises(ConfigError, match=r"model\.pretrained is missing"):
        experiments.own_si("smoke", 0, {"data.path": own_data})


def test_a_model_saved_and_loaded_keeps_its_kind(pretrained, tmp_path):
    folder = pretrained("phi")
    layout = Layout(AutoTokenizer.from_pretrained(folder))
    save_model(tmp_path / "again", build_model(ModelConfig(pretrained=folder), layout, 9), layout)
    assert load_model(tmp_path / "again")[0].config.model_type == "phi"


# --- your own ----------------------------------------------------------------------------------


def test_word_problems_follow_their_own_working(tmp_path):
    path = write_problems(tmp_path / "problems.jsonl", 200)
    write_problems(path, 200)  # the same again is no quarrel
    with pytest.raises(ConfigError, match="holds something else"):
        write_problems(path, 100)
    for line in path.read_text().splitlines():
        row = json.loads(line)
        given = [int(x) for x in re.findall(r"\d+", row["question"])]
        have = given[0]
        for (left, sign, right, result), number in zip(
            re.findall(r"<<(\d+)([-+*])(\d+)=(\d+)>>", row["answer"]), given[1:], strict=True
        ):
            assert (int(left), int(right)) == (have, number)
            have = {"+": have + number, "-": have - number, "*": have * number}[sign]
            assert have == int(result) > 0
        assert row["answer"].endswith(f"#### {have}")


def test_data_are_brought_once(tmp_path):
    source = write_problems(tmp_path / "problems.jsonl", 100)
    folder, reports = bring(source, tmp_path / "home", held_out=10)
    before = (folder / "train.txt").stat().st_mtime_ns
    again, _ = bring(source, tmp_path / "home", held_out=10)
    assert (again, (again / "train.txt").stat().st_mtime_ns) == (folder, before)
    assert sum(len(report.kept) for report in reports.values()) <= 100
    assert len(reports["test"].kept) == 10
    other, _ = bring(write_problems(tmp_path / "problems2.jsonl", 101), tmp_path / "home")
    assert other != folder


def test_a_new_model_is_one_of_the_hubs_form(tmp_path):
    folder = new_model(tmp_path / "model", TEXTS, layers=1, width=16, heads=2)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("12") == ["1", "2"]
    assert AutoModelForCausalLM.from_pretrained(folder).config.n_layer == 1
    weights = (folder / "model.safetensors").read_bytes()
    new_model(tmp_path / "other", TEXTS, layers=1, width=16, heads=2)
    assert (tmp_path / "other" / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("method", ["own_si", "own_kd"])
def test_a_first_try_of_each_method(runs_folder, tmp_path, method):
    data, _ = bring(write_problems(tmp_path / "problems.jsonl", 200), tmp_path, held_out=20)
    run = train(experiments.own(method, "smoke", 0, {}, data, None))
    expected = [0, 1, 2, 3, 4] if method == "own_si" else [run.totals["chain_tokens"]]
    assert run.stages.removed.tolist() == expected
    with pytest.raises(ConfigError, match="own_si, own_kd, got 'si'"):
        experiments.own("si", "smoke", 0, {}, data, None)
