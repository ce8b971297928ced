"""Shapes of data sets.

base           what a format is, and columns found by names in any case
by_name        columns with usual names; fields that belong together
word_problems  GSM8K, SVAMP, ASDiv, MAWPS, MATH, MetaMath, ProsQA: columns of fixed names
choices        multiple choice: CommonsenseQA, AQuA and their kind
verdicts       yes or no: StrategyQA, ProntoQA
alpaca         instructions with an input
messages       conversations
authors        the papers' lines in a column

`icot prepare --as` takes the names of formats. A new one with columns of fixed names is an entry of
`word_problems.FIXED`; another one is a subclass of `Format` in a module of its own, listed in
`FORMATS`. The first that fits a row reads it.
"""

from icotlib.data.formats.alpaca import Alpaca
from icotlib.data.formats.authors import Authors
from icotlib.data.formats.base import BY_NAME, NO_HABITS, Columns, Format, Habits, Parts, Row
from icotlib.data.formats.by_name import ByName
from icotlib.data.formats.choices import Aqua, Choices
from icotlib.data.formats.messages import Messages
from icotlib.data.formats.verdicts import Prontoqa, Strategyqa
from icotlib.data.formats.word_problems import FIXED
from icotlib.errors import ConfigError, did_you_mean

#: All formats, in the order in which a row is compared with them.
FORMATS: tuple[Format, ...] = (
    *(Prontoqa(), Aqua(), Choices(), Strategyqa(), *FIXED),
    *(Alpaca(), Authors(), Messages(), ByName()),
)

#: The names of all formats.
NAMES = tuple(dict.fromkeys(form.name for form in FORMATS))

__all__ = ["BY_NAME", "FORMATS", "NAMES", "NO_HABITS", "Columns", "Habits", "Parts", "Row"]


def format_of(row: Row, name: str | None = None) -> Format:
    """The format of a row: the first that fits, or of those with a name.

    Raises `ConfigError` for an unknown name.
    """
    if name is None:
        return next(form for form in FORMATS if form.fits(row))
    forms = [form for form in FORMATS if form.name == name]
    if not forms:
        hint = did_you_mean(name, NAMES)
        raise ConfigError(f"unknown format {name!r}; known are {', '.join(NAMES)}.{hint}")
    return next((form for form in forms if form.fits(row)), forms[0])
