"""Run directories: a run is found by its config, describes itself, and is never overwritten.

<method>[-<schedule>]-<task>[-<label>]-s<seed>-v<numerics>-<digest>/
    provenance.json   commit, versions, device, data hash, numerics version, command
    config.json       every setting; written second, so that it marks a run that has begun
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
    done.json         totals, and the hashes of these files; written last, so that it marks a
                      finished run
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from icotlib import paths
from icotlib.config import NUMERICS, RunConfig, families, to_dict
from icotlib.errors import IcotError, RunError, RunWarning
from icotlib.run_files import FORMAT, RESULTS, RunFiles
from icotlib.system import leases, seals
from icotlib.system.contents import file_hash
from icotlib.system.origin import command_line, git_commit
from icotlib.system.seals import write_json

#: The packages whose versions provenance names.
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy")


class Run(RunFiles):
    """One run directory, made or not yet made."""

    @classmethod
    def of(cls, config: RunConfig) -> "Run":
        """Where the run of this config is or will be."""
        return cls(paths.runs_root() / config.run_name)

    def __repr__(self) -> str:
        state = "done" if self.done else f"step {self.progress.get('step', 0)}"
        return f"Run({self.name}, {state})"

    @property
    def is_shipped(self) -> bool:
        """Whether it came with the workbook, so that nothing may be written into its folder."""
        return self.folder.parent == paths.SHIPPED

    @property
    def measured(self) -> Path:
        """The folder of what can be measured again at any time; of other weights another one."""
        if not self.is_shipped:
            return self.folder
        version = file_hash(self.folder / "model" / seals.SEAL)[:8]
        return paths.data_cache() / f"shipped-{self.name}-{version}"

    def activations_folder(self, removed: int) -> Path:
        """The folder that keeps the residual stream at a removal stage."""
        return self.measured / "activations" / f"removed-{removed:03d}"

    # --- what training writes ---

    def begin(self, config: RunConfig, device: str, origin: dict[str, Any]) -> None:
        """Write the description of a run that starts, or make sure that it goes on as it began.

        Provenance comes first: `config.json` marks a run that has begun. What a killed process left
        half written in the folder is deleted; the caller holds the run alone (`lock`).

        Args:
            origin: what must not change while a run is interrupted: `data`, the hash of its data,
                and `trained_with`, other hashes by what they are of, None where there is none.

        Raises `RunError` if there is a checkpoint or a removal stage of other data, another
        tokenizer, model or code.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in list(self.folder.rglob(".*")):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        origin = provenance(origin["data"], device) | origin
        if self.checkpoint_step or any(self.folder.glob("stages/*")):
            self.check_continued(self._provenance_or_none(), origin)
        if self._describes(config):
            return
        (self.folder / "done.json").unlink(missing_ok=True)  # of a run that was being deleted
        write_json(self.folder / "provenance.json", origin)
        write_json(self.folder / "config.json", {"format": FORMAT, **to_dict(config.pinned())})

    def _describes(self, config: RunConfig) -> bool:
        """Whether the run's description is whole, and that of this config."""
        try:
            return self.config.digest == config.digest and bool(self.provenance["data"])
        except (IcotError, KeyError):
            return False

    def _provenance_or_none(self) -> dict[str, Any]:
        """The provenance; nothing if it was lost. A checkpoint says the same."""
        try:
            return self.provenance
        except RunError:
            return {}

    def check_continued(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        """Raises `RunError` if a run that was interrupted would go on with other data, another
        tokenizer, model or code.

        Args:
            before, now: provenance, or the state of a checkpoint.
        """
        expected, found = same_training(before), same_training(now)
        changed = [
            name
            for name, x in expected.items()
            if x is not None and found.get(name) not in (x, None)
        ]
        if changed:
            raise RunError(
                f"{self.name} was interrupted, and cannot go on: the {' and the '.join(changed)} "
                f"changed since. Put back what it began with, or delete {self.folder} to train it "
                "from its start"
            )

    def lock(
        self, waiting: Callable[[], None] = lambda: None
    ) -> contextlib.AbstractContextManager[leases.Lease]:
        """Hold the run alone; waits while another process, on any machine, trains it.

        Args:
            waiting: called again and again while another process has it; may raise to give up.
        """
        return leases.hold(self.lease, waiting)

    def request_stop(self) -> None:
        """Ask whichever process trains the run to write a checkpoint and end.

        It may have the run in hand and not have begun it yet, so that there is no folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "stop").touch()

    @property
    def stop_requested(self) -> bool:
        return (self.folder / "stop").exists()

    def clear_stop(self) -> None:
        """Forget that the run was asked to stop."""
        (self.folder / "stop").unlink(missing_ok=True)

    def log(self, event: str, step: int) -> None:
        """Add a line to the run's history: it was started, resumed, stopped or finished."""
        entry: dict[str, Any] = {"event": event, "step": step, "time": round(time.time(), 3)}
        if event == "resumed":  # perhaps by another version of the code than provenance names
            entry["commit"] = git_commit()
        line = json.dumps(entry | {"machine": platform.node(), "process": os.getpid()})
        with (self.folder / "history.jsonl").open("a") as file:
            file.write(f"\n{line}\n")  # where a kill or a full disk has cut a line, another begins

    def report(self, **state: Any) -> None:
        """Tell whoever watches how far the run is."""
        write_json(self.folder / "progress.json", state, durable=False)

    def forget_progress(self) -> None:
        """Drop what an interrupted training told last, which may be ahead of its checkpoint."""
        (self.folder / "progress.json").unlink(missing_ok=True)

    def finish(self, totals: dict[str, Any]) -> None:
        """Mark the run as finished and drop what only an unfinished run needs."""
        kept = ["model", *(f"stages/{path.name}" for path in self.folder.glob("stages/*"))]
        files = [*RESULTS, *(f"{name}/{seals.SEAL}" for name in kept)]
        hashes = seals.hashes_of(self.folder, files)
        write_json(self.folder / "done.json", seals.sealed(totals | {"files": hashes}))
        shutil.rmtree(self.folder / "checkpoint", ignore_errors=True)
        self.forget_progress()


def all_runs(finished: bool = True) -> list[Run]:
    """Every run directory, by name; only finished ones unless told otherwise.

    A run that is damaged is left out, with a `RunWarning` that names it and says what to do.
    """
    return _whole(_folders(paths.runs_root()), finished)


def runs_in_training() -> list[Run]:
    """Every run that a process has in hand, begun or not, by name."""
    root = paths.runs_root()
    names = sorted(path.name for path in (root / ".locks").glob("[!.]*"))
    return [run for run in (Run(root / name) for name in names) if run.in_training and not run.done]


def shipped_runs() -> list[Run]:
    """The small trained models that come with the workbook, as finished runs, by name."""
    return _whole(_folders(paths.SHIPPED), True)


def shipped(name: str) -> Run:
    """The model of this method that comes with the workbook, to ask before any training.

    Raises `RunError` if there is none.
    """
    every = {run.name: run for run in shipped_runs()}
    if name not in every:
        listed = ", ".join(every) or "none"
        raise RunError(
            f"no model {name!r} comes with the workbook ({listed} does): icot train {name}"
        )
    return every[name]


def _whole(folders: Iterator[Run], finished: bool) -> list[Run]:
    """Those that are not damaged; a `RunWarning` names the others."""
    runs = []
    for run in folders:
        if (problem := run.problem) is not None:
            warnings.warn(f"left out: {problem}", RunWarning, stacklevel=3)
        elif run.done or not finished:
            runs.append(run)
    return runs


def _folders(root: Path) -> Iterator[Run]:
    markers = [*root.glob("*/config.json"), *root.glob("*/done.json")]
    return (Run(folder) for folder in sorted({path.parent for path in markers}))


def runs_with_ancestors(configs: Iterable[RunConfig]) -> list[Run]:
    """The runs of these configs and all that they build on, each once."""
    return [Run.of(config) for config in families(configs).values()]


def unfinished(configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs to train for these configs, each once, a run after those that it builds on."""
    missing: dict[str, RunConfig] = {}
    for config in configs:
        if not Run.of(config).done:
            phases = unfinished(list(config.phases.values()))
            missing |= {phase.run_name: phase for phase in phases}
            missing[config.run_name] = config
    return list(missing.values())


def begins(name: str, text: str) -> bool:
    """Whether a run's name begins with a text; one that ends with a seed, as `...-s1` does, is not
    the beginning of seed 10. Raises `RunError` for an empty text."""
    if not text.strip():
        raise RunError("the name of a run is empty: was a variable not set?")
    within_seed = re.search(r"-s\d+$", text) and re.match(r"\d", name[len(text) :])
    return name.startswith(text) and not within_seed


def find_run(name: str) -> Run:
    """The run whose name is or begins with this.

    Where several begin so, those of the method of this name go before others, a run without a
    label before labelled variants, the preset `fast` before others, and seed 0 before other seeds.
    A model of this name that comes with the workbook answers, with a `RunWarning`, where no run
    begins so, or only toys do: of the preset `smoke`, or labelled variants such as the tour's.

    Raises `RunError` listing the choices if none or several are left.
    """
    begun = [run for run in _folders(paths.runs_root()) if begins(run.name, name)]
    whole = any(run.problem is None for run in begun)
    found = _whole(iter(begun), False) if whole else []  # or else the error names the problem
    toys = all(run.config.preset == "smoke" or run.config.label for run in found)
    if toys and (found or not begun):  # not in the place of a damaged run, whose error is said
        instead = next((run for run in shipped_runs() if run.name == name), None)
        if instead is not None:
            _say_shipped(instead, found)
            return instead
    left = [run for run in found if run.name == name] or found
    for is_usual in (
        lambda config: config.method == name,
        lambda config: not config.label,
        lambda config: config.preset == "fast",
        lambda config: config.seed == 0,
    ):
        if len(left) > 1:
            left = [run for run in left if is_usual(run.config)] or left
    if len(left) == 1:
        return left[0]
    if not found:
        raise RunError(not_found(name))
    listed = "".join(f"\n  {run.name}" for run in left)
    raise RunError(f"several runs begin with {name!r}; type more of the name:{listed}")


def not_found(name: str) -> str:
    """Why no run that begins with a name can be used: none is finished, or whole, or there."""
    root = paths.runs_root()
    problems = [run.problem for run in _folders(root) if begins(run.name, name)]
    if None in problems:
        return f"no finished run begins with {name!r}; see `icot runs`"
    nothing = f"no run under {root} begins with {name!r}; see `icot runs`"
    return next(filter(None, problems), nothing)


def _say_shipped(run: Run, toys: Sequence[Run]) -> None:
    """Say that a model which comes with the workbook stands in for a run of the user's."""
    yours = "you have no such run"
    if toys:
        kind = "of the preset smoke" if toys[0].config.preset == "smoke" else "labelled"
        yours = f"for your own, {kind}, type more of its name: {toys[0].name}"
    warnings.warn(
        f"{run.name!r} is the small model that comes with the workbook (seed {run.config.seed}, "
        f"trained at commit {run.provenance['commit']}); {yours}. `icot train {run.name}` trains "
        "one that takes its place",
        RunWarning,
        stacklevel=4,
    )


def steps_of(config: RunConfig) -> int:
    """Steps that the run of a config was trained for; at most so many where it is not here, as
    that of a shipped model is not."""
    run = Run.of(config)
    return int(run.totals["step"]) if run.done else config.train.steps


def same_training(origin: dict[str, Any]) -> dict[str, Any]:
    """Of a provenance, what must stay the same while a run is interrupted, by what it is."""
    fixed = {"data": origin.get("data"), "numerics version": origin.get("numerics")}
    return fixed | origin.get("trained_with", {})


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
