"""Text as it is stored and compared: one normal form for every file that is read."""

import re
import unicodedata

#: Signs without width or meaning: byte-order mark, zero-width space, soft hyphen, marks of writing
#: direction, invisible operators.
_INVISIBLE = dict.fromkeys([
    *(0x00AD, 0x034F, 0x180E, 0x200B, 0x200E, 0x200F, 0xFEFF),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
])  # fmt: skip

#: Joiners belong to the spelling of Persian and Indic words and of emoji, but not of Latin, Greek
#: or Cyrillic ones.
_JOINER = re.compile("(?<![\u0590-\U0010ffff])[\u200c\u200d]|[\u200c\u200d](?![\u0590-\U0010ffff])")

#: Control characters that are no white space.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")

#: What is left of a LaTeX command whose backslash a JSON or Python string took for an escape:
#: `\frac` as form feed and `rac`, `\times` as tab and `imes`.
_LOST_BACKSLASH = re.compile(r"\f(?=rac|orall|loor)|\t(?=imes\b|heta\b|ext(?:bf|it|rm)?\{)")

#: Quotation marks, dashes and dots that differ in typography alone.
_TYPOGRAPHY = str.maketrans({
    **dict.fromkeys("\u2018\u2019\u201b\u2032\u00b4\u02bc\uff07", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb\uff02", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d", "-"),
    "\u2026": "...",
    "\u200c": "",
    "\u200d": "",
    **{chr(code): "" for code in range(0xFE00, 0xFE10)},  # variants of the same sign
})  # fmt: skip


def clean(text: str) -> str:
    """A text on one line in Unicode's normal form C, its words separated by single spaces.

    Byte-order marks, zero-width signs and marks of writing direction are removed; white space of
    every kind, line ends among it, becomes one space. Typography is kept.

    Raises `ValueError` for a control character, half a surrogate pair, or a LaTeX command whose
    backslash was read as an escape.
    """
    if not text.isprintable():
        _check_characters(text)
    if text.isascii():
        return " ".join(text.split())
    text = _JOINER.sub("", text.translate(_INVISIBLE))
    return " ".join(unicodedata.normalize("NFC", text).split())


def _check_characters(text: str) -> None:
    if control := _CONTROL.search(text):
        code = ord(control.group())
        name = "a NUL byte" if code == 0 else f"the control character U+{code:04X}"
        raise ValueError(f"the text holds {name}")
    if not text.isascii() and text != text.encode("utf-8", "ignore").decode():
        raise ValueError("the text holds half a surrogate pair")
    if _LOST_BACKSLASH.search(text):
        raise ValueError("a LaTeX command lost its backslash, as \\frac and \\times do in JSON")


def same_question(text: str) -> str:
    """The key under which questions are compared: equal for questions that read the same.

    Case, white space, Unicode form, zero-width signs, and the typography of quotation marks and
    dashes make no difference. Raises `ValueError` as `clean` does.
    """
    text = clean(text).casefold()
    if text.isascii():
        return text
    return " ".join(unicodedata.normalize("NFC", text.translate(_TYPOGRAPHY)).split())


def decode(data: bytes) -> str:
    """A text file's content: UTF-8, or UTF-16 or UTF-32 with a byte-order mark, which is removed.

    Raises `UnicodeDecodeError` (a `ValueError`) for anything else.
    """
    for mark, encoding in (
        (b"\xff\xfe\0\0", "utf-32"),
        (b"\0\0\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(encoding)
    return data.decode("utf-8-sig")


def split_lines(text: str) -> list[str]:
    r"""The lines of a text file without their ends, which are `\n` or `\r\n`; or `\r` throughout.

    Other signs that end lines in Unicode do not end them here: they stand inside texts.
    """
    end = "\n" if "\n" in text else "\r"
    lines = text.split(end)
    return [line.removesuffix("\r") for line in lines[: -1 if lines[-1] == "" else None]]
