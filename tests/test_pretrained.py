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
from icotlib.data.corpus import examples_of
from icotlib.data.files import write_examples
from icotlib.data.inputs import remove
from icotlib.data.layout import Layout
from icotlib.data.prepare import prepare_cached
from icotlib.errors import ConfigError, DataError, RunError
from icotlib.evaluation.generation import generate, logits_of, matches
from icotlib.evaluation.stage_model import load
from icotlib.methods.micro_batches import token_loss
from icotlib.models.build import build_model
from icotlib.models.decoding import left_padded_questions
from icotlib.models.loading import load_model, save_model
from icotlib.models.toy import new_model
from icotlib.planning.plan import plan
from icotlib.running import jobs
from icotlib.runs import Run
from icotlib.sharing.hub import export
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
    """A folder of data with no question in two splits."""
    for number, split in enumerate(("train", "valid", "test")):
        examples = [x._replace(question=f"{number}: {x.question}") for x in EXAMPLES]
        write_examples(tmp_path / "own" / f"{split}.txt", examples)
    return str(tmp_path / "own")


SMALL = {
    "optim.name": "adamw",
    "optim.lr": 1e-2,
    "method": "icot_si",
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


# --- tokenizers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gpt2", "bytes", "unigram"])
@pytest.mark.parametrize("spaced", [False, True])
def test_every_kind_of_tokenizer_decodes_what_it_encoded(tokenizers, kind, spaced):
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


def test_a_token_that_begins_every_text_is_before_the_question_only(tokenizers):
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


# --- architectures -------------------------------------------------------------------------------


@pytest.mark.parametrize(("architecture", "kind"), PAIRS)
def test_a_memorised_batch_is_generated_back(pretrained, tokenizers, architecture, kind):
    """With one step removed from half of it, padding on both sides, and a cache."""
    folder = pretrained(architecture, tokenizer=tokenizers(kind), hidden_size=32)
    torch.manual_seed(0)
    layout = Layout(AutoTokenizer.from_pretrained(folder), step_end=">>")
    model = build_model(ModelConfig(pretrained=folder), layout, longest=64)
    batch = layout.encode(EXAMPLES)
    k = batch.tokens(torch.tensor([0, 1, 0, 1]))  # the last has no step to remove
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
    assert texts == [
        "<<12+15=27>> #### 27",
        "<<48+24=72>> #### 72",
        "<<5*1000=5000>> #### 5,000",
        "#### 0",
    ]


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
    assert answers_again(run) == last_samples(run)


def answers_again(run: Run) -> list[str]:
    """What a finished run's model writes for its test set, loaded again."""
    model = load(run)
    written = model.generate(model.encode(examples_of(model.corpus.test)))
    return model.layout.texts(written)


def last_samples(run: Run) -> list[str]:
    """What the run's own final test has recorded at its last stage."""
    return run.samples[run.samples.removed == run.stages.removed.max()].written.tolist()


# --- whole steps ---------------------------------------------------------------------------------


def test_whole_steps_are_removed_one_after_the_other(runs_folder, pretrained, own_data):
    folder = pretrained("gpt2", tokenizer=bytes_tokenizer(TEXTS))
    run = train(small(folder, own_data, **{"removal.step_end": ">>"}))
    assert run.stages.removed.tolist() == [0, 2]  # pace 8 in 4 steps: two at a time
    assert run.stages.unit.tolist() == ["steps", "steps"]
    assert run.totals["chain_length"] == 2


@pytest.mark.parametrize("side", ["left", "right"])
def test_steps_of_different_length_leave_enough_tokens_to_write_the_rest(
    runs_folder, pretrained, tmp_path, side, monkeypatch
):
    """The longest step is first, so that counting from the wrong end gives other limits."""
    written = []

    def recorded(*arguments, **named):
        written.append(generate(*arguments, **named))
        return written[-1]

    chain = "<<1+1+1+1+1+1+1+1+1+1+1+1=12>> <<12+1=13>>"
    for number, split in enumerate(("train", "valid", "test")):
        write_examples(tmp_path / "long" / f"{split}.txt", [Example(f"q{number}", chain, "13")])
    folder = pretrained("gpt2", tokenizer=bytes_tokenizer(TEXTS))
    changes = {"removal.step_end": ">>", "removal.side": side, "removal.pace": 1.0}
    changes |= {"removal.steps_per_epoch": 3, "train.batch_size": 1}
    monkeypatch.setattr("icotlib.evaluation.scoring.generate", recorded)
    run = train(small(folder, str(tmp_path / "long"), **changes))
    batch = load(run).layout.encode([Example("q", chain, "13")])
    answer = int((batch.total - batch.question - batch.chain)[0])
    left = [int((batch.chain - batch.tokens(s, side))[0]) for s in (0, 1, 2)]
    assert [rows.shape[1] for rows in written] == [answer + x + 8 for x in left]


def test_a_space_before_the_separator_is_no_step(tokenizers):
    layout = Layout(tokenizers("bytes"), spaced_separators=True, step_end=">>")
    batch = layout.encode(EXAMPLES)
    assert batch.removal_units.tolist() == [1, 2, 1, 0]
    assert batch.tokens(2).tolist() == batch.chain.tolist()


def test_kept_positions_would_leak_the_length_of_steps():
    with pytest.raises(ConfigError, match=r"keep_positions needs removal\.step_end=null"):
        RunConfig().override({"removal.step_end": ">>"})


def test_a_text_that_ends_no_step_is_refused(runs_folder, pretrained, own_data):
    folder = pretrained("gpt2", tokenizer=bytes_tokenizer(TEXTS))
    with pytest.raises(ConfigError, match=r"'\)\)' occurs inside no chain.*<<12\+15=27>>"):
        train(small(folder, own_data, **{"removal.step_end": "))"}))


# --- positions, memory, adapters -----------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neo", "llama", "gpt_neox"])
def test_a_model_with_too_few_positions_is_lengthened(pretrained, architecture):
    folder = pretrained(architecture, max_position_embeddings=8)
    layout = Layout(AutoTokenizer.from_pretrained(folder))
    ids = torch.randint(0, 20, (2, 8), generator=torch.Generator().manual_seed(0))
    before = AutoModelForCausalLM.from_pretrained(folder).eval()
    with pytest.warns(UserWarning, match="has 8 positions, 20 are needed"):
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
        losses.append(torch.stack(trainer.losses.unread))
    assert torch.allclose(*losses, atol=1e-6)


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
    weights = load(run).model.state_dict()
    assert weights.keys() == base.keys()  # merged: a plain model again
    changed = {name for name in base if not torch.equal(base[name], weights[name])}
    assert changed
    assert not any("norm" in name or "ln_" in name or "emb" in name for name in changed)
    assert answers_again(run) == last_samples(run)
    export(run, tmp_path / "shared")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "shared")
    assert all(torch.equal(weights[name], x) for name, x in again.state_dict().items())


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_every_phase_of_distillation_trains_adapters(
    runs_folder, pretrained, own_data, monkeypatch, architecture
):
    """Beside its own parts; saved as whole weights that answer as the model did in training."""
    settings = {name: x for name, x in SMALL.items() if not name.startswith(("removal.", "method"))}
    settings |= {"model.pretrained": pretrained(architecture, tokenizer=bytes_tokenizer(TEXTS))}
    settings |= {"data.path": own_data, "train.gradient_checkpointing": True} | LORA
    coupled = experiments.icot_kd("smoke", overrides=settings)
    for config in [*coupled.phases.values(), coupled]:
        (planned,) = plan(config, speed="1")
        trainer = Trainer(config, Run.of(config))
        frozen = {n: x.clone() for n, x in trainer.model.named_parameters() if not x.requires_grad}
        assert planned.cost.parameters == sum(x.numel() for x in trainer.model.parameters())
        trained = sum(x.numel() for x in trainer.model.parameters() if x.requires_grad)
        assert trained < 0.6 * planned.cost.parameters  # of a toy whose adapters are large
        state = planned.cost.state - planned.cost.frozen
        assert state == 4 * (planned.cost.parameters + 3 * trained)
        trainer.train()
        assert all(torch.equal(x, trainer.model.get_parameter(n)) for n, x in frozen.items())
    run = Run.of(coupled)
    assert planned.cost.disk == pytest.approx(weights_size(run), rel=0.1)
    assert answers_again(run) == last_samples(run)
    plain = load(run).model.state_dict()
    assert not any("lora" in name or "base_layer" in name for name in plain)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("method", ["coconut", "codi"])
def test_the_decoder_of_sim_cot_has_adapters_of_its_own(
    runs_folder, pretrained, own_data, method, architecture
):
    """Both models keep their first weights; what is saved is the merged model alone."""
    settings = {name: x for name, x in SMALL.items() if not name.startswith("removal.")}
    settings |= {"method": method, "latent.step_weight": 1.0, "data.path": own_data} | LORA
    if method == "coconut":
        settings |= {"latent.first_steps": 1, "latent.steps_per_stage": 1}
    folder = pretrained(architecture, tokenizer=bytes_tokenizer(TEXTS))
    config = RunConfig().override(settings | {"model.pretrained": folder})
    (planned,) = plan(config, speed="1")
    trainer = Trainer(config, Run.of(config))
    model, decoder = trainer.model.language_model, trainer.model.step_decoder.language_model
    parts = [dict(part.named_parameters()) for part in (model, decoder)]
    assert parts[0].keys() == parts[1].keys()
    first = [{name: x.clone() for name, x in part.items()} for part in parts]
    trained = sum(x.numel() for x in trainer.model.parameters() if x.requires_grad)
    held = sum(x.numel() for x in trainer.model.parameters())
    assert planned.cost.state == 4 * (held + 3 * trained)
    assert planned.cost.parameters == trainer.method.parameters() < held
    trainer.train()
    run = Run.of(config)
    for part, before in zip(parts, first, strict=True):
        moved = {name for name, x in part.items() if not torch.equal(x, before[name])}
        assert moved
        assert all("lora_" in name for name in moved)
    assert answers_again(run) == last_samples(run)
    assert not any("lora" in name or "step_decoder" in name for name in weights_of(run))


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.weights() / "model.safetensors")


def weights_size(run: Run) -> int:
    return sum(path.stat().st_size for path in run.weights().glob("*.safetensors"))


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
        assert all("lora" in name for name in kept)  # frozen weights are not saved again
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.setattr(Trainer, "_save_checkpoint", save)
    resumed = train(config)
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "uninterrupted"))
    uninterrupted = train(config)
    columns = list(resumed.metrics.columns.drop("seconds"))
    assert resumed.metrics[columns].equals(uninterrupted.metrics[columns])
    assert resumed.samples.equals(uninterrupted.samples)


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


@pytest.mark.parametrize("method", ["coconut", "codi", "pause", "kd_student", "icot_kd"])
def test_parts_trained_as_a_whole_are_refused_where_adapters_are_merged(method):
    lora = {"r": 2, "modules_to_save": ["wte"]}
    with pytest.raises(ConfigError, match="leave out modules_to_save"):
        RunConfig().override({"method": method, "model.lora": lora, "model.pretrained": "gpt2"})


def test_small_changes_survive_merging_into_weights_of_low_precision(pretrained, tmp_path):
    folder = pretrained("llama", torch.bfloat16)
    layout = Layout(AutoTokenizer.from_pretrained(folder))
    model = build_model(ModelConfig(pretrained=folder, lora={"r": 2}), layout, 20).eval()
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=1e-4)
    save_model(tmp_path / "adapters", model, layout)
    merged, weights = 0, load_model(tmp_path / "adapters")[0].state_dict()
    named = dict(model.named_parameters())
    for name in named:
        if "lora_A" in name:
            b, scale = named[name.replace("lora_A", "lora_B")], 8 / 2  # peft's lora_alpha / r
            at = name.partition(".lora_A")[0] + ".weight"
            change, expected = weights[at] - base[at], scale * b @ named[name]
            assert (change - expected).norm() < 1e-3 * expected.norm()
            merged += 1
    assert merged > 4


def test_distillation_finds_its_separator_after_the_same_token_at_the_start(
    runs_folder, pretrained, own_data
):
    """As with OPT's tokenizer, whose start token is its end token, and so the separator too."""
    tokenizer = bytes_tokenizer(TEXTS)
    backend, end = tokenizer.backend_tokenizer, tokenizer.eos_token
    backend.post_processor = TemplateProcessing(
        single=f"{end} $A", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=end, eos_token=end)
    folder = pretrained("gpt2", tokenizer=tokenizer)
    settings = {"data.path": own_data, "model.pretrained": folder}
    run = train(experiments.own_kd("smoke", 0, settings))
    stage = load(run, device="cpu")
    model, layout = stage.model, stage.layout
    assert (layout.bos_ids, model.config.bos_tokens) == ([layout.sep], 1)
    batch = stage.encode(examples_of(stage.corpus.test))
    assert not batch.chain.any()
    positions_read = []
    emulate = type(model.emulator).forward

    def recorded(self, ids, at, *arguments, **named):
        positions_read.append(at)
        return emulate(self, ids, at, *arguments, **named)

    model.emulator.forward = partial(recorded, model.emulator)
    for rows in (batch, batch[slice(0, 1)]):
        ids, mask, positions = left_padded_questions(rows, layout.pad)
        model(input_ids=ids, attention_mask=mask, position_ids=positions)
        assert (positions_read[-1] == ids.shape[1] - 1).all()


# --- missing models and data ---------------------------------------------------------------------


def test_a_missing_model_or_folder_is_named_before_any_work(
    runs_folder, pretrained, own_data, tmp_path, monkeypatch
):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # the variable is read on import
    monkeypatch.setattr(jobs, "run_jobs", lambda *_, **__: pytest.fail("work has begun"))
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


def test_a_model_that_lacks_weights_is_named(pretrained, own_data):
    """transformers draws what is missing at random, and only warns."""
    folder = pretrained("gpt2")
    whole = AutoModelForCausalLM.from_pretrained(folder)
    part = {name: x for name, x in whole.state_dict().items() if "h.0.mlp.c_fc" not in name}
    whole.save_pretrained(folder, state_dict=part)
    with pytest.raises(ConfigError, match=r"lacks weights of GPT2LMHeadModel: transformer\.h\.0"):
        train(small(folder, own_data))
    with pytest.raises(RunError, match=r"lacks weights that its class has: transformer\.h\.0"):
        load_model(Path(folder))


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
        for phase in [config, *config.phases.values()]:
            assert (phase.model.options, phase.model.dropout) == ({}, 0)
            assert not phase.model.spaced_separators
            assert phase.data.train_examples is None
            assert phase.optim.name == "adamw"


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


# --- own data and models -------------------------------------------------------------------------


def test_the_equations_of_word_problems_are_right(tmp_path):
    path = write_problems(tmp_path / "problems.jsonl", 200)
    write_problems(path, 200)  # the same file is accepted
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


def test_data_are_prepared_once(tmp_path):
    source = write_problems(tmp_path / "problems.jsonl", 100)
    folder, reports = prepare_cached(source, tmp_path / "home", held_out=10)
    before = (folder / "train.txt").stat().st_mtime_ns
    again, _ = prepare_cached(source, tmp_path / "home", held_out=10)
    assert (again, (again / "train.txt").stat().st_mtime_ns) == (folder, before)
    assert sum(len(report.kept) for report in reports.values()) <= 100
    assert len(reports["test"].kept) == 10
    other, _ = prepare_cached(write_problems(tmp_path / "problems2.jsonl", 101), tmp_path / "home")
    assert other != folder


def test_a_new_model_is_saved_in_the_hubs_format(tmp_path):
    folder = new_model(tmp_path / "model", TEXTS, layers=1, width=16, heads=2)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("12") == ["1", "2"]
    assert AutoModelForCausalLM.from_pretrained(folder).config.n_layer == 1
    weights = (folder / "model.safetensors").read_bytes()
    new_model(tmp_path / "other", TEXTS, layers=1, width=16, heads=2)
    assert (tmp_path / "other" / "model.safetensors").read_bytes() == weights


def test_a_plain_number_of_steps_counts_for_every_phase(pretrained, tmp_path):
    settings = {"data.path": str(tmp_path), "model.pretrained": pretrained("gpt2")}
    config = experiments.own_kd("fast", 0, settings | {"train.steps": 7})
    assert {one.train.steps for one in config.family().values()} == {7}
    one = experiments.own_kd("fast", 0, settings | {"train.steps": 7, "teacher.train.steps": 9})
    assert one.phases["teacher"].train.steps == 9
    two_chains = experiments.mixtures("fast", 0, {"train.steps": 7})["no mixture"]
    assert {x.train.steps for x in (two_chains, *two_chains.phases.values())} == {7}


@pytest.mark.parametrize("method", ["own_si", "own_kd"])
def test_a_first_try_of_each_method(runs_folder, tmp_path, method):
    data, _ = prepare_cached(
        write_problems(tmp_path / "problems.jsonl", 200), tmp_path, held_out=20
    )
    run = train(experiments.own(method, "smoke", 0, {}, data, None))
    expected = [0, 1, 2, 3, 4] if method == "own_si" else [run.totals["chain_length"]]
    assert run.stages.removed.tolist() == expected
    with pytest.raises(ConfigError, match="own_si, own_kd, got 'si'"):
        experiments.own("si", "smoke", 0, {}, data, None)
