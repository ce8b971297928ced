"""The errors a user can cause, each of which says what to do about it."""

import difflib
from collections.abc import Iterable


class IcotError(Exception):
    """Base of every error that the library raises on purpose."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows below a cell in place of a traceback: the kind and the message."""
        return [f"{type(self).__name__}: {self}"]


class Interrupted(KeyboardInterrupt):
    """Training was interrupted by its user; the message says how it goes on."""

    def _render_traceback_(self) -> list[str]:
        """As that of `IcotError`."""
        return [f"Interrupted: {self}"]


class ConfigError(IcotError, ValueError):
    """A setting is unknown, of the wrong type, out of range or contradicts another."""


class DataError(IcotError, ValueError):
    """A data file or data set cannot be used; the message names the file and the line."""


class RunError(IcotError, RuntimeError):
    """A run directory is missing, unfinished or damaged."""


class TrainingError(IcotError, RuntimeError):
    """Training cannot go on, because the loss is no longer finite, for example."""


class StoppedError(IcotError, RuntimeError):
    """A run was asked to stop, and has; its checkpoint holds what it had reached."""


class ClusterError(IcotError, RuntimeError):
    """A Dask cluster cannot be reached, or its workers cannot do what they are asked for."""


class RunWarning(UserWarning):
    """What the user must know of a run that goes on, or of a list that leaves a damaged run out.

    The command shows the message alone, also that of a run in a worker.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint to append to an error about an unknown name; empty if nothing is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
