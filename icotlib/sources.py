"""What a run is made from outside of its settings: known by what it holds, not by its name."""

import re
from pathlib import Path
from typing import Any

from icotlib.errors import ConfigError, DataError
from icotlib.settings import Section
from icotlib.system.contents import DIGITS, file_hash

#: The files of `data.path`.
DATA_FILES = ("train.txt", "valid.txt", "test.txt")

#: A file and, behind `#`, the hash of its content.
HELD_OUT_FILE = re.compile(r"(.+)#([0-9a-f]{16})", re.DOTALL)


def file_digest(path: Path) -> str:
    """Sixteen hexadecimal digits that change with the content of a file."""
    return file_hash(path)[:DIGITS]


class Sourced(Section):
    """A section that names a source outside of the settings, and knows it by what it holds.

    `content` is None in a config that a user makes: whenever it is asked for, the source is looked
    at. A stored config holds the hash. That of a run older than this setting holds an empty text;
    there the name of the source stands for what it held.
    """

    content: str | None

    @property
    def source(self) -> str | None:
        """The name of the source; None without one."""
        raise NotImplementedError

    def found(self) -> str | None:
        """The hash of what the source holds now; None where it is not here, or has versions."""
        raise NotImplementedError

    @property
    def identity(self) -> str | None:
        """The hash by which the source is known; None where its name stands for it."""
        return self.found() if self.content is None else self.content or None

    def check_same(self, other: "Sourced", role: str) -> None:
        """Raises `ConfigError` if the source of a run that this one builds on holds another thing.

        Args:
            role: of the other run.
        """
        if (self.identity or self.source) != (other.identity or other.source):
            raise ConfigError(
                f"a run and the {role} that it builds on must read equal content: the {role} has "
                f"{other.source}, this run {self.source}, and these differ"
            )

    def check_content(self) -> None:
        """Raises `DataError` if the source holds something else than `content` says."""
        found = self.found()
        if self.content and found and found != self.content:
            raise DataError(
                f"{self.source} has changed: it holds {found}, and the run was made with "
                f"{self.content}. Put back what it held, or ask for a new run "
                f"({self.dotted('content')} left out)"
            )


#: The settings of a section that name a source, and the hash of what that holds.
SOURCES = {"data": ("path", "task", "content"), "model": ("pretrained", "content")}


def forget_contents(values: dict[str, Any], changes: dict[str, Any]) -> None:
    """Drop from stored values the hash of a source that another one is named for.

    Args:
        values: of a whole config; changes: by dotted name.
    """
    for section, names in SOURCES.items():
        if not values[section]["content"] or any(f"{section}.{name}" in changes for name in names):
            values[section]["content"] = None


def by_content(changed: dict[str, Any], section: Sourced, name: str) -> dict[str, Any]:
    """Changed settings with what a source holds in the place of its name, where that is known."""
    changed.pop("content", None)
    identity = section.identity
    if identity is None:
        return changed
    changed.pop(name, None)
    return changed | {"content": identity}
