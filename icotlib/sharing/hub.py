"""A model as a folder in the hub's own form, with a card that says what it is."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import GenerationConfig

from icotlib.errors import ConfigError, RunError
from icotlib.evaluation.stage_model import StageModel
from icotlib.models.loading import save_model
from icotlib.runs import Run, write_json
from icotlib.sharing.card_code import NEW_TOKENS, usage
from icotlib.sharing.cards import card
from icotlib.system import leases
from icotlib.system.contents import file_hash

#: What an export holds besides the model: its run and stage, and the hash of every file.
RECORD = "icotlib.json"

#: The file that lets transformers find a class of icotlib (`auto_map`).
AUTO_MAP = "modeling_icotlib.py"

_MODULE = '"""The classes of this model are in icotlib."""\n\nfrom {module} import {names}\n'


def export(
    run: Run | str,
    folder: str | Path,
    removed: int | None = None,
    name: str | None = None,
    licence: str | None = None,
    auto_map: bool = False,
) -> Path:
    """Write a finished run's model, tokenizer and card as a folder that the hub takes.

    The folder appears when it is whole. What a killed export has left is removed by the next one.

    Args:
        removed: the removal stage, by default the last.
        name: `owner/name` on the hub, if it is to go there: what the card's code then loads.
        licence: its identifier on the hub; by default that of the base model's card.
        auto_map: name the model's class in its config, so that
            `AutoModelForCausalLM.from_pretrained(..., trust_remote_code=True)` finds a class of
            icotlib without `import icotlib`.

    Raises `RunError` if the run is not finished, answers no question by itself, or was trained on
    other data than there is now; `ConfigError` if the folder exists or cannot be written, or the
    stage does not exist.
    """
    model = StageModel.of(run, removed, device="cpu")
    folder = Path(folder).expanduser()
    _check_data(model)
    with _written_whole(folder) as part:
        _save(model, part, auto_map)
        (part / "README.md").write_text(card(model, name, folder.name, licence), encoding="utf-8")
        script = usage(model, name, folder.name)
        (part / "example.py").write_text(script, encoding="utf-8")
        files = {path.name: file_hash(path) for path in sorted(part.iterdir())}
        about = {"run": model.name, "removed": model.removed, "name": name}
        about |= {"licence": licence, "auto_map": auto_map}
        write_json(part / RECORD, about | {"files": files})
    return folder


def _check_data(model: StageModel) -> None:
    """Raises `RunError` if the data are not those that the run was trained on."""
    trained_on = model.run.provenance["data"] if model.run else None
    if model.corpus.digest != trained_on:
        raise RunError(
            f"{model.name} was trained on data with the hash {trained_on}, and those of "
            f"{model.config.task} now have {model.corpus.digest}: put the files back as they were, "
            "or train on the new ones"
        )


@contextlib.contextmanager
def _written_whole(folder: Path) -> Iterator[Path]:
    """A folder to write in, which becomes `folder` when the block ends well, and else vanishes."""
    if not folder.name:
        raise ConfigError(f"{folder}: give the name of a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with leases.hold(folder.with_name(f".{folder.name}.lease")):
            if folder.exists() or folder.is_symlink():
                raise ConfigError(f"{folder} exists; give another folder")
            part = folder.with_name(f".{folder.name}.part")
            shutil.rmtree(part, ignore_errors=True)  # an export that was killed has left it
            part.mkdir()
            try:
                yield part
                part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{folder} cannot be written: {reason}; give a folder on a disk with "
            "room, in which you may write"
        ) from None


def _save(model: StageModel, folder: Path, auto_map: bool) -> None:
    """Model and tokenizer, without where they came from, and greedy decoding as the default."""
    layout, language_model = model.layout, model.model
    if language_model.can_generate():
        language_model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=layout.eos,
            pad_token_id=layout.pad,
        )
    save_model(folder, language_model, layout)
    for name in ("config.json", "tokenizer_config.json"):
        values = json.loads((folder / name).read_text(encoding="utf-8"))
        write_json(folder / name, _without_origin(values))
    kind, settings = type(language_model), type(language_model.config)
    if auto_map and kind.__module__.startswith("icotlib."):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        module = AUTO_MAP.removesuffix(".py")
        config["auto_map"] = {
            "AutoConfig": f"{module}.{settings.__name__}",
            "AutoModelForCausalLM": f"{module}.{kind.__name__}",
        }
        write_json(folder / "config.json", config)
        names = ", ".join(sorted({settings.__name__, kind.__name__}))
        text = _MODULE.format(module=kind.__module__, names=names)
        (folder / AUTO_MAP).write_text(text, encoding="utf-8")


def _without_origin(values: Any) -> Any:
    """A config without the folders that its parts were loaded from."""
    if isinstance(values, list):
        return [_without_origin(value) for value in values]
    if not isinstance(values, dict):
        return values
    origin = ("_name_or_path", "name_or_path")
    return {key: _without_origin(x) for key, x in values.items() if key not in origin}


def record(folder: str | Path) -> dict[str, Any]:
    """What an export is: `run`, `removed`, `name` on the hub, `licence` and `auto_map` as they were
    asked for, and the hashes of its `files`.

    Raises `ConfigError` for another folder, and if a file is missing or damaged. The card and the
    example may be edited.
    """
    path = Path(folder) / RECORD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        files = dict(found["files"])
    except FileNotFoundError:
        raise ConfigError(f"{folder} is no export: it has no {RECORD}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error}): delete {folder}, export again") from None
    for name, digest in files.items():
        file = Path(folder) / name
        if not file.is_file():
            raise ConfigError(f"{file} is missing: delete {folder} and export again")
        if name not in ("README.md", "example.py") and file_hash(file) != digest:
            raise ConfigError(f"{file} is not what was exported: delete {folder} and export again")
    return found
