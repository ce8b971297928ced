"""Architectures of transformers, each of which trains and answers or is refused in a sentence."""

import importlib.metadata
import importlib.util
import json
import logging
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    Gemma3Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    LlavaConfig,
    Qwen2VLConfig,
)

from icotlib import experiments
from icotlib.config import ModelConfig, RunConfig
from icotlib.data.corpus import examples_of
from icotlib.data.files import write_examples
from icotlib.data.inputs import remove
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.data.run_data import build_layout
from icotlib.data.symbols import symbol_tokenizer
from icotlib.errors import ConfigError
from icotlib.evaluation.generation import generate, logits_of
from icotlib.evaluation.stage_model import load
from icotlib.models.advice import ADVICE, SOURCE, without_advice_on_kernels
from icotlib.models.build import build_model
from icotlib.models.checks import Requirements, check_model, check_tables
from icotlib.models.decoding import uses_cache
from icotlib.models.hooks import decoder_layers, mask_attention
from icotlib.planning.plan import plan
from icotlib.tasks import Example
from icotlib.training.trainer import Trainer, train
from tests.helpers import TINY_SIZES, bytes_tokenizer

LAYOUT = Layout(symbol_tokenizer(list("0123456789*+")))
EXAMPLES = [
    Example("1 2 * 3 4", "5 6", "7 8"),
    Example("9 * 8 7 6", "4 + 1 0", "9"),
    Example("1 * 1", "1 2", "1 2 3"),
]
LONGEST = 20

#: Two steps of a run, and two examples in each of its sets.
SHORT = TINY_SIZES | {
    "data.valid_examples": 2,
    "data.test_examples": 2,
    "train.steps": 2,
    "train.batch_size": 4,
    "train.eval_every": 2,
    "optim.warmup_steps": 0,
}

#: Whether positions can be kept, and whether answers are written with a cache.
WORKS = {
    **dict.fromkeys(
        ["gpt2", "gpt_neox", "gptj", "opt", "llama", "mistral", "qwen2", "gemma", "gemma2", "phi"],
        (True, True),
    ),
    **dict.fromkeys(
        ["falcon", "stablelm", "gpt_bigcode", "olmo", "granite", "biogpt", "xglm", "phi3"],
        (True, True),
    ),
    # Encoders, built as decoders.
    **dict.fromkeys(["bert", "electra", "roberta", "camembert"], (True, True)),
    "xlm": (True, False),
    # No cache, or one that other architectures of its kind share and that gives other numbers.
    "openai-gpt": (True, False),
    "recurrent_gemma": (True, False),
    # Its table of attention ends where its positions do.
    "gpt_neo": (True, False),
    # ALiBi, or no positions at all.
    "bloom": (False, True),
    "mpt": (False, False),
    "mamba": (False, False),
    "falcon_mamba": (False, False),
    "rwkv": (False, False),
    "jamba": (False, False),
}

REFUSED = {
    "t5": "is an encoder-decoder",
    "bart": "is an encoder-decoder",
    "pegasus": "is an encoder-decoder",
    "xlnet": "is a permutation language model",
    "gemma3": "more than a language model: choose gemma3_text",
    "llava": "more than a language model: choose llama",
    "qwen2_vl": "no causal language model for qwen2_vl_text",
    "clip": "no causal language model",
    "reformer": "cannot be had with model.architecture=reformer",
    "bamba": "(?s)bamba refuses them: .*mamba_n_heads must divide",
    "gtp2": "Did you mean 'gpt2'",
}


def make(architecture: str, **options):
    torch.manual_seed(0)
    return build_model(
        ModelConfig(architecture=architecture, layers=2, width=16, heads=2, options=options),
        LAYOUT,
        LONGEST,
    )


def requirements(**changes) -> Requirements:
    batch = LAYOUT.encode(EXAMPLES)
    return Requirements("model.architecture=x", batch, LAYOUT, LONGEST, **changes)


def config_of(architecture: str, **changes) -> RunConfig:
    own = {"model.architecture": architecture, "removal.warmup_steps": 0}
    return RunConfig().override(SHORT | own | changes)


@pytest.mark.parametrize("architecture", WORKS)
def test_an_architecture_passes_its_checks_and_writes_what_it_reads(architecture):
    """Decoded with or without a cache, padded or not, it has the logits of one forward pass."""
    keeps, caches = WORKS[architecture]
    model = make(architecture)
    check_model(model, requirements(keep_positions=keeps))
    assert uses_cache(model) is caches
    batch, removed = LAYOUT.encode(EXAMPLES), torch.tensor([1, 2, 0])
    written = generate(model.eval(), LAYOUT, batch, removed, keeps, max_new_tokens=6)
    for i, (question, k, tokens) in enumerate(zip(batch.question, removed, written, strict=True)):
        # As if the removed tokens stood between the question and what is written.
        ids = torch.cat([batch.ids[i, : question + k], tokens])[None]
        whole = EncodedBatch(ids, question[None], k[None], torch.tensor([ids.shape[1]]))
        with torch.no_grad():
            read = logits_of(model, remove(whole, k[None], keep_positions=keeps))
        assert read[0, -6:].argmax(dim=-1).tolist() == tokens.tolist()


@pytest.mark.parametrize("architecture", [name for name, (keeps, _) in WORKS.items() if not keeps])
def test_positions_that_do_not_reach_a_model_cannot_be_kept(architecture):
    with pytest.raises(ConfigError, match=r"position ids.*set removal\.keep_positions=false"):
        check_model(make(architecture), requirements(keep_positions=True))


def test_models_whose_layers_cannot_be_hooked_are_refused():
    with pytest.raises(ConfigError, match="no list of 2 layers to hook"):
        decoder_layers(make("xlm"))
    with (
        pytest.raises(ConfigError, match="take no attention mask"),
        mask_attention(make("rwkv"), lambda layer: None),
    ):
        pass
    with mask_attention(make("gpt2"), lambda layer: None):
        pass


def test_falcon_with_alibi_cannot_keep_positions():
    with pytest.raises(ConfigError, match="does not use position ids"):
        check_model(make("falcon", alibi=True), requirements(keep_positions=True))
    check_model(make("falcon", alibi=True), requirements())


@pytest.mark.parametrize("architecture", REFUSED)
def test_what_is_no_decoder_of_text_is_refused(architecture):
    with pytest.raises(ConfigError, match=REFUSED[architecture]):
        make(architecture)


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("bert", {"is_decoder": False}),
        ("electra", {"is_decoder": False}),
        ("roberta", {"is_decoder": False}),
        ("rembert", {"is_decoder": False}),
        ("xlm", {"causal": False}),
    ],
)
def test_a_model_that_sees_what_follows_is_refused(architecture, options):
    if architecture == "xlm":
        model = make("xlm")
        model.config.causal = model.transformer.causal = False
    else:
        config = make(architecture).config
        config.update(options)
        model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ConfigError, match="sees what follows"):
        check_model(model, requirements())


@pytest.mark.parametrize(
    ("architecture", "width", "heads", "options"),
    [
        ("llama", 10, 2, {}),  # heads of odd width
        ("qwen2", 6, 2, {}),
        ("codegen", 16, 2, {}),  # its heads come in fours
        ("gptj", 16, 2, {"rotary_dim": 64}),
        ("llama", 16, 2, {"num_key_value_heads": 3}),
        ("gpt2", 16, 2, {"activation_function": "nonsense"}),
        ("qwen2", 16, 2, {"max_position_embeddings": 4, "rope_parameters": {"rope_type": "odd"}}),
        ("gpt2", 16, 2, {"n_positions": 4}),
    ],
)
def test_what_an_architecture_cannot_be_is_an_error_with_its_settings(
    architecture, width, heads, options
):
    sizes = {"layers": 1, "width": width, "heads": heads, "options": options}
    needs = replace(requirements(), source=f"model.architecture={architecture}")

    def build_and_check() -> None:
        model = build_model(ModelConfig(architecture=architecture, **sizes), LAYOUT, LONGEST)
        check_model(model, needs)

    with pytest.raises(
        ConfigError, match=rf"(?s)(?=.*{architecture}).*model\.(width|options)|decided by"
    ):
        build_and_check()


def test_a_vocabulary_of_symbols_is_loaded_again_whatever_the_architecture_prefers(runs_folder):
    run = train(config_of("qwen2"))  # AutoTokenizer would take Qwen2's class, which loses it
    model = load(run)
    assert model.answer("37 * 84").tokens > 0
    layout = build_layout(config_of("gpt2", **{"model.pretrained": str(run.weights())}), [])
    assert layout.exact
    assert layout.tokenizer.get_vocab() == model.layout.tokenizer.get_vocab()


def test_a_sliding_window_is_decoded_as_it_is_trained():
    model = make("mistral", sliding_window=4)
    check_model(model, requirements(keep_positions=True))
    assert uses_cache(model)


def test_a_cache_that_gives_other_logits_is_not_used():
    class Forgetful(GPT2LMHeadModel):
        def forward(self, *args, past_key_values=None, position_ids=None, **kwargs):
            if past_key_values is not None:
                position_ids = position_ids * 0
            named = {"past_key_values": past_key_values, "position_ids": position_ids}
            return super().forward(*args, **named, **kwargs)

    model = Forgetful(make("gpt2").config)
    with pytest.warns(UserWarning, match="generated without one, which takes longer"):
        check_model(model, requirements())
    assert model.config.use_cache is False
    right = make("gpt2")
    right.load_state_dict(model.state_dict())
    batch = LAYOUT.encode(EXAMPLES)
    written = [generate(x.eval(), LAYOUT, batch, max_new_tokens=7) for x in (model, right)]
    assert torch.equal(*written)


def test_a_cache_that_is_switched_off_in_pretrained_weights_is_tried():
    model = make("gpt2")
    model.config.use_cache = False
    check_model(model, requirements())
    assert not uses_cache(model)  # as the user of a new model has chosen
    check_model(model, requirements(pretrained=True))
    assert uses_cache(model)


def test_logits_that_are_no_numbers_are_refused():
    model = make("gpt2")
    model.transformer.wte.weight.data[5] = torch.nan
    with pytest.raises(ConfigError, match="no finite numbers"):
        check_model(model, requirements())


@pytest.mark.parametrize("architecture", ["gpt2", "rwkv", "mamba", "bert", "gpt_neo"])
def test_checks_leave_random_numbers_weights_and_mode_as_they_are(architecture):
    model = make(architecture).train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    torch.manual_seed(3)
    random.seed(3)
    expected = torch.rand(3), random.random()
    torch.manual_seed(3)
    random.seed(3)
    check_model(model, requirements())
    assert torch.equal(torch.rand(3), expected[0])
    assert random.random() == expected[1]
    assert model.training
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())


def test_a_row_at_the_end_of_its_positions_goes_on_without_a_cache():
    model = make("openai-gpt").eval()
    check_model(model, requirements())
    written = generate(model, LAYOUT, LAYOUT.encode(EXAMPLES), max_new_tokens=2 * LONGEST)
    assert written.shape[0] == 3


# --- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "keeps"),
    [("gpt_neo", True), ("bert", True), ("roberta", True), ("openai-gpt", True), ("mamba", False)],
)
def test_a_run_trains_is_tested_and_answers_as_in_its_test(runs_folder, architecture, keeps):
    config = config_of(architecture, **{"removal.keep_positions": keeps})
    assert plan(config, speed="1")[0].cost.flops > 0
    run = train(config)
    model = load(run)
    last = run.samples[run.samples.removed == run.stages.removed.max()]
    again = model.score(model.encode(examples_of(model.corpus.test)), last.answer.tolist())
    assert list(again.written) == last.written.tolist()
    assert uses_cache(model.model) is WORKS[architecture][1]


@pytest.mark.parametrize("architecture", ["mamba", "roberta", "bloom"])
def test_every_phase_of_distillation_trains_and_answers(runs_folder, architecture):
    changes = SHORT | {"model.architecture": architecture}
    run = train(experiments.icot_kd("smoke", overrides=changes))
    assert load(run).answer("12 * 34").tokens > 0


def test_a_run_is_refused_before_it_trains(runs_folder):
    with pytest.raises(ConfigError, match=r"architecture=bloom .*keep_positions=false"):
        train(config_of("bloom"))
    assert not list(runs_folder.glob("*/metrics.csv"))


# --- pretrained models ---------------------------------------------------------------------------


TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@pytest.fixture
def own_data(tmp_path) -> str:
    for split in ("train", "valid", "test"):
        rows = [Example(f"{split} {i} + 5", f"{i} + 5", str(i + 5)) for i in range(4)]
        write_examples(tmp_path / "own" / f"{split}.txt", rows)
    return str(tmp_path / "own")


@pytest.fixture
def wrapper(tmp_path):
    """Makes a folder with a model that sees, of a kind, and a tokenizer."""

    def made(kind: str) -> str:
        tokenizer = bytes_tokenizer(["1 2 3 4 5 6 7 8 9 0 + ####"] * 5)
        text, folder = TEXT | {"vocab_size": len(tokenizer)}, tmp_path / kind
        if kind == "gemma3":
            text |= {"head_dim": 8, "sliding_window": 8}
            config = Gemma3Config(text_config=text, vision_config=VISION, mm_tokens_per_image=4)
        elif kind == "llava":
            vision = VISION | {"model_type": "clip_vision_model"}
            config = LlavaConfig(text_config=text | {"model_type": "llama"}, vision_config=vision)
        else:
            rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
            vision = {"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2}
            config = Qwen2VLConfig(
                text_config=text | {"rope_parameters": rope}, vision_config=vision
            )
        AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder)

    return made


def own_run(folder: str, data: str, **changes) -> RunConfig:
    own = {"model.pretrained": folder, "data.path": data, "removal.keep_positions": False}
    own |= {"optim.name": "adamw"}
    return config_of("gpt2", **own | changes)


@pytest.mark.parametrize("kind", ["gemma3", "llava"])
def test_of_a_model_that_sees_the_language_model_is_trained(runs_folder, wrapper, own_data, kind):
    folder = wrapper(kind)
    config = own_run(folder, own_data)
    trainer = Trainer(config, run=None)
    whole = AutoModelForImageTextToText.from_pretrained(folder).eval()
    ids = torch.arange(9)[None]
    assert torch.allclose(
        trainer.method.model.eval()(input_ids=ids).logits, whole(input_ids=ids).logits, atol=1e-5
    )
    assert not any("vision" in name for name, _ in trainer.method.model.named_parameters())
    assert plan(config, speed="1")[0].cost.parameters == sum(
        x.numel() for x in trainer.method.model.parameters()
    )
    run = train(config)
    assert AutoModelForCausalLM.from_pretrained(run.weights()).config.hidden_size == 16


@pytest.mark.parametrize("kind", ["gemma3", "llava"])
def test_adapters_of_a_model_that_sees_are_those_of_its_language_model(
    runs_folder, wrapper, own_data, kind
):
    folder = wrapper(kind)
    run = train(own_run(folder, own_data, **{"model.lora": {"r": 2}}))
    trainer = Trainer(run.config, run=None)
    adapted = [n for n, x in trainer.method.model.named_modules() if isinstance(x, LoraLayer)]
    assert adapted
    assert not any("vision" in name or "projector" in name for name in adapted)
    last = run.samples[run.samples.removed == run.stages.removed.max()]
    model = load(run)
    again = model.score(model.encode(examples_of(model.corpus.test)), last.answer.tolist())
    assert list(again.written) == last.written.tolist()


def test_distillation_of_a_model_that_sees(runs_folder, wrapper, own_data):
    changes = {name: x for name, x in SHORT.items() if name != "data.task"}
    changes |= {"model.pretrained": wrapper("gemma3"), "data.path": own_data}
    run = train(experiments.icot_kd("smoke", overrides=changes))
    assert run.done


def test_a_language_model_that_cannot_be_taken_out_is_refused(wrapper, own_data):
    with pytest.raises(ConfigError, match="no causal language model for qwen2_vl_text"):
        Trainer(own_run(wrapper("qwen2_vl"), own_data), run=None)


def test_a_pretrained_encoder_is_trained_as_a_decoder(runs_folder, pretrained, own_data):
    folder = pretrained("roberta", intermediate_size=32)
    path = Path(folder) / "config.json"
    path.write_text(path.read_text().replace('"pad_token_id": null', '"pad_token_id": 1'))
    run = train(own_run(folder, own_data))
    assert load(run).model.config.is_decoder
    check_model(load(run).model, requirements(pretrained=True))


def test_a_padding_token_without_a_row_is_replaced(runs_folder, pretrained, own_data):
    folder = pretrained("gpt2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    for i in range(9):
        tokenizer.add_tokens(f"<more-{i}>")
    tokenizer.pad_token = "<more-8>"
    tokenizer.save_pretrained(folder)
    run = train(own_run(folder, own_data))
    assert load(run).layout.pad == tokenizer.eos_token_id


def test_a_token_without_a_row_is_named_before_training(runs_folder, pretrained, own_data):
    folder = pretrained("gpt2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<more-{i}>" for i in range(9)])
    tokenizer.add_tokens("####")
    tokenizer.save_pretrained(folder)
    with pytest.raises(ConfigError, match=r"token '####' has the id .*resize_token_embeddings"):
        train(own_run(folder, own_data))


@pytest.mark.parametrize("rows", [1, 4, 10, 15])
def test_a_table_that_is_too_short_is_an_error(rows):
    model = make("gpt2")
    model.resize_token_embeddings(rows)
    with pytest.raises(ConfigError, match=f"only {rows} rows.*resize_token_embeddings"):
        check_tables(model, LAYOUT, [LAYOUT.encode(EXAMPLES)], "x")


# --- code that comes with a model ----------------------------------------------------------------


CODE = """
from pathlib import Path
Path({marker!r}).write_text("executed")
from transformers import LlamaConfig as OwnConfig, LlamaForCausalLM as OwnModel
from transformers import PreTrainedTokenizerFast as OwnTokenizer
"""


@pytest.fixture
def with_code(tmp_path, pretrained, monkeypatch):
    """Makes a folder whose JSON file names Python code, and a check that it never ran.

    Whoever asks on stdin gets yes.
    """
    marker = tmp_path / "executed"
    monkeypatch.setattr("builtins.input", lambda *_: "yes")

    def made(name: str, auto: dict, **values: str) -> str:
        folder = pretrained("llama")
        path = Path(folder) / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": auto} | values))
        (Path(folder) / "own.py").write_text(CODE.format(marker=str(marker)))
        return folder

    yield made
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "auto", "values"),
    [
        ("config.json", {"AutoConfig": "own.OwnConfig"}, {"model_type": "own_kind"}),
        (
            "config.json",
            {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
            {"model_type": "own_kind"},
        ),
        (
            "tokenizer_config.json",
            {"AutoTokenizer": ["own.OwnTokenizer", None]},
            {"tokenizer_class": "OwnTokenizer"},
        ),
    ],
)
@pytest.mark.parametrize("lora", [{}, {"r": 2}])
def test_code_that_comes_with_a_model_is_refused(
    runs_folder, with_code, own_data, name, auto, values, lora
):
    folder = with_code(name, auto, **values)
    with pytest.raises(ConfigError, match=r"Python code of its own.*never runs"):
        train(own_run(folder, own_data, **{"model.lora": lora}))


def test_a_known_architecture_is_loaded_without_the_code_beside_it(
    runs_folder, with_code, own_data
):
    folder = with_code("config.json", {"AutoModelForCausalLM": "own.OwnModel"})
    assert isinstance(Trainer(own_run(folder, own_data), run=None).method.model, LlamaForCausalLM)


@pytest.mark.parametrize("gpu", [True, False])
def test_kernels_for_a_gpu_are_recommended_only_where_there_is_one(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    without_advice_on_kernels()
    without_advice_on_kernels()  # once is enough
    logger, heard = logging.getLogger(SOURCE), []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    logger.addHandler(handler)
    try:
        logger.warning("`f` is %s implementation because `g` is not installed", ADVICE)
        logger.warning("something else")
    finally:
        logger.removeHandler(handler)
    assert len(heard) == 1 + gpu


def test_the_advice_on_kernels_is_still_worded_as_it_is_here():
    pinned = Path(__file__).parents[1] / "constraints.txt"
    if f"transformers=={importlib.metadata.version('transformers')}" not in pinned.read_text():
        pytest.skip("another version of transformers than the pinned one is installed")
    assert ADVICE in Path(importlib.util.find_spec(SOURCE).origin).read_text(encoding="utf-8")
