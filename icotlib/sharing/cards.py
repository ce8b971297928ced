"""Model cards: what an exported model is, how to use it, how good it is, where it comes from.

A card names the data set and the base model, and shows no path and nothing of the test set. Texts
that come from outside are escaped for Markdown; the header is written by huggingface_hub.
"""

import dataclasses
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from icotlib.config import RunConfig
from icotlib.errors import RunError
from icotlib.evaluation.stage_model import StageModel
from icotlib.reporting.results import method_label
from icotlib.runs import Run
from icotlib.settings import Section
from icotlib.sharing.card_code import keeps_positions, usage
from icotlib.system.wording import counted

#: What is said of the licence where nobody has named one.
UNKNOWN = "unknown"

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_MARKS = re.compile(r"([\\`*\[\]<>|~&$]|\b_|_\b)")


def card(
    model: StageModel, name: str | None = None, folder: str = "model", licence: str | None = None
) -> str:
    """The card of a stage of a finished run.

    Args:
        name: the id on the hub that the card's code loads; None loads the folder.
        folder: the name of the exported folder.
        licence: by default that of the base model's own card, if it has one.
    """
    run = model.run
    if run is None:
        raise RunError(f"{model.name} belongs to no run")
    config, unit = model.config, model.format.unit
    label, task = method_label(config.method), plain(_data_name(config))
    row = run.stages.set_index("removed").loc[model.removed]
    parts = [
        _header(model, licence),
        f"# {label} on {task}",
        f"A language model that answers questions of {task}, trained by {label}{_paper(config)}. "
        f"Of the chain of thought, {model.removed} of {run.totals['chain_length']} {unit} are "
        f"removed. It answers {row.accuracy:.1%} of {int(row.n_test)} unseen questions right "
        f"(95% interval {row.ci_low:.1%} to {row.ci_high:.1%}; greedy decoding, exact match).",
        f"## Use\n\n{_needs(model, name, folder)}\n\n"
        + fenced(usage(model, name, folder), "python")
        + f"\n\n{_meaning(model)}",
        "## Accuracy\n\n" + _accuracy(model, run),
        "## Base model, data and licence\n\n" + _sources(model, run, licence),
        "## Training\n\n"
        f"Run {code(run.name)} of icotlib, commit {code(run.provenance['commit'])}, on "
        f"{plain(run.provenance['device'])}: {counted(run.totals['step'], 'steps')}, "
        f"{run.totals['examples']:,} examples, {run.totals['parameters']:,} parameters.\n\n"
        + fenced(yaml.safe_dump(applied(config), sort_keys=False, allow_unicode=True), "yaml"),
    ]
    return "\n\n".join(parts) + "\n"


def plain(text: str) -> str:
    """Text from outside as one line of Markdown that shows it and nothing else."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Text from outside as a span of code."""
    text = " ".join(text.split())
    marks = "`" * (_longest_run(text) + 1)
    inside = f" {text} " if "`" in text else text
    return f"{marks}{inside}{marks}"


def fenced(text: str, language: str) -> str:
    """A block of code, its fence longer than any in the text."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _longest_run(text: str) -> int:
    """The length of the longest run of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)


# --- the header ---


def _header(model: StageModel, licence: str | None) -> str:
    from huggingface_hub import ModelCardData  # a second of start-up, for this alone

    spec, source = model.config.spec, model.config.model.pretrained
    data = ModelCardData(
        license=licence_of(model.config, licence),
        library_name="transformers" if spec.plain_model else "icotlib",
        pipeline_tag="text-generation",
        base_model=source if source and is_hub_id(source) else None,
        tags=["implicit-chain-of-thought", *([f"arxiv:{spec.paper}"] if spec.paper else [])],
    )
    return f"---\n{data.to_yaml()}\n---"


def is_hub_id(source: str) -> bool:
    """Whether a pretrained model was named by its id on the hub, not by a folder."""
    return bool(_HUB_ID.fullmatch(source)) and not Path(source).exists()


def licence_of(config: RunConfig, licence: str | None) -> str:
    """The licence that was named, else that of the base model's card, else `unknown`."""
    base = Path(config.model.pretrained or "") / "README.md"
    if licence is None and config.model.pretrained and base.is_file():
        found = re.match(r"---\n(.*?)\n---\s*\n", base.read_text(errors="replace"), re.DOTALL)
        try:
            header = yaml.safe_load(found[1]) if found else None
        except yaml.YAMLError:
            header = None
        licence = header.get("license") if isinstance(header, dict) else None
    return licence if isinstance(licence, str) and licence.strip() else UNKNOWN


# --- use ---


def _needs(model: StageModel, name: str | None, folder: str) -> str:
    """What the code needs, and where it finds the model."""
    needs = "With transformers and torch alone"
    if not model.config.spec.plain_model:
        needs = "With icotlib (`pip install .` in its source folder), which has the model's class"
    if name is not None:
        return needs + ":"
    place = code(f"python {shlex.quote(f'{folder}/example.py')}")
    return (
        f"{needs}. The same code is in `example.py`: {place} runs from anywhere, wherever this "
        f"folder lies. In a session, start where {code(folder)} is."
    )


def _meaning(model: StageModel) -> str:
    """What the code prints, and what its numbers mean."""
    text = "What stands after `####` is the answer."
    if model.config.spec.plain_model and keeps_positions(model):
        text += (
            " This model keeps positions: `removed` is the number of tokens that were taken from "
            "chains, the same for every question."
        )
    return text


# --- what it is ---


def _accuracy(model: StageModel, run: Run) -> str:
    lines = [
        f"| chain {model.format.unit} removed | exact match | 95% interval | questions |",
        "|---|---|---|---|",
    ]
    for stage in run.stages.itertuples():
        interval = f"{stage.ci_low:.1%} to {stage.ci_high:.1%}"
        mark = " (this model)" if stage.removed == model.removed else ""
        lines.append(
            f"| {stage.removed}{mark} | {stage.accuracy:.1%} | {interval} | {stage.n_test} |"
        )
    return "\n".join(lines)


def _paper(config: RunConfig) -> str:
    number = config.spec.paper
    return f" ([arXiv {number}](https://arxiv.org/abs/{number}))" if number else ""


def _sources(model: StageModel, run: Run, licence: str | None) -> str:
    config, corpus, own = model.config, model.corpus, model.config.model
    if own.pretrained is None:
        base = f"none: {own.architecture}, trained from random weights"
    elif is_hub_id(own.pretrained):
        base = code(own.pretrained)
    else:
        base = code(_last_part(own.pretrained))
    if own.lora:
        base += ", trained with adapters that are merged into its weights"
    if corpus.train is None:
        train = f"{run.totals['examples']:,} examples, drawn afresh in every batch"
    else:
        train = f"{counted(len(corpus.train), 'examples')}"
    kind = "generated by icotlib" if corpus.task is not None else "files of the user"
    licence = licence_of(config, licence)
    said = "not stated; those of base model and data hold" if licence == UNKNOWN else plain(licence)
    lines = [
        f"- Base model: {base}.",
        f"- Data: {code(_data_name(config))} ({kind}), hash {code(run.provenance['data'])}; "
        f"training {train}; validation {len(corpus.valid):,}; test {len(corpus.test):,}. No "
        "question of validation or test is in training.",
        f"- Licence: {said}.",
    ]
    return "\n".join(lines)


def _data_name(config: RunConfig) -> str:
    """The task, or the name of the folder of data."""
    return config.data.task if config.data.path is None else _last_part(config.data.path)


def _last_part(path: str) -> str:
    """The name of a folder or file, without where it is."""
    return Path(path).name or Path(path).expanduser().resolve().name or "data"


# --- settings ---


def applied(config: RunConfig) -> dict[str, Any]:
    """The settings by which a run was trained, section by section.

    Left out are settings that this run does not read, and those without a value. Of the phases
    that it builds on, `phases` holds what differs from the run itself.
    """
    found = _own_settings(config)
    phases = {}
    for phase in config.ancestors().values():
        settings: dict[str, Any] = {}
        for name, section in _own_settings(phase).items():
            if isinstance(section, dict):
                mine = found.get(name, {})
                section = {key: x for key, x in section.items() if mine.get(key) != x}
            if section not in ({}, found.get(name)):
                settings[name] = section
        phases[phase.method] = settings
    return found | ({"phases": phases} if phases else {})


def _own_settings(config: RunConfig) -> dict[str, Any]:
    found: dict[str, Any] = {"method": config.method, "seed": config.seed}
    sections = {"model": config.model, "optim": config.optim, "train": config.train} | config.own
    for name, section in sections.items():
        values = {
            key: _without_paths(value)
            for key, value in dataclasses.asdict(section).items()  # type: ignore[call-overload]
            if value not in (None, {}, "") and _applies(config, section, key)
        }
        found |= {name: values} if values else {}
    return found


def _applies(config: RunConfig, section: Section, key: str) -> bool:
    """Whether a run reads a setting of a section."""
    if section is config.model:
        of_new = ("architecture", "layers", "width", "heads", "dropout", "options")
        if key in ("pretrained", "content"):  # named as the base model
            return False
        return (key in of_new) == (config.model.pretrained is None) or key == "extra_positions"
    return not (section is config.optim and key == "muon_lr" and config.optim.name != "muon")


def _without_paths(value: Any) -> Any:
    """A setting's value, of absolute paths in it the last part alone."""
    if isinstance(value, Mapping):
        return {key: _without_paths(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_paths(inner) for inner in value]
    is_path = isinstance(value, str) and re.match(r"[/~]\S|[A-Za-z]:[\\/]", value)
    return _last_part(value) if is_path else value
