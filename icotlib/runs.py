"""Run directories: a run is found by its config, describes itself, and is never overwritten.

<method>[-<schedule>]-<task>[-<label>]-s<seed>-v<numerics>-<digest>/
    config.json       every setting
    provenance.json   commit, versions, device, data hash, numerics version, command
    metrics.csv       one row per evaluation during training
    stages.csv        one row per removal stage: test accuracy by greedy generation
    samples.jsonl     what the model wrote for the first test questions
    answers.parquet   every test question at every stage: right or not, and what the model wrote
    model/            the final weights and tokenizer (safetensors)
    stages/           weights at the end of every removal stage, where they differ, or its score
    checkpoint/       only while unfinished: what a resumed run starts from
    progress.json     only while unfinished: how far it is
    stop              only after `icot stop`: training writes a checkpoint and ends
    speed.json        examples per second, once they have been measured
    activations/      the model's residual stream, where it has been analysed
    history.jsonl     when which machine began, resumed and finished it
    done.json         totals; written last, so that it marks a finished run
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from icotlib import paths
from icotlib.config import NUMERICS, RunConfig, from_dict, to_dict
from icotlib.errors import RunError
from icotlib.system import leases
from icotlib.system.origin import command_line, git_commit

#: Raised when run directories are stored in another way, so that older ones cannot be read.
FORMAT = 3

#: The packages whose versions provenance names.
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy")


class Run:
    """One run directory, made or not yet made."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    @classmethod
    def of(cls, config: RunConfig) -> "Run":
        """Where the run of this config is or will be."""
        return cls(paths.runs_root() / config.run_name)

    @property
    def name(self) -> str:
        return self.folder.name

    def __repr__(self) -> str:
        state = "done" if self.done else f"step {self.progress.get('step', 0)}"
        return f"Run({self.name}, {state})"

    # --- what a run holds ---

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return (self.folder / "done.json").is_file()

    @property
    def started(self) -> bool:
        """Whether training has begun."""
        return (self.folder / "config.json").is_file()

    @property
    def readable(self) -> bool:
        """Whether this version of icotlib stored it."""
        return self._json("config.json").get("format") == FORMAT

    @property
    def config(self) -> RunConfig:
        """Every setting. Raises `RunError` if the run was stored by another version."""
        values = self._json("config.json")
        if values.pop("format", None) != FORMAT:
            raise RunError(
                f"{self.folder} was stored by another version of icotlib, which this one cannot "
                "read: train it again, or move it out of the folder of runs"
            )
        return from_dict(values)

    @property
    def provenance(self) -> dict[str, Any]:
        return self._json("provenance.json")

    @property
    def totals(self) -> dict[str, Any]:
        """Examples, tokens, steps and seconds of training, chain length, parameters."""
        return self._json("done.json")

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per evaluation so far; empty before the first."""
        return self._table("metrics.csv")

    @property
    def stages(self) -> pd.DataFrame:
        """One row per removal stage; empty until the run is finished."""
        return self._table("stages.csv")

    @property
    def samples(self) -> pd.DataFrame:
        """Question, truth and what the model wrote, by removal stage."""
        return pd.read_json(self.folder / "samples.jsonl", lines=True, dtype=False)

    @property
    def answers(self) -> pd.DataFrame:
        """One row per stage and test question: removed, number, question, answer, right, written,
        and cut, whether the limit of what it may write cut the answer (not in older runs).

        Raises `RunError` if the run kept none: it is unfinished, is never tested, or was trained
        before every answer was kept.
        """
        path = self.folder / "answers.parquet"
        if not path.is_file():
            raise RunError(
                f"{self.name} has no answers.parquet: it is unfinished, answers no questions, or "
                "is older than this file. Its accuracies can be used, its single questions cannot"
            )
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise RunError(f"{path} is damaged: {error}") from None

    @property
    def progress(self) -> dict[str, Any]:
        """The last report of a run in training; empty if there is none."""
        try:
            return json.loads((self.folder / "progress.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def weights(self, removed: int | None = None) -> Path:
        """The folder of the final weights, or of those at the end of a removal stage."""
        folder = self.folder / "model" if removed is None else self.stage_folder(removed)
        if removed is not None and not self.keeps_weights(removed):
            raise RunError(
                f"{self.name} was tested with {removed} removed, but did not keep the weights of "
                "that stage: it was trained with train.stage_weights=last"
            )
        if not folder.is_dir():
            folder = self.folder / "model"  # one model serves every stage
        elif removed is not None and not any(folder.glob("*.safetensors*")):
            raise RunError(
                f"{self.name}: the weights of stage {removed} were deleted (icot runs clean); ask "
                "for its last stage"
            )
        if not folder.is_dir() and self.done:
            raise RunError(
                f"{self.name} is finished and has no weights, perhaps because it was imported "
                "without them: import them (icot runs export --weights), or delete its folder and "
                "train it again"
            )
        if not folder.is_dir():
            raise RunError(f"{self.name} has no saved weights yet; train it with icot.ensure")
        return folder

    @property
    def checkpointed_stages(self) -> list[int]:
        """The removal stages that have weights of their own."""
        folders = sorted((self.folder / "stages").glob("removed-*"))
        stages = [int(folder.name.removeprefix("removed-")) for folder in folders]
        return [removed for removed in stages if self.keeps_weights(removed)]

    def keeps_weights(self, removed: int) -> bool:
        """Whether there are weights to ask at a removal stage (`train.stage_weights`)."""
        return not self.stage_score(removed).is_file()

    @property
    def stages_with_weights(self) -> list[int]:
        """The tested stages that there are weights to ask at."""
        return [int(removed) for removed in self.stages.removed if self.keeps_weights(removed)]

    def stage_score(self, removed: int) -> Path:
        """The test score of a stage whose weights are not kept."""
        return self.stage_folder(removed) / "score.json"

    def stage_folder(self, removed: int) -> Path:
        return self.folder / "stages" / f"removed-{removed:03d}"

    def activations_folder(self, removed: int) -> Path:
        """The folder that keeps the residual stream at a removal stage."""
        return self.folder / "activations" / f"removed-{removed:03d}"

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            raise RunError(f"{path} is missing: no run, or not finished yet") from None
        except json.JSONDecodeError as error:
            raise RunError(f"{path} is damaged: {error}") from None

    def _table(self, name: str) -> pd.DataFrame:
        path = self.folder / name
        if not path.is_file() or not path.stat().st_size:
            return pd.DataFrame()
        return pd.read_csv(path)

    # --- what training writes ---

    def begin(self, config: RunConfig, data_digest: str, device: str) -> None:
        """Write the description of a run that starts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "config.json").is_file():
            write_json(self.folder / "config.json", {"format": FORMAT, **to_dict(config)})
            write_json(self.folder / "provenance.json", provenance(data_digest, device))

    def lock(
        self, waiting: Callable[[], None] = lambda: None
    ) -> contextlib.AbstractContextManager[leases.Lease]:
        """Hold the run alone; waits while another process, on any machine, trains it.

        Args:
            waiting: called again and again while another process has it; may raise to give up.
        """
        return leases.hold(paths.runs_root() / ".locks" / self.name, waiting)

    @property
    def in_training(self) -> bool:
        """Whether a process has the run in hand, as far as this machine can tell."""
        return leases.is_held(paths.runs_root() / ".locks" / self.name)

    def request_stop(self) -> None:
        """Ask whichever process trains the run to write a checkpoint and end."""
        (self.folder / "stop").touch()

    @property
    def stop_requested(self) -> bool:
        return (self.folder / "stop").exists()

    def clear_stop(self) -> None:
        """Forget that the run was asked to stop."""
        (self.folder / "stop").unlink(missing_ok=True)

    def log(self, event: str, step: int) -> None:
        """Add a line to the run's history: it was started, resumed, stopped or finished."""
        entry = {"event": event, "step": step, "time": round(time.time(), 3)}
        line = json.dumps(entry | {"machine": platform.node(), "process": os.getpid()})
        with (self.folder / "history.jsonl").open("a") as file:
            file.write(line + "\n")

    @property
    def history(self) -> pd.DataFrame:
        """One row per time that training was started, resumed, stopped or finished."""
        path = self.folder / "history.jsonl"
        if not path.is_file():
            return pd.DataFrame(columns=["event", "step", "time", "machine", "process"])
        return pd.read_json(path, lines=True, convert_dates=False)

    def report(self, **state: Any) -> None:
        """Tell whoever watches how far the run is."""
        write_json(self.folder / "progress.json", state)

    def finish(self, totals: dict[str, Any]) -> None:
        """Mark the run as finished and drop what only an unfinished run needs."""
        write_json(self.folder / "done.json", totals)
        shutil.rmtree(self.folder / "checkpoint", ignore_errors=True)
        (self.folder / "progress.json").unlink(missing_ok=True)


def all_runs(finished: bool = True) -> list[Run]:
    """Every run directory of this format, by name; only finished ones unless told otherwise."""
    root = paths.runs_root()
    runs = [Run(path.parent) for path in sorted(root.glob("*/config.json"))]
    return [run for run in runs if run.readable and (run.done or not finished)]


def unfinished(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs to train for these configs, each once, a run after those that it builds on."""
    missing: dict[str, RunConfig] = {}
    for config in configs:
        if not Run.of(config).done:
            phases = unfinished(list(config.phases.values()))
            missing |= {phase.run_name: phase for phase in phases}
            missing[config.run_name] = config
    return list(missing.values())


def find_run(name: str) -> Run:
    """The run whose name is or begins with this.

    Where several begin so, a run without a label goes before labelled variants, and seed 0 before
    other seeds. Raises `RunError` listing the choices if none or several are left.
    """
    found = [run for run in all_runs(finished=False) if run.name.startswith(name)]
    exact = [run for run in found if run.name == name]
    plain = [run for run in found if not run.config.label]
    first = [run for run in plain or found if run.config.seed == 0]
    for choice in (exact, found, plain, first):
        if len(choice) == 1:
            return choice[0]
    if not found:
        raise RunError(f"no run under {paths.runs_root()} begins with {name!r}; see `icot runs`")
    listed = "".join(f"\n  {run.name}" for run in plain or found)
    raise RunError(f"several runs begin with {name!r}; type more of the name:{listed}")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    with paths.whole_file(path) as part:
        part.write_text(json.dumps(value, indent=2) + "\n")


def provenance(data_digest: str, device: str) -> dict[str, Any]:
    """Where numbers come from: commit, versions, device, data hash, numerics, command."""
    return {
        "commit": git_commit(),
        "numerics": NUMERICS,
        "command": command_line(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": device,
        "data": data_digest,
    }
