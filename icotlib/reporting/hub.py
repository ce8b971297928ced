"""A model as a folder in the hub's own form, with a card that says what it is."""

import json
import shutil
from pathlib import Path

from icotlib.config import to_dict
from icotlib.errors import ConfigError, RunError
from icotlib.evaluation.stage_model import StageModel
from icotlib.models.loading import save_model
from icotlib.models.parameters import max_positions
from icotlib.reporting.results import method_label
from icotlib.runs import Run
from icotlib.tasks import Example

#: Tokens at most in the card's example, where the model has positions for as many.
NEW_TOKENS = 200

#: How to write an answer with nothing but transformers.
_PLAIN = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

path = {source!r}
model = AutoModelForCausalLM.from_pretrained(path)
tokenizer = AutoTokenizer.from_pretrained(path)
inputs = tokenizer({prompt!r}, return_tensors="pt")
written = model.generate(
    input_ids=inputs.input_ids, max_new_tokens={new}, do_sample=False, eos_token_id={eos}
)
print(tokenizer.decode(written[0]))
"""

#: How to, where positions are kept or a class of icotlib holds the weights.
_LIBRARY = """\
import icotlib as icot
from icotlib.tasks import Example

path = {source!r}
model, layout = icot.load_model(path, spaced_separators={spaced})
# Only the question is read; the chain's length says how far positions are shifted.
batch = layout.encode([Example({question!r}, {chain!r}, {answer!r})]){without_chain}
written = icot.generate(model, layout, batch, {removed}, {keep}, max_new_tokens={new})
print(layout.texts(written)[0])
"""


def export(run: Run, folder: Path, removed: int | None = None, name: str | None = None) -> Path:
    """Write a finished run's model, tokenizer and card as a folder that the hub takes.

    Args:
        removed: the removal stage, by default the last.
        name: `owner/name` on the hub, if it is to go there: what the card's code then loads.

    Raises `RunError` if the run is not finished, or answers no question by itself, `ConfigError`
    if the folder exists or the stage does not.
    """
    model = StageModel.of(run, removed, device="cpu")
    folder = Path(folder)
    if folder.exists():
        raise ConfigError(f"{folder} exists; give another folder")
    if run.config.model.lora:  # whole weights, which need neither peft nor their source folder
        save_model(folder, model.model, model.layout)
    else:
        own = shutil.ignore_patterns("counters.json")
        shutil.copytree(run.weights(model.removed), folder, ignore=own)
    (folder / "README.md").write_text(card(model, name or str(folder)))
    return folder


def push(folder: Path, name: str) -> str:
    """Upload an exported folder as `owner/name`; returns its address. Needs a hub login."""
    from huggingface_hub import HfApi  # a second of start-up, for this alone

    api = HfApi()
    address = api.create_repo(name, exist_ok=True)
    api.upload_folder(repo_id=name, folder_path=str(folder))
    return str(address)


def card(model: StageModel, source: str) -> str:
    """The model card: what it is, how to use it, how good it is, where it comes from.

    Args:
        model: a stage of a finished run.
        source: the folder or hub id that the card's code loads.
    """
    run, config, unit = _run_of(model), model.config, model.format.unit
    origin, totals = run.provenance, run.totals
    row = run.stages.set_index("removed").loc[model.removed]
    lines = [
        f"| chain {unit} removed | exact match | 95% interval | questions |",
        "|---|---|---|---|",
    ]
    for stage in run.stages.itertuples():
        interval = f"{stage.ci_low:.1%} to {stage.ci_high:.1%}"
        mark = " (this model)" if stage.removed == model.removed else ""
        lines.append(
            f"| {stage.removed}{mark} | {stage.accuracy:.1%} | {interval} | {stage.n_test} |"
        )
    method = method_label(config.method)
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\n"
        "tags:\n- implicit-chain-of-thought\n---",
        f"# {method} on {config.task}",
        f"A language model trained by {method} to answer questions of `{config.task}` with "
        f"{model.removed} of {totals['chain_length']} {unit} of its chain of thought removed. It "
        f"answers {row.accuracy:.1%} of {int(row.n_test)} unseen questions right (greedy "
        "generation, exact match).",
        "## Use\n\n```python\n" + usage(model, source) + "```",
        "## Accuracy\n\n" + "\n".join(lines),
        "## Origin\n\n"
        f"Run `{run.name}` of icotlib, seed {config.seed}, commit `{origin['commit']}`, on "
        f"{origin['device']}; data hash `{origin['data']}`; {totals['examples']:,} training "
        f"examples, {totals['parameters']:,} parameters.",
        "## Settings\n\n```json\n" + json.dumps(to_dict(config), indent=2) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _run_of(model: StageModel) -> Run:
    if model.run is None:
        raise RunError(f"{model.name} belongs to no run")
    return model.run


def usage(model: StageModel, source: str) -> str:
    """Python that writes an answer; with transformers alone where the method allows it.

    It does not where positions are kept, where icotlib has the class of the model, and where the
    tokenizer is pretrained: separator and end may then be one token, at which `generate` stops.
    """
    config, layout, form = model.config, model.layout, model.format
    example = model.corpus.test[0]
    length = int(layout.encode([Example(**example)]).question)
    positions = max_positions(model.model)
    new = NEW_TOKENS if positions is None else min(NEW_TOKENS, positions - length)
    names = {"source": source, "question": example["question"], "new": new}
    shifted = form.keep_positions and model.removed
    if config.spec.plain_model and not shifted and config.model.pretrained is None:
        prompt = f"{example['question']} {layout.tokenizer.sep_token}"
        return _PLAIN.format(**names, prompt=prompt, eos=layout.eos)
    return _LIBRARY.format(
        **names,
        spaced=config.model.spaced_separators,
        chain=example["chain"],
        answer=example["answer"],
        without_chain="" if form.chain else ".without_chain()",
        removed=model.removed,
        keep=form.keep_positions,
    )
