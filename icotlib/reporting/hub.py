"""Sharing a model: a folder in the hub's own form, with a card that says what it is."""

import json
import shutil
from pathlib import Path

from icotlib.config import to_dict
from icotlib.data.corpus import load_corpus
from icotlib.errors import ConfigError, RunError
from icotlib.models.loading import load_stage, save_model
from icotlib.models.parameters import max_positions
from icotlib.reporting.results import NAMES
from icotlib.runs import Run
from icotlib.tasks import Example

#: Tokens at most in the card's example, where the model has room for as many.
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
batch = layout.encode([Example({question!r}, {chain!r}, {answer!r})]){direct}
written = icot.generate(model, layout, batch, {removed}, {keep}, max_new_tokens={new})
print(layout.texts(written)[0])
"""


def export(run: Run, folder: Path, removed: int | None = None, name: str | None = None) -> Path:
    """Write a finished run's model, tokenizer and card as a folder that the hub takes.

    Args:
        removed: the removal stage, by default the last.
        name: `owner/name` on the hub, if it is to go there: what the card's code then loads.

    Raises `RunError` if the run is not finished, or answers no question by itself (student and
    emulator need each other), `ConfigError` if the folder exists or the stage does not.
    """
    if not run.done:
        raise RunError(f"{run.name} is not finished: train it first (icot train)")
    config = run.config
    if config.method in ("mind_reading", "emulation"):
        raise RunError(f"{run.name} answers no question by itself; export the coupled run")
    stages, unit = run.stages.removed.tolist(), config.removal.unit
    removed = stages[-1] if removed is None else removed
    if removed not in stages:
        raise ConfigError(f"{run.name} has no stage with {removed} {unit} removed, but {stages}")
    folder = Path(folder)
    if folder.exists():
        raise ConfigError(f"{folder} exists; give another folder")
    if config.model.lora:  # whole weights, which need neither peft nor the folder they came from
        save_model(folder, *load_stage(run, removed))
    else:
        ours = shutil.ignore_patterns("counters.json")
        shutil.copytree(run.weights(removed), folder, ignore=ours)
    (folder / "README.md").write_text(card(run, name or str(folder), removed))
    return folder


def push(folder: Path, name: str) -> str:
    """Upload an exported folder as `owner/name`; returns its address. Needs a hub login."""
    from huggingface_hub import HfApi

    api = HfApi()
    address = api.create_repo(name, exist_ok=True)
    api.upload_folder(repo_id=name, folder_path=str(folder))
    return str(address)


def card(run: Run, source: str, removed: int) -> str:
    """The model card: what it is, how to use it, how good it is, where it comes from."""
    config, origin, totals = run.config, run.provenance, run.totals
    row = run.stages.set_index("removed").loc[removed]
    method, unit = NAMES.get(config.method, config.method), config.removal.unit
    table = run.stages[["removed", "accuracy", "ci_low", "ci_high", "n_test"]]
    lines = [
        f"| chain {unit} removed | exact match | 95% interval | questions |",
        "|---|---|---|---|",
    ]
    for one in table.itertuples():
        interval = f"{one.ci_low:.1%} to {one.ci_high:.1%}"
        mark = " (this model)" if one.removed == removed else ""
        lines.append(f"| {one.removed}{mark} | {one.accuracy:.1%} | {interval} | {one.n_test} |")
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\n"
        "tags:\n- implicit-chain-of-thought\n---",
        f"# {method} on {config.task}",
        f"A language model trained by {method} to answer questions of `{config.task}` with "
        f"{removed} of {totals['chain_tokens']} {unit} of its chain of thought left out. It "
        f"answers {row.accuracy:.1%} of {int(row.n_test)} unseen questions right (greedy "
        "generation, exact match).",
        "## Use\n\n```python\n" + usage(run, source, removed) + "```",
        "## Accuracy\n\n" + "\n".join(lines),
        "## Origin\n\n"
        f"Run `{run.name}` of icotlib, seed {config.seed}, commit `{origin['commit']}`, on "
        f"{origin['device']}; data hash `{origin['data']}`; {totals['examples']:,} training "
        f"examples, {totals['parameters']:,} parameters.",
        "## Settings\n\n```json\n" + json.dumps(to_dict(config), indent=2) + "\n```",
    ]
    return "\n\n".join(parts) + "\n"


def usage(run: Run, source: str, removed: int) -> str:
    """Python that writes an answer; with transformers alone where the method allows it.

    It does not where positions are kept, where icotlib holds the class of the model, and where
    the tokenizer is not of single symbols: separator and end may then be one token, at which
    `generate` would stop.
    """
    config = run.config
    model, layout = load_stage(run, removed)
    example = load_corpus(config.data).test[0]
    length = int(layout.encode([Example(**example)]).question)
    room = max_positions(model)
    new = NEW_TOKENS if room is None else min(NEW_TOKENS, room - length)
    names = {"source": source, "question": example["question"], "new": new}
    shifted = config.removal.keep_positions and removed
    if config.method != "icot_kd" and not shifted and config.model.pretrained is None:
        prompt = f"{example['question']} {layout.tokenizer.sep_token}"
        return _PLAIN.format(**names, prompt=prompt, eos=layout.eos)
    return _LIBRARY.format(
        **names,
        spaced=config.model.spaced_separators,
        chain=example["chain"],
        answer=example["answer"],
        direct=".without_chain()" if config.removal.direct else "",
        removed=removed,
        keep=config.removal.keep_positions,
    )
