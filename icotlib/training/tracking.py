"""Sending a run's config and the rows of metrics.csv to experiment trackers.

Any tracker that accelerate knows, by name: `icot train --track tensorboard`, or `ICOT_TRACK` for
workers and notebooks. It is no setting of a run, whose name and numbers it does not change.
"""

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from accelerate.tracking import (
    LOGGER_TYPE_TO_CLASS,
    GeneralTracker,
    get_available_trackers,
)

from icotlib import paths
from icotlib.config import RunConfig, to_dict
from icotlib.errors import ConfigError, RunWarning, did_you_mean
from icotlib.runs import Run
from icotlib.system.seals import write_json

#: The environment variable that names trackers, with commas between them.
VARIABLE = "ICOT_TRACK"

#: The project that trackers without a folder put runs into.
PROJECT = "icotlib"

#: How trackers are told a run's name; wandb and trackio go on with a resumed run under its name.
NAMED: dict[str, Callable[[Run], dict[str, Any]]] = {
    "wandb": lambda run: {"name": run.name, "id": run.name[-64:], "resume": "allow"},
    "trackio": lambda run: {"name": run.name, "resume": "allow"},
    "mlflow": lambda run: {"run_name": run.name},
    "swanlab": lambda run: {"experiment_name": run.name},
}


def trackers_asked_for() -> list[str]:
    """The names in `ICOT_TRACK`.

    Raises `ConfigError` for a tracker that accelerate does not know or that is not installed.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    names = [name for name in names if name]
    known = sorted(map(str, LOGGER_TYPE_TO_CLASS))
    installed = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in known:
            raise ConfigError(
                f"accelerate knows no tracker {name!r}, but {', '.join(known)}."
                f"{did_you_mean(name, known)}"
            )
        is_own = not LOGGER_TYPE_TO_CLASS[name].__module__.startswith("accelerate.")
        if not is_own and name not in installed:
            raise ConfigError(
                f"the tracker {name!r} is not installed (pip install {name}); installed: "
                f"{', '.join(sorted(installed)) or 'none'}"
            )
    return names


class Tracking:
    """The trackers of one run. One that fails is dropped with a warning; the run goes on."""

    def __init__(
        self, run: Run, config: RunConfig, rows: Sequence[Mapping[str, Any]], names: Sequence[str]
    ):
        """Start trackers.

        Args:
            rows: those of metrics.csv so far, of which trackers get what they do not have yet.
            names: of the trackers; none in processes that do not write.
        """
        self.trackers: dict[str, GeneralTracker] = {}
        self.folder = paths.runs_root() / "tracking" / run.name
        #: Whether it is a new run; trackers may know an older one of its name, since deleted.
        self.begins = not rows
        for name in names:
            self._guard(name, self._start, name, run, config)
        for row in rows:
            self.log(row)

    def _start(self, name: str, run: Run, config: RunConfig) -> None:
        tracker_class = LOGGER_TYPE_TO_CLASS[name]
        if tracker_class.requires_logging_directory:
            tracker = tracker_class(run.name, str(self.folder.parent))
        else:
            tracker = tracker_class(PROJECT, **NAMED.get(name, lambda run: {})(run))
        tracker.start()
        if self.begins or name not in self._logged():
            tracker.store_init_configuration(dict(flat(to_dict(config))))
            self._note(name, 0)
        self.trackers[name] = tracker

    def log(self, row: Mapping[str, Any]) -> None:
        """Send a row of metrics.csv to the trackers that do not have it."""
        values = {key: x for key, x in row.items() if key != "step" and not isinstance(x, str)}
        for name, tracker in list(self.trackers.items()):
            self._guard(name, self._send, name, tracker, values, row["step"])

    def _send(self, name: str, tracker: GeneralTracker, values: dict[str, Any], step: int) -> None:
        if step > self._logged().get(name, 0):
            self._note(name, step)  # first: a killed run must not send a row twice
            tracker.log(values, step)

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(self, *raised: object) -> None:
        """End the trackers, also where training has failed: another run may follow."""
        for name, tracker in list(self.trackers.items()):
            self._guard(name, tracker.finish)

    def _guard(self, name: str, call: Callable[..., None], *args: Any) -> None:
        try:
            call(*args)
        except Exception as error:  # each tracker raises types of its own
            self.trackers.pop(name, None)
            problem = f"the tracker {name!r} failed and is left out: {error}"
            warnings.warn(problem, RunWarning, stacklevel=2)

    def _logged(self) -> dict[str, int]:
        """The last step that each tracker has been sent."""
        path = self.folder / "logged.json"
        return json.loads(path.read_text()) if path.is_file() else {}

    def _note(self, name: str, step: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "logged.json", self._logged() | {name: step})


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings by dotted name; what is no number and no truth value as text."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, (bool, int, float)):
            yield prefix + name, value
        else:
            yield prefix + name, str(value)
