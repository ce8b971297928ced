"""What files, folders and classes hold, as hashes: a run is named after them, and not after paths.

A hash is kept while a file's size, times and inode stay as they are. Those of large files are kept
on disk too, in a cache that can be deleted at any time.
"""

import ast
import contextlib
import functools
import hashlib
import inspect
import linecache
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FunctionType

from icotlib import paths

#: Seconds in which a file can change again without a change of its times.
COARSE = 2.0

#: Bytes from which `folder_hash` keeps the hash of a file on disk.
LARGE = 64 * 2**20

#: Digits of the hash of a folder or a class.
DIGITS = 16

#: The endings of the files of a pretrained model that decide what it does.
MODEL_FILES = (".safetensors", ".bin", ".json", ".model", ".txt", ".jinja", ".py")

#: Files of these endings that do not.
NOT_READ = {"generation_config.json", "trainer_state.json", "sha256.json", "layout.json"}

_Signature = tuple[int, ...]
_known: dict[str, tuple[_Signature, str]] = {}


def file_hash(path: Path) -> str:
    """The sha256 of a file, in hexadecimal; read once until the file changes."""
    key, signature = str(path.absolute()), _signature(path)
    if key in _known and _known[key][0] == signature:
        return _known[key][1]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    _known.pop(key, None)
    if _is_settled(signature) and _signature(path) == signature:
        _known[key] = signature, found
    return found


def folder_hash(folder: Path, names: Iterable[str]) -> str | None:
    """A hash of some files of a folder, by name; None if one of them is missing."""
    lines = []
    for name in sorted(names):
        try:
            lines.append(f"{name} {_stored_hash(folder / name)}\n")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:DIGITS] if lines else None


def model_hash(folder: Path) -> str | None:
    """A hash of the weights, config and tokenizer of a pretrained model; None without a folder."""
    if not folder.is_dir():
        return None
    files = [path for path in folder.iterdir() if path.suffix in MODEL_FILES and path.is_file()]
    names = {path.name for path in files if not path.name.startswith(".")} - NOT_READ
    if any(name.endswith(".safetensors") for name in names):  # which are preferred
        names = {name for name in names if not name.endswith(".bin")}
    return folder_hash(folder, names)


def _signature(path: Path) -> _Signature:
    """What changes with a file: size, inode, and the times of its content and of its entry."""
    stat = path.stat()
    return stat.st_size, stat.st_ino, stat.st_dev, stat.st_mtime_ns, stat.st_ctime_ns


def _is_settled(signature: _Signature) -> bool:
    """Whether the next change of a file will change its times."""
    return time.time() - max(signature[-2:]) / 1e9 > COARSE


def _stored_hash(path: Path) -> str:
    """`file_hash`, kept on disk for a large file."""
    signature = _signature(path)
    if signature[0] < LARGE or not _is_settled(signature):
        return file_hash(path)
    text = f"{path.resolve()} {signature}"
    stored = paths.data_cache() / "hashes" / hashlib.sha256(text.encode()).hexdigest()[:32]
    with contextlib.suppress(OSError, ValueError):
        found = stored.read_text()
        if len(found) == 64 and int(found, 16) >= 0:
            return found
    found = file_hash(path)
    with contextlib.suppress(OSError):  # a read-only or full disk
        stored.parent.mkdir(parents=True, exist_ok=True)
        with paths.whole_file(stored) as part:
            part.write_text(found)
    return found


# --- code --------------------------------------------------------------------------------------


@functools.cache
def code_hash(kind: type) -> str | None:
    """A hash of the code of a user's class; None of a class of icotlib, which has versions.

    It covers the files of the class and of its bases, or, in a notebook, the classes themselves.
    Comments, docstrings and layout do not count, nor do modules that the files import. It is that
    of the text at the first call, so that it should be asked for as soon as there is a class.
    """
    own = [one for one in kind.__mro__ if one.__module__.partition(".")[0] not in NOT_OWN]
    if not own:
        return None
    text = "\n".join(sorted({_code(one) for one in own}))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


#: Packages of classes whose code counts as known.
NOT_OWN = {"icotlib", "builtins", "abc", "typing"}


#: Where an object is in memory, as its text says.
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def _code(kind: type) -> str:
    """The code of the file of a class; of the class alone where there is a cell of a notebook for
    it, and else of its functions."""
    functions = dict(_functions(kind))
    with contextlib.suppress(OSError, TypeError, SyntaxError, ValueError):
        files = {function.__code__.co_filename for function in functions.values()}
        source = min(files) if files else inspect.getsourcefile(kind)
        if source is not None and os.path.isfile(source):
            return _plain(Path(source).read_text(encoding="utf-8"))
        for node in ast.parse("".join(linecache.getlines(source or ""))).body:
            if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
                return _plain(ast.unparse(node))
    values = [
        f"{name} {ADDRESS.sub('', repr(value))}"
        for name, value in sorted(vars(kind).items())
        if name not in functions and not name.startswith("__") and not callable(value)
    ]
    return "\n".join([*values, *(f"{name} {_text(x)}" for name, x in functions.items())])


#: Where what stands in a class keeps its functions: methods of classes, properties, and those
#: that are calculated once.
HOLDERS = ("__func__", "fget", "fset", "fdel", "func")


def _functions(kind: type) -> Iterator[tuple[str, FunctionType]]:
    """The functions that a class defines, by name: methods and properties."""
    for name, value in sorted(vars(kind).items()):
        held = [(f"{name}.{one}", getattr(value, one, None)) for one in HOLDERS]
        for place, function in [(name, value), *held]:
            own = inspect.unwrap(function) if callable(function) else None
            if isinstance(own, FunctionType):
                yield place, own


def _text(function: FunctionType) -> str:
    with contextlib.suppress(OSError, TypeError, SyntaxError):
        return _plain(inspect.cleandoc(inspect.getsource(function)))
    code = function.__code__
    return f"{code.co_code.hex()} {[x for x in code.co_consts if not hasattr(x, 'co_code')]!r}"


def _plain(text: str) -> str:
    """Code without comments, docstrings and layout."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            body[:1] = [] if len(body) > 1 else [ast.Pass()]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
