"""Registries: what is known by name, found in the package itself and in users' own files.

A registry imports the package it belongs to at the first lookup, so that adding a task or a method
is adding a file there. Files outside the package join in through `import_file` (`--import FILE` on
the command line), or through an entry point of the group `icotlib.plugins`. The files are kept in
the environment variable `ICOT_IMPORT`, which worker processes and notebook kernels inherit.
"""

import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import pkgutil
import sys
from pathlib import Path
from typing import Any, Generic, TypeVar

from icotlib.errors import ConfigError, did_you_mean
from icotlib.system.contents import code_hash

T = TypeVar("T")

#: The environment variable that names imported files, separated as paths are.
IMPORTS = "ICOT_IMPORT"


class Registry(Generic[T]):
    """Classes by name.

    Args:
        kind: what they are, for messages.
        package: the package whose modules register them.
    """

    def __init__(self, kind: str, package: str):
        self.kind, self.package = kind, package
        self._items: dict[str, T] = {}
        self._loaded = False

    def add(self, name: str, item: T) -> None:
        """Make an item known. Raises `ConfigError` if another file has taken the name."""
        before = self._items.get(name)
        if before is not None and _source(before) != _source(item):
            raise ConfigError(
                f"two files register the {self.kind} {name!r}: {_source(before)} and "
                f"{_source(item)}"
            )
        self._items[name] = item
        if isinstance(item, type):
            code_hash(item)  # now, while its file is as it was imported

    def get(self, name: str) -> T:
        """The item of a name. Raises `ConfigError` with the nearest name if there is none."""
        self.load()
        if name not in self._items:
            known = ", ".join(sorted(self._items))
            raise ConfigError(
                f"unknown {self.kind} {name!r}; known: {known}.{did_you_mean(name, self._items)} "
                f"A {self.kind} of your own needs its file (--import FILE, or its notebook's cell)."
            )
        return self._items[name]

    def names(self) -> list[str]:
        """Every known name, in the order of registration."""
        self.load()
        return list(self._items)

    def items(self) -> dict[str, T]:
        """Every item by its name."""
        self.load()
        return dict(self._items)

    def load(self) -> None:
        """Import whatever registers something; once."""
        if self._loaded:
            return
        self._loaded = True  # already: what is imported may ask for a name
        try:
            package = importlib.import_module(self.package)
            for found in pkgutil.walk_packages(package.__path__, f"{self.package}."):
                importlib.import_module(found.name)
            load_plugins()
        except BaseException:
            self._loaded = False  # the next question fails too, and does not leave out names
            raise


def _source(item: Any) -> str:
    try:
        return inspect.getsourcefile(item) or "?"
    except (OSError, TypeError):
        return getattr(item, "__module__", "?")


#: Reasoning tasks (`icotlib.tasks`) by the word before the dash: `mult` of `mult-4x2`.
TASKS: Registry[Any] = Registry("task", "icotlib.tasks")

#: Methods (`icotlib.methods`) by their ids.
METHODS: Registry[Any] = Registry("method", "icotlib.methods")

#: Studies (`icotlib.studies`) by their names.
STUDIES: Registry[Any] = Registry("study", "icotlib.studies")


def load_plugins() -> None:
    """Import what users have added: the files of `ICOT_IMPORT`, and entry points.

    Raises `ConfigError` for one that cannot be imported.
    """
    for point in importlib.metadata.entry_points(group="icotlib.plugins"):
        try:
            point.load()
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:
            package = point.dist.name if point.dist else "a package"
            raise ConfigError(
                f"the plugin {point.name} of {package} cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
    for path in imported_files():
        _import_path(Path(path), IMPORTS)


def imported_files() -> list[str]:
    """The users' files that `import_file` has imported, here or where this process was started."""
    return list(filter(None, os.environ.get(IMPORTS, "").split(os.pathsep)))


def import_file(path: str | Path) -> None:
    """Import a user's file, here and in every process that is started from here.

    Raises `ConfigError` if the file is missing or fails while it is imported.
    """
    file = Path(path).expanduser().resolve()
    _import_path(file)
    known = imported_files()
    if str(file) not in known:
        os.environ[IMPORTS] = os.pathsep.join([*known, str(file)])


def _import_path(path: Path, asked_by: str = "--import") -> None:
    name = f"icotlib_user_{path.stem}"
    if name in sys.modules and getattr(sys.modules[name], "__file__", None) == str(path):
        return
    if not path.is_file():
        raise ConfigError(f"{asked_by} {path}: no such file")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{asked_by} {path}: no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ConfigError:
        del sys.modules[name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ConfigError(f"{asked_by} {path}: {type(error).__name__}: {error}") from error
