"""What a run directory holds, read and checked: a file that is not what it was is an error.

`done.json` of a finished run has the hashes of its files. Runs older than the hashes are read
without a check.
"""

import contextlib
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from icotlib.config import RunConfig, from_dict
from icotlib.errors import IcotError, RunError
from icotlib.system import leases, seals
from icotlib.system.contents import file_hash

#: Raised when run directories are stored in another way, so that older ones cannot be read.
FORMAT = 3

#: The files of a finished run that tables and figures are drawn from. `done.json` has their hashes.
RESULTS = (
    *("config.json", "provenance.json", "metrics.csv", "stages.csv"),
    *("samples.jsonl", "answers.parquet"),
)


#: What tables read of the totals of a finished run, and of its removal stages.
TOTALS = {"chain_length", "examples", "seconds", "step", "tokens"}
STAGE = {"accuracy", "ci_high", "ci_low", "n_test", "removed"} | {
    f"train_{name}" for name in ("examples", "seconds", "steps", "tokens")
}

#: Columns of metrics.csv that older runs have under another name.
RENAMED = {"valid_accuracy": "valid_match", "train_accuracy": "train_match"}


class RunFiles:
    """The files of one run directory, made or not yet made."""

    def __init__(self, folder: Path, remedy: str = ""):
        self.folder = Path(folder)
        #: What to do about a file that is missing or damaged, a clause.
        self.remedy = (
            remedy or f"put it back from a copy, or delete {folder} and train the run again"
        )

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return self.started and (self.folder / "done.json").is_file()

    @property
    def started(self) -> bool:
        """Whether training has begun."""
        return (self.folder / "config.json").is_file()

    @property
    def config(self) -> RunConfig:
        """Every setting. Raises `RunError` if the run was stored by another version."""
        values = self._fields("config.json")
        if values.pop("format", None) != FORMAT:
            raise RunError(
                f"{self.folder} was stored by another version of icotlib, which this one cannot "
                "read: train it again, or move it out of the folder of runs"
            )
        try:
            return from_dict(_with_contents(values))
        except (AttributeError, KeyError, TypeError) as error:
            raise RunError(
                f"{self.folder / 'config.json'} is damaged ({error}): {self.remedy}"
            ) from None

    @property
    def provenance(self) -> dict[str, Any]:
        return self._fields("provenance.json")

    @property
    def totals(self) -> dict[str, Any]:
        """Examples, tokens, steps and seconds of training, chain length, parameters."""
        values = self._marker()
        values.pop("files", None)
        return values

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per evaluation so far; empty before the first.

        `valid_match` and `train_match` are teacher-forced: the share of examples whose every
        learned token, of what is left of the chain and of the answer, is the most likely one after
        the true tokens before it. The accuracy of a test (`stages`) is that of greedy answers.
        Older runs called both accuracy; their columns are renamed.
        """
        return self._table("metrics.csv", pd.read_csv).rename(columns=RENAMED)

    @property
    def stages(self) -> pd.DataFrame:
        """One row per removal stage; empty until the run is finished."""
        return self._table("stages.csv", pd.read_csv)

    @property
    def scores(self) -> pd.DataFrame:
        """`stages` of a run that is tested. Raises `RunError` if it is not yet."""
        stages = self.stages
        if stages.empty:
            raise RunError(f"{self.name} has no test scores: it is not finished yet")
        return stages

    @property
    def samples(self) -> pd.DataFrame:
        """Question, truth and what the model wrote, by removal stage."""
        return self._table("samples.jsonl", pd.read_json, lines=True, dtype=False)

    @property
    def answers(self) -> pd.DataFrame:
        """One row per stage and test question: removed, number, question, answer, right, written.

        Not in older runs: cut, whether the limit of what it may write cut the answer; answer_right,
        whether the answer alone is right; tokens written; chain, the units of chain among them, and
        chain_limit, the most that may stand before a right answer (none where nothing is removed).

        Raises `RunError` if the run kept none: it is unfinished, is never tested, or was trained
        before every answer was kept.
        """
        found = self._table("answers.parquet", pd.read_parquet)
        if not len(found.columns):
            raise RunError(
                f"{self.name} has no answers.parquet: it is unfinished, answers no questions, or "
                "is older than this file. Its accuracies can be used, its single questions cannot"
            )
        return found

    @property
    def problem(self) -> str | None:
        """What keeps tables from being drawn from the run; None where nothing does.

        Weights are not looked at: they are checked when they are loaded.
        """
        try:
            if not self.started and (self.folder / "done.json").is_file():
                raise RunError(f"{self.folder / 'config.json'} is missing: {self.remedy}")
            _ = self.config, self.provenance["data"]  # also one of another version
            if self.done:
                self._check_fields()
                for name in RESULTS:
                    self.verified(name)
        except IcotError as error:
            return f"{self.name}: {error}"
        except KeyError as error:
            path = self.folder / "provenance.json"
            return f"{self.name}: {path} is damaged (it has no {error}): {self.remedy}"
        return None

    def _check_fields(self) -> None:
        """Raises `RunError` for results without what tables are drawn from."""
        _ = self.metrics
        stages = STAGE if len(self.stages) else set()
        found = {"done.json": TOTALS - self.totals.keys(), "stages.csv": stages - {*self.stages}}
        for name, lacking in found.items():
            if lacking:
                path, listed = self.folder / name, ", ".join(sorted(lacking))
                raise RunError(f"{path} is damaged (it has no {listed}): {self.remedy}")

    @property
    def hashes(self) -> dict[str, str]:
        """The hashes of the files of a finished run, by name; empty for a run from before they
        were stored."""
        path = self.folder / "done.json"
        if not self.done:
            return {}
        try:
            return dict(_hashes_in(path, file_hash(path), self.remedy))
        except OSError as error:  # not ours to read, or deleted meanwhile
            raise RunError(f"{path} cannot be read: {error.strerror or error}") from None

    def verified(self, name: str) -> Path:
        """A file of the run. Raises `RunError` if it is not what it was when the run finished."""
        expected = self.hashes.get(name)
        path = self.folder / name
        return path if expected is None else seals.check_file(path, expected, self.remedy)

    @property
    def progress(self) -> dict[str, Any]:
        """The last report of a run in training; empty if there is none."""
        try:
            found = json.loads((self.folder / "progress.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def in_training(self) -> bool:
        """Whether a process has the run in hand, as far as this machine can tell."""
        return leases.is_beating(self.lease)

    @property
    def lease(self) -> Path:
        """The file that says who trains it."""
        return self.folder.parent / ".locks" / self.name

    @property
    def checkpoint_step(self) -> int:
        """The step from which an unfinished run would go on; 0 without a checkpoint."""
        found = (folder.name for folder in self.folder.glob("checkpoint/step-*"))
        return max((int(name.removeprefix("step-")) for name in found), default=0)

    @property
    def history(self) -> pd.DataFrame:
        """One row per time that training was started, resumed, stopped or finished."""
        rows = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / "history.jsonl").read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):  # a line that a full disk or a kill has cut
                    rows.append(json.loads(line))
        columns = ["event", "step", "time", "machine", "process"]
        return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)

    # --- weights ---

    def weights(self, removed: int | None = None) -> Path:
        """The folder of the final weights, or of those at the end of a removal stage."""
        folder = self.folder / "model" if removed is None else self.stage_folder(removed)
        if removed is not None and not self.keeps_weights(removed):
            raise RunError(
                f"{self.name} was tested with {removed} removed, but did not keep the weights of "
                "that stage: it was trained with train.stage_weights=last"
            )
        if removed is not None and self.lost_weights(removed):
            raise RunError(
                f"{self.name}: the weights of stage {removed} are not here, because they were "
                "deleted (icot runs clean) or not copied; ask for its last stage"
            )
        if not folder.is_dir():
            folder = self.folder / "model"  # one model serves every stage
        if not folder.is_dir() and self.done:
            raise RunError(
                f"{self.name} is finished and has no weights, perhaps because it was imported "
                "without them: delete its folder, and import an archive that has them (icot runs "
                "export --weights) or train it again"
            )
        if not folder.is_dir():
            raise RunError(f"{self.name} has no saved weights yet; train it with icot.ensure")
        self.verified(f"{folder.relative_to(self.folder).as_posix()}/{seals.SEAL}")
        return folder

    @property
    def checkpointed_stages(self) -> list[int]:
        """The removal stages that have a folder for weights of their own, in order."""
        return [removed for removed in self.ended_stages if self.keeps_weights(removed)]

    @property
    def ended_stages(self) -> list[int]:
        """The removal stages that ended in training and left weights or a score, in order."""
        return sorted(removed_at(path) for path in (self.folder / "stages").glob("removed-*"))

    def keeps_weights(self, removed: int) -> bool:
        """Whether training keeps weights to ask at a removal stage (`train.stage_weights`)."""
        return not self.stage_score(removed).is_file()

    def lost_weights(self, removed: int) -> bool:
        """Whether a removal stage had weights of its own that are not here any more: `model/` does
        not stand for them, unless it is the last stage."""
        folder = self.stage_folder(removed)
        if folder.is_dir():
            return not any(folder.glob("*.safetensors*"))
        had = any(name.startswith("stages/") for name in self.hashes)
        return had and removed != self.stages.removed.max()

    @property
    def stages_with_weights(self) -> list[int]:
        """The tested stages that there are weights to ask at."""
        tested = [int(removed) for removed in self.stages.removed]
        return [x for x in tested if self.keeps_weights(x) and not self.lost_weights(x)]

    def stage_score(self, removed: int) -> Path:
        """The test score of a stage whose weights are not kept."""
        return self.stage_folder(removed) / "score.json"

    def stage_folder(self, removed: int) -> Path:
        return self.folder / "stages" / f"removed-{removed:03d}"

    # --- how files are read ---

    def _fields(self, name: str) -> dict[str, Any]:
        """The fields of a JSON file."""
        path = self.folder / name
        if not path.is_file() and not self.done:
            raise RunError(f"{path} is missing: no run, or not finished yet")
        values = seals.read_json(self.verified(name), self.remedy)
        if not isinstance(values, dict):
            raise RunError(f"{path} is damaged (it holds no fields): {self.remedy}")
        return values

    def _marker(self) -> dict[str, Any]:
        if not self.done:
            raise RunError(f"{self.folder / 'done.json'} is missing: no run, or not finished yet")
        return seals.opened(self.folder / "done.json", self.remedy)

    def _table(self, name: str, read: Callable[..., pd.DataFrame], **how: Any) -> pd.DataFrame:
        """A table of the run; empty where it has none."""
        path = self.verified(name)
        if not path.is_file() or not path.stat().st_size:
            return pd.DataFrame()
        try:
            return read(path, **how)
        except (OSError, ValueError) as error:  # parsers raise kinds of `ValueError`
            raise RunError(f"{path} is damaged ({error}): {self.remedy}") from None


def removed_at(stage: Path) -> int:
    """The tokens or steps removed at the stage that a folder is of."""
    return int(stage.name.removeprefix("removed-"))


@functools.lru_cache(maxsize=4096)
def _hashes_in(path: Path, content: str, remedy: str) -> dict[str, str]:
    """The hashes in a marker with this hash of its own content."""
    found = seals.opened(path, remedy).get("files", {})
    return found if isinstance(found, dict) else {}


def _with_contents(values: dict[str, Any]) -> dict[str, Any]:
    """Stored values of a config. Those of a run from before data and models were known by what they
    hold say so: it keeps the name that their paths gave it."""
    for section in ("data", "model"):
        values[section].setdefault("content", "")
    for phase in values["phases"].values():
        _with_contents(phase)
    return values
