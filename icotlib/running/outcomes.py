"""Jobs, and how they have ended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from icotlib.config import RunConfig
from icotlib.errors import IcotError, RunError
from icotlib.system.failures import readable


@dataclass(frozen=True)
class Job:
    """A function that a worker calls once the jobs that it needs are finished."""

    #: Unique among all jobs that share a folder of runs; of a training, the name of its run. Two
    #: clients of one cluster that ask for the same job have it done once.
    name: str
    #: A function of a module, and its arguments: values that any version of Python can unpickle.
    function: Callable[..., Any]
    arguments: dict[str, Any]
    #: Names of jobs. Those that are not in the list are taken to be finished.
    needs: tuple[str, ...] = ()
    #: The run that it trains, if it trains one.
    trains: RunConfig | None = None


@dataclass(frozen=True)
class Outcome:
    """How a job has ended."""

    job: Job
    #: What its function returned.
    result: Any = None
    error: BaseException | None = None
    #: The job whose failure kept it from starting.
    kept_by: str | None = None

    @property
    def failed(self) -> bool:
        return self.error is not None


def raise_failures(outcomes: Sequence[Outcome]) -> None:
    """Raise what went wrong, if anything did: the error of the one job that failed by itself, or
    an `IcotError` with the cause of each, of the same class where they share one.

    Raises `RunError` for an error of the machine, such as a full disk.
    """
    errors = {
        outcome.job.name: readable(outcome.error)
        for outcome in outcomes
        if outcome.error is not None and outcome.kept_by is None
    }
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        kinds = {type(error) for error in errors.values()}
        kind = kinds.pop() if len(kinds) == 1 else RunError
        causes = "".join(
            f"\n  {name}: {error if isinstance(error, IcotError) else repr(error)}"
            for name, error in errors.items()
        )
        kind = kind if issubclass(kind, IcotError) else RunError
        first = next(iter(errors.values()))
        raise kind(f"{len(errors)} of {len(outcomes)} jobs failed:{causes}") from first
