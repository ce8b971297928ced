r"""Answers that are marked in running text: `#### 5`, "the answer is 5", `\boxed{5}`, `<think>`."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from icotlib.data.text import clean

#: A text of at most so many words on one line is an answer without being marked as one.
MOST_WORDS = 30

#: A text with more boxes marks no answer by them.
MOST_BOXES = 100

_TAG = r"think|thinking|thought|reasoning|begin_of_thought"
_OPENED = re.compile(rf"\s*<\|?(?:{_TAG})\|?>", re.IGNORECASE)
_CLOSED = re.compile(r"<(?:/|\|end_of_)(?:think|thinking|thought|reasoning)\|?>", re.IGNORECASE)
_ANSWER_TAG = re.compile(
    r"<answer>(.*?)</answer>|<\|begin_of_solution\|>(.*?)<\|end_of_solution\|>",
    re.DOTALL | re.IGNORECASE,
)
_EQUATION = re.compile(r"<<(.*?)>>", re.DOTALL)
_HASHES = re.compile(r"(?<!#)####(?!#)[ \t]*([^\n]*)")
_ANSWER = re.compile("answer", re.IGNORECASE)
_SAID = re.compile(
    r"(?:\b(?:so|thus|hence|therefore|and|then)\b,?\s+)?(?:\*\*|#+ *)?"
    r"(?:(?:\bfinal\s+answer\s*:\s*)?(?:\bthe\s+)?\b(?:(?:final|correct)\s+)?answer\s+is\b(?:\s*:)?"
    r"|\b(?:final\s+)?answer\s*:)"
    r"(?:\*\*)?\s*(?P<answer>.+?)(?=[.!]?\s*(?:\n|$)|[.!]\s|\s*####)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Response:
    """A text as steps and answer; the answer is None where a text marks none."""

    steps: list[str]
    answer: str | None


def read_response(text: str, equations: bool = False) -> Response:
    r"""The steps and the answer of a text in which a model or a person works something out.

    The answer stands behind `####`, in `\boxed{}`, behind "the answer is", or in `<answer>` tags.
    The steps are the equations in `<<...>>`, where the text has some or `equations` says that
    others of its data set do; else what stands in `<think>` tags; else the lines of the prose.

    Raises `ValueError` if two different answers are marked, or text follows the answer.
    """
    text = re.sub(r"[\r\n]+", "\n", text)
    text, thought = _without_thought(re.sub(r"[^\S\n]+", " ", text))
    prose, answer = _marked(text)
    if thought is not None:
        if answer is None and _is_short(text):
            answer = clean(text)
        return Response(_lines(thought), answer)
    found = [f"<<{clean(equation)}>>" for equation in _EQUATION.findall(prose)]
    return Response(found if found or equations else _lines(prose), answer)


def has_thought(text: str) -> bool:
    """Whether a text has `<think>` tags or the like."""
    return "<" in text and bool(_OPENED.match(text) or _CLOSED.search(text))


def final_answer(text: str, equations: bool = False) -> Response:
    """As `read_response`; a short text that marks no answer is one as a whole.

    Raises `ValueError` for a longer text.
    """
    response = read_response(text, equations)
    if response.answer is not None:
        return response
    if not response.steps or _is_short(text):
        return Response([], clean(text))
    raise ValueError(
        r"the text marks no answer by '#### 5', 'The answer is 5' or '\boxed{5}': name the column "
        "of the answer (--answer COLUMN)"
    )


def _without_thought(text: str) -> tuple[str, str | None]:
    """A text without what was thought, and that; None if nothing was."""
    opened, closed = _OPENED.match(text), list(_CLOSED.finditer(text))
    if len(closed) > 1 or (opened and not closed):
        raise ValueError("the thought in <think> tags does not end, or ends twice")
    if not closed:
        return text, None
    thought = text[opened.end() if opened else 0 : closed[0].start()]
    return text[closed[0].end() :], thought if thought.strip() else None


def _marked(text: str) -> tuple[str, str | None]:
    """The prose of a text without its marked answer, and that answer."""
    tags = [one or other for one, other in _ANSWER_TAG.findall(text)] if "<" in text else []
    if tags:
        _only({clean(tag) for tag in tags})
        prose = _ANSWER_TAG.sub("\n", text)
        inner, answer = _marked(tags[-1])
        if answer is None and not _is_short(tags[-1]):
            raise ValueError("the <answer> is long and marks none")
        return "\n".join(part for part in (prose, inner if answer else "") if part), (
            answer or clean(tags[-1])
        )
    hashes, boxes = list(_HASHES.finditer(text)), _boxes(text)
    said = list(_SAID.finditer(text))[-1:] if _ANSWER.search(text) else []
    by_hash = [_bare(_SAID.sub("", match[1]) if said else match[1]) for match in hashes]
    by_box = [clean(text[start:end]) for _, start, end in boxes]
    by_word = [_bare(match["answer"]) for match in said]
    strong = by_hash + by_box
    if strong:  # the words may be the start of another sentence
        by_word = [answer for answer in by_word if agree(answer, strong[0]) or _value(answer)]
        said = said if by_word else []
    if not strong + by_word:
        return text, None
    answer = _only(set(strong + by_word) - {""})
    starts = [match.start() for match in hashes + said]
    if not starts:
        lines = [line for line in text.split("\n") if not _is_box_alone(line)]
        return "\n".join(lines), answer
    rest = _HASHES.sub("", _SAID.sub("", text[min(starts) :]) if said else text[min(starts) :])
    rest = re.sub(
        r"(?i)\bI hope (?:it|this) is correct\b", "", rest
    )  # the words of Minerva's prompt
    if clean(rest).strip(".!*$ "):
        raise ValueError(f"text follows the answer: {clean(rest)[:40]!r}")
    return text[: min(starts)], answer


def _only(answers: set[str]) -> str:
    """The one answer that all of these are; the shortest way to write it.

    Raises `ValueError` for different ones, or none.
    """
    if not answers:
        raise ValueError("the answer is empty")
    first, *others = sorted(answers, key=lambda answer: (len(answer), answer))
    for other in others:
        if not agree(first, other):
            raise ValueError(f"two answers are marked: {first[:40]!r} and {other[:40]!r}")
    return first


def agree(one: str, other: str) -> bool:
    """Whether two texts give the same answer: equal ones, equal numbers, a number and its unit."""
    if _plain(one) == _plain(other):
        return True
    values = [_value(one), _value(other)]
    if None not in values:
        return values[0] == values[1]
    short, long = sorted((one, other), key=len)
    numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", long)
    return len(numbers) == 1 and _value(short) is not None and _value(short) == _value(numbers[0])


def _value(text: str) -> Decimal | None:
    """The number that a text is, with signs of currency and grouping commas; None if it is none."""
    try:
        number = Decimal(re.sub(r"[$€£%\\\s]|,(?=\d{3}(?!\d))", "", text))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _plain(text: str) -> str:
    return re.sub(r"[\s$*]|\\[!,;]|\\(?:left|right)(?![a-z])|[.!]$", "", text).casefold()


def _bare(text: str) -> str:
    r"""An answer without what only typesets it: `\boxed{}`, dollars of formulas, stars, a stop."""
    text = clean(text).strip("* ")
    boxes = _boxes(text)
    if len(boxes) == 1:
        return clean(text[boxes[0][1] : boxes[0][2]])
    text = re.sub(r"(?<!\.)\.$", "", text)
    formula = re.fullmatch(r"\$([^$]+)\$|\\\((.+)\\\)", text)
    return clean(formula[1] or formula[2]) if formula else text


def _boxes(text: str) -> list[tuple[int, int, int]]:
    r"""Where each `\boxed{...}` begins, and its content begins and ends; braces may be nested.

    Raises `ValueError` for one that does not end.
    """
    found: list[tuple[int, int, int]] = []
    if "boxed" not in text:
        return found
    if text.count("boxed") > MOST_BOXES:
        raise ValueError(f"there are more than {MOST_BOXES} boxes")
    for match in re.finditer(r"\\f?boxed\s*\{", text):
        depth, at = 1, match.end()
        while depth and at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0) if text[at - 1] != "\\" else 0
            at += 1
        if depth:
            raise ValueError(r"a \boxed{ is not closed")
        found.append((match.start(), match.end(), at - 1))
    return found


def _is_box_alone(line: str) -> bool:
    boxes = _boxes(line) if "boxed" in line else []
    return len(boxes) == 1 and not re.sub(
        r"[\s$.*]|\\[\[\]()]", "", line[: boxes[0][0]] + line[boxes[0][2] + 1 :]
    )


def _is_short(text: str) -> bool:
    text = text.strip()
    return "\n" not in text and len(text.split()) <= MOST_WORDS


def _lines(text: str) -> list[str]:
    return [line for line in map(clean, text.split("\n")) if line]
