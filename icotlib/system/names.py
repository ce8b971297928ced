"""Names that become names of files: labels, sweeps, runs of an archive, folders of data."""

import re
import unicodedata

from icotlib.errors import ConfigError

#: Letters and digits of any language, and `_ . + = , -` after the first.
NAME = re.compile(r"\w[\w.+=,-]*")

#: Bytes at most: several such parts and a digest fit into the name of one folder.
LONGEST = 80

#: Bytes at most of the name of a run: file systems allow 255, and hidden parts add some.
LONGEST_RUN = 200


def is_name(text: str, longest: int = LONGEST) -> bool:
    """Whether a text may be a file's name: no separator, no space, nothing hidden, not too long."""
    plain = unicodedata.normalize("NFC", text) == text
    return plain and len(text.encode()) <= longest and NAME.fullmatch(text) is not None


def check_name(text: str, what: str) -> str:
    """The text, if it may be (a part of) a file's name. Raises `ConfigError` naming what it is."""
    if not is_name(text):
        raise ConfigError(
            f"{what} {text[:LONGEST]!r} becomes the name of a folder: use letters, digits and "
            f"_ . + = , - alone, with a letter, a digit or _ first, {LONGEST} bytes at most"
        )
    return text


def not_too_long(name: str) -> str:
    """The name of a run. Raises `ConfigError` for one that is too long."""
    if len(name.encode()) > LONGEST_RUN:
        raise ConfigError(
            f"the run's name has {len(name.encode())} bytes, of {LONGEST_RUN} at most: choose a "
            "shorter label, or a shorter name for the folder of its data"
        )
    return name


def as_name(text: str) -> str:
    """The nearest text that may be a part of a file's name: other characters become hyphens."""
    plain = re.sub(r"[^\w.+=,-]+", "-", unicodedata.normalize("NFC", text))
    plain = re.sub(r"^[^\w]+", "", plain)
    while len(plain.encode()) > LONGEST:
        plain = plain[:-1]
    return plain or "data"
