"""Answers as a tokenizer gives them back: what it changes without harm, and what it loses.

A model can only write what its tokenizer decodes. An uncased vocabulary gives `paris` back for
`Paris`, and one that puts spaces around signs `1 / 2` for `1/2`: such an answer is right if it is
the decoded truth. A tokenizer that loses a sign, or makes two different answers one, is refused
before training.
"""

import unicodedata
from collections.abc import Iterable, Sequence

from icotlib.data.layout import Layout
from icotlib.data.symbols import ANSWER_DELIMITER
from icotlib.errors import ConfigError
from icotlib.evaluation.grading import same_answer


def graded(layout: Layout | None, given: Sequence[str | None], truths: Sequence[str]) -> list[bool]:
    """Whether each answer is the true one, or reads as the tokenizer gives the true one back."""
    right = [same_answer(one, truth) for one, truth in zip(given, truths, strict=True)]
    wrong = [i for i, is_right in enumerate(right) if not is_right and given[i] is not None]
    if layout is None or layout.exact or not wrong:
        return right
    decoded = layout.given_back([truths[i] for i in wrong])
    for i, truth in zip(wrong, decoded, strict=True):
        right[i] = truth == given[i] and _same_spelling(truth or "", truths[i])
    return right


def check_given_back(layout: Layout, answers: Iterable[str]) -> None:
    """Raises `ConfigError` that names an answer which the tokenizer does not give back.

    Args:
        answers: all true answers of a run.
    """
    if layout.exact:
        return
    distinct = sorted(set(answers))
    first: dict[str, str] = {}
    for answer, decoded in zip(distinct, layout.given_back(distinct), strict=True):
        if not decoded or not (same_answer(decoded, answer) or _same_spelling(decoded, answer)):
            found = "nothing" if not decoded else repr(decoded)
            if decoded is None:
                found = f"a text without the answer delimiter {ANSWER_DELIMITER}"
            raise ConfigError(
                f"the tokenizer decodes the answer {answer!r} to {found}, so that no "
                "model could be right: use another tokenizer (model.pretrained), or write the "
                "answers with signs that it knows"
            )
        other = first.setdefault(_spelling(decoded), answer)
        if not (same_answer(answer, other) or same_answer(other, answer)):
            raise ConfigError(
                f"the tokenizer decodes the answers {other!r} and {answer!r} both to {decoded!r}, "
                "so that they cannot be told apart: use another tokenizer (model.pretrained)"
            )


def _same_spelling(one: str, other: str) -> bool:
    """Whether texts differ in case, accents and spaces alone."""
    return _spelling(one) == _spelling(other)


def _spelling(text: str) -> str:
    letters = unicodedata.normalize("NFD", text.casefold())
    return "".join(x for x in letters if not (unicodedata.combining(x) or x.isspace()))
