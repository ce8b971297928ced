"""What a study is: arms and seeds, one table, one figure, and what it says in sentences."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pandas as pd
from matplotlib.figure import Figure

from icotlib import paths
from icotlib.config import RunConfig, parse_overrides
from icotlib.errors import ConfigError, RunError
from icotlib.experiments.base import SharedOverrides, check
from icotlib.experiments.workbook import shared
from icotlib.registry import STUDIES
from icotlib.reporting import figures
from icotlib.reporting.conclusions.sentences import capital, less
from icotlib.reporting.results import final_rows, results_table, with_ancestors
from icotlib.reporting.samples import sample_of
from icotlib.reporting.statistics import Sample, sample_of_rows
from icotlib.running.jobs import ensure
from icotlib.runs import Run, runs_with_ancestors
from icotlib.tasks import get_task

#: Settings that published studies share, by preset. Their data are split by another seed than those
#: on which settings were tuned.
SETTINGS: dict[str, dict[str, Any]] = {
    "smoke": {"data.seed": 1},
    "fast": {"data.seed": 1, "data.test_examples": 2000, "train.precision": "bf16"},
    "paper": {"data.seed": 1},
}

#: Settings by which the runs of a study differ.
OWN = ("seed", "label")


@dataclass(frozen=True)
class Member:
    """One run of a study."""

    arm: str
    seed: int
    config: RunConfig

    @property
    def run(self) -> Run:
        return Run.of(self.config)


class Study(ABC):
    """A question, and how it is answered."""

    #: What `icot study` calls it.
    name: ClassVar[str]
    #: What its table and its figure are called in `figures/`.
    file: ClassVar[str]
    question: ClassVar[str]
    #: The number of the notebook that shows it, if one does.
    notebook: ClassVar[str] = ""
    #: Seeds of its published runs. Settings were tuned on others (claims.md names exceptions).
    seeds: ClassVar[tuple[int, ...]] = (10, 11, 12, 13, 14)
    #: How many of them other presets than `fast` have.
    few: ClassVar[int] = 2
    #: Whether its figure needs nothing but its table.
    drawn_from_table: ClassVar[bool] = True
    #: Whether its sentences need nothing but its table either: arms and seeds can be added to what
    #: is published (`additions`).
    takes_arms: ClassVar[bool] = False
    #: Whether its sentences are the same with its runs and without: they are then said anew where
    #: its figure is drawn again.
    said_from_table: ClassVar[bool] = False
    #: Settings by which its arms differ, besides `OWN`.
    apart: ClassVar[tuple[str, ...]] = ()
    #: Arms that have fewer seeds, the first so many.
    fewer: ClassVar[Mapping[str, int]] = {}

    @abstractmethod
    def arms(self, preset: str, seed: int, overrides: Any) -> dict[str, RunConfig]:
        """The runs of one seed, by arm: what was trained how."""

    @abstractmethod
    def table(self, members: Sequence[Member]) -> pd.DataFrame:
        """Its table, with a row for each of some finished runs, or several."""

    @abstractmethod
    def figure(self, members: Sequence[Member], table: pd.DataFrame) -> Figure:
        """Its figure, of finished runs."""

    @abstractmethod
    def words(self, members: Sequence[Member], table: pd.DataFrame) -> list[str]:
        """What it found, in sentences that say so where the data do not decide."""

    def arms_of(self, table: pd.DataFrame) -> pd.Series:
        """The arm of each row of its table, which arms can be added to."""
        return table.arm

    def joined(self, published: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        """Published rows of other arms, and the rows of its table that are added to them."""
        return pd.concat([published, table], ignore_index=True)

    def samples(self, last: Mapping[str, pd.DataFrame], table: pd.DataFrame) -> dict[str, Sample]:
        """What the seeds of each arm of some rows of its table answer, a row for each seed;
        question by question where their runs are at hand.

        Args:
            last: `rows_by_arm` of the runs at hand.
        """
        samples = {}
        for name, rows in table.groupby(self.arms_of(table), sort=False):
            known = last.get(arm := str(name))
            at_hand = known is not None and set(known.seed) == set(rows.seed)
            samples[arm] = sample_of(known) if at_hand else sample_of_rows(rows)
        return samples

    def rows(self, members: Sequence[Member]) -> pd.DataFrame:
        """Every stage of finished runs (`results_table`), with a column arm."""
        rows = results_table([member.run for member in members])
        arm_of = {member.config.run_name: member.arm for member in members}
        return rows.assign(arm=rows.run.map(arm_of))

    def rows_by_arm(self, members: Sequence[Member]) -> dict[str, pd.DataFrame]:
        """The last stage of finished runs, a row for each seed, by arm, in the order of arms."""
        found = dict(list(final_rows(self.rows(members)).groupby("arm")))
        return {arm: found[arm] for arm in dict.fromkeys(member.arm for member in members)}

    # --- its runs ---

    def members(
        self,
        preset: str = "fast",
        seeds: Iterable[int] | None = None,
        overrides: Any = None,
        shift: int = 0,
    ) -> list[Member]:
        """Its runs, seed by seed.

        Args:
            seeds: by default its own at `fast`, and the first two at other presets.
            overrides: over the settings that studies share.
            shift: is added to its own seeds, so that another one gives other runs.

        Raises `ConfigError` for a setting that no run of the workbook reads, and for those that
        tell the runs of a study apart.
        """
        check(preset)
        own = (seed + shift for seed in self._seeds(preset))
        chosen = tuple(dict.fromkeys(own if seeds is None else seeds))
        changes = dict(parse_overrides(overrides))
        for name in (*OWN, *self.apart):
            if name in changes:
                raise ConfigError(
                    f"{name} tells the runs of a study apart, and cannot be set for all of them"
                    + ("; say seeds (--seeds)" if name == "seed" else "")
                )
        settings = shared(SETTINGS[preset] | changes)
        return [
            Member(arm, seed, config)
            for number, seed in enumerate(chosen)
            for arm, config in self.arms(preset, seed, settings).items()
            if number < self.fewer.get(arm, len(chosen))
        ]

    def _seeds(self, preset: str) -> tuple[int, ...]:
        return self.seeds if preset == "fast" else self.seeds[: self.few]

    def answer(self, members: Sequence[Member]) -> "Answer":
        """What the finished ones of some runs say.

        Raises `RunError` if none is finished.
        """
        runs = with_ancestors(member.run for member in members if member.run.done)
        whole = {run.name for run in runs}
        done = [member for member in members if member.config.run_name in whole]
        if not done:
            raise RunError(
                f"no run of the study {self.name!r} is finished (icot study {self.name})"
            )
        table = self.table(done)
        return Answer(self, done, table)


def measured_once(
    run: Run, name: str, key: bytes, measure: Callable[[], pd.DataFrame]
) -> pd.DataFrame:
    """A table that takes minutes to measure, and stays with the run that it is of.

    Args:
        name: what was measured; key: all that it depends on beside the run.
    """
    file = run.measured / f"{name}-{hashlib.sha256(key).hexdigest()[:10]}.csv"
    if not file.is_file():
        with paths.whole_file(file) as part:
            measure().to_csv(part, index=False)
    return pd.read_csv(file)


def distinct(arms: dict[str, RunConfig], first: str) -> dict[str, RunConfig]:
    """The arms without those that differ from the first one in their label alone, as some do at
    presets whose recipe lacks what they leave out."""
    plain = {arm: config.override({"label": ""}).digest for arm, config in arms.items()}
    return {arm: one for arm, one in arms.items() if arm == first or plain[arm] != plain[first]}


def outcomes(rows: pd.DataFrame) -> pd.DataFrame:
    """What each row of `results_table` cost and answered, by the names that tables of studies have:
    seed, examples, seconds, accuracy, ci_low, ci_high, n."""
    names = {"train_examples": "examples", "train_seconds": "seconds", "n_test": "n"}
    columns = ["seed", "examples", "seconds", "accuracy", "ci_low", "ci_high", "n"]
    return rows.rename(columns=names)[columns].round({"seconds": 1})


def all_removed(rows: pd.DataFrame) -> bool:
    """Whether every seed answers without any step.

    Args:
        rows: the last stages of one arm (`Study.rows_by_arm`).
    """
    return bool((rows.removed == rows.chain_length).all())


def compared(first: str, rows: pd.DataFrame, second: str, others: pd.DataFrame) -> str:
    """What the data say of the accuracies of two arms, if both answer without any step.

    Args:
        rows, others: the last stages of the arms that `first` and `second` name.
    """
    for name, arm in ((first, rows), (second, others)):
        if not all_removed(arm):
            return still_writes(name, arm)
    return less(capital(first), second, sample_of(rows), sample_of(others))


def still_writes(name: str, rows: pd.DataFrame) -> str:
    """Why an arm is compared with none."""
    least, unit = rows.loc[rows.removed.idxmin()], rows.unit.iloc[0]
    return (
        f"{capital(name)} ended with {least.removed} of {least.chain_length} {unit} removed: it is "
        "not compared with what answers without any step."
    )


def chain_tokens(config: RunConfig) -> int:
    """The tokens of every chain of a run's task; of data from files, whose chains differ, those of
    the task that its settings name."""
    return get_task(config.data.task).widths[1]


def of_arm(overrides: Any, changes: dict[str, Any]) -> SharedOverrides:
    """The settings that tell an arm from others, over those that all runs of a study share."""
    return SharedOverrides(dict(overrides) | changes)


@dataclass(frozen=True)
class Answer:
    """What the finished runs of a study say."""

    study: Study
    members: Sequence[Member]
    table: pd.DataFrame
    #: The origin of rows of the table that were published before, run by run.
    earlier: Sequence[dict[str, Any]] = ()

    @property
    def words(self) -> list[str]:
        """In sentences, one at least."""
        alone = "No other arm is finished with which this one could be compared."
        return self.study.words(self.members, self.table) or [alone]

    @property
    def figure(self) -> Figure:
        return self.study.figure(self.members, self.table)

    def save(self, folder: Path) -> None:
        """Write table, figure, provenance and sentences to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        name, words = self.study.file, self.words
        figures.save_published(
            self.figure, name, self.table, self.runs, folder, words=words, earlier=self.earlier
        )

    @property
    def runs(self) -> list[Run]:
        """Its runs and those that they build on, each once."""
        return runs_with_ancestors(member.config for member in self.members)


S = TypeVar("S", bound=type[Study])


def register(study: S) -> S:
    """Decorator: a study that `icot study` knows by its name."""
    STUDIES.add(study.name, study)
    return study


def get_study(name: str) -> Study:
    """The study of a name. Raises `ConfigError` with the nearest name if there is none."""
    study: Study = STUDIES.get(name)()
    return study


def study_names() -> list[str]:
    """Every study by its name."""
    return STUDIES.names()


def study(
    name: str,
    preset: str = "fast",
    seeds: Iterable[int] | None = None,
    overrides: Any = None,
    jobs: int | None = None,
    shift: int = 0,
) -> Answer:
    """The answer of a study; trains the runs that are missing.

    Args:
        seeds, overrides, shift: as in `Study.members`; jobs: as in `ensure`.
    """
    asked = get_study(name)
    members = asked.members(preset, seeds, overrides, shift)
    ensure([member.config for member in members], jobs)
    return asked.answer(members)


def default_folder(name: str) -> Path:
    """Where the table and the figure of a study are written."""
    return paths.runs_root() / "studies" / name
