"""Multiplication of n by m digits, in the exact text of the two papers.

Digits stand least significant first. For 4x4 and 3719 x 3349 = 12454931:

    question  9 1 7 3 * 9 4 3 3
    chain     1 7 4 3 3 + 0 6 7 8 4 1 ( 1 3 2 2 8 1 ) + 0 0 7 5 1 1 1 ( 1 3 9 7 9 2 1 )
              + 0 0 0 7 5 1 1 1
    answer    1 3 9 4 5 4 2 1

Partial product i is a x (digit i of b) x 10^i, written with n + 1 + i digits. After each of them
except the first and the last, the running sum follows in brackets, with as many digits. The answer
has n + m digits, the most significant ones zeros where needed.

`mult-2x2-any` has two valid chains for every question, for a x b and b x a, and chooses at random.
"""

import itertools
import re

import numpy as np

from icotlib.errors import ConfigError
from icotlib.tasks.base import PADDING, SymbolBatch, Task, register

MAX_DIGITS = 20

#: The holdout: questions whose two lowest digits have this sum, modulo 10. Without them each digit
#: lacks one partner: 0 and 5, 1 and 4, 2 and 3, 6 and 9, 7 and 8, in either order.
HOLDOUT_SUM = 5


@register("mult")
class Multiplication(Task):
    """`mult-<n>x<m>`: n and m digits, 1 to 20 each; operands have no leading zero.

    With `-any` (and n = m), each chain multiplies a by b or b by a, chosen at random whenever the
    question is drawn, so that the question does not determine its chain. In a fixed training set
    (`data.train_examples`) a question keeps its chain.

    A question is its n + m digits: those of a, then those of b, least significant first. Arithmetic
    is done on digits, column by column, so that it is exact at any size.
    """

    symbols = (*"0123456789", "*", "+", "(", ")")
    independent_entries = True

    def __init__(self, n: int, m: int, any_order: bool = False):
        if not (1 <= n <= MAX_DIGITS and 1 <= m <= MAX_DIGITS):
            raise ValueError(f"digits must be 1 to {MAX_DIGITS}, got {n} and {m}")
        if any_order and n != m:
            raise ValueError(f"-any needs operands of one length, got {n} and {m} digits")
        self.n, self.m, self.any_order = n, m, any_order
        self.name = f"mult-{n}x{m}-any" if any_order else f"mult-{n}x{m}"
        self.n_questions = 9 * 10 ** (n - 1) * 9 * 10 ** (m - 1)
        self.n_holdout = self._count_holdout()
        self.example_question = f"{'3719' * 5:.{n}} * {'84' * 10:.{m}}"

    @classmethod
    def parse(cls, size: str) -> "Multiplication":
        match = re.fullmatch(r"(\d+)x(\d+)(-any)?", size)
        if not match:
            raise ValueError("the size is digits x digits, as in mult-4x2 or mult-2x2-any")
        return cls(int(match[1]), int(match[2]), match[3] is not None)

    def parse_question(self, typed: str) -> np.ndarray:
        match = re.fullmatch(r"\s*(\d+)\s*[*x×]\s*(\d+)\s*", typed)
        a, b = match.groups() if match else ("", "")
        if (len(a), len(b)) != (self.n, self.m) or "0" in (a[0], b[0]):
            raise ValueError(
                f"type two numbers with a * between them, of {self.n} and {self.m} digits and "
                f"without leading zeros: {self.example_question}"
            )
        return self.questions([int(a)], [int(b)])

    def questions(self, a: list[int], b: list[int]) -> np.ndarray:
        """Questions `[n, n + m]` from operands given as integers."""
        text = [
            f"{x:0{self.n}d}"[::-1] + f"{y:0{self.m}d}"[::-1] for x, y in zip(a, b, strict=True)
        ]
        return np.array([[int(digit) for digit in row] for row in text])

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        digits = rng.integers(0, 10, (n, self.n + self.m))
        for lead in (self.n - 1, -1):
            digits[:, lead] = rng.integers(1, 10, n)
        return digits

    def render(self, questions: np.ndarray, rng: np.random.Generator | None = None) -> SymbolBatch:
        first, second = a, b = questions[:, : self.n], questions[:, self.n :]
        if self.any_order and rng is not None:
            swap = rng.integers(0, 2, (len(questions), 1)).astype(bool)
            a, b = np.where(swap, b, a), np.where(swap, a, b)
        star, plus, left, right = (
            np.full((len(questions), 1), self.symbols.index(symbol)) for symbol in "*+()"
        )
        running = np.zeros((len(questions), self.n + self.m), dtype=np.int64)
        chain: list[np.ndarray] = []
        for i in range(self.m):
            width = self.n + 1 + i
            partial = np.zeros_like(running)
            partial[:, i : i + self.n] = a * b[:, i : i + 1]
            partial = carry(partial)
            running = carry(running + partial)
            chain += [plus, partial[:, :width]] if i else [partial[:, :width]]
            if 0 < i < self.m - 1:
                chain += [left, running[:, :width], right]
        return SymbolBatch(np.hstack([first, star, second]), np.hstack(chain), running)

    # --- out of distribution ---

    def shifts(self) -> dict[str, Task]:
        """One digit less or more in one operand; with `-any`, in both."""
        steps = [(-1, -1), (1, 1)] if self.any_order else [(-1, 0), (0, -1), (1, 0), (0, 1)]
        sizes = [(self.n + more, self.m + wider) for more, wider in steps]
        sizes = [size for size in sizes if all(1 <= digits <= MAX_DIGITS for digits in size)]
        return {f"{n}x{m}": Multiplication(n, m, self.any_order) for n, m in sizes}

    def holdout(self, questions: np.ndarray) -> np.ndarray:
        """A tenth of the questions: ten of the hundred pairs of lowest digits (`HOLDOUT_SUM`)."""
        return (questions[:, 0] + questions[:, self.n]) % 10 == HOLDOUT_SUM

    def _count_holdout(self) -> int:
        # The lowest digit of a one-digit operand is its leading digit, never 0.
        a, b = np.arange(self.n == 1, 10), np.arange(self.m == 1, 10)
        pairs = int(((a[:, None] + b) % 10 == HOLDOUT_SUM).sum())
        return pairs * (self.n_questions // (len(a) * len(b)))

    # --- interpretability ---

    @property
    def entry_names(self) -> tuple[str, ...]:
        return (*(f"a{i}" for i in range(self.n)), *(f"b{i}" for i in range(self.m)))

    @property
    def question_names(self) -> tuple[str, ...]:
        return (*self.entry_names[: self.n], "*", *self.entry_names[self.n :])

    def entries(self, asked: np.ndarray) -> np.ndarray:
        return np.delete(asked, self.n, axis=1)  # the *

    def intermediate_values(self, questions: np.ndarray) -> dict[str, np.ndarray]:
        """Products of two digits (`a1 b0`), and for each column of the answer its sum and carry.

        c_k = sum over i + j = k of a_i b_j, plus the carry floor(c_(k-1) / 10) (arXiv 2510.00184).
        `c1` is the sum of column 1, `carry1` the carry into it.
        """
        a, b = questions[:, : self.n], questions[:, self.n :]
        values = {f"a{i} b{j}": a[:, i] * b[:, j] for i in range(self.n) for j in range(self.m)}
        carried = np.zeros(len(questions), dtype=np.int64)
        for k in range(self.n + self.m):
            pairs = [(i, k - i) for i in range(self.n) if 0 <= k - i < self.m]
            column = carried + sum(a[:, i] * b[:, j] for i, j in pairs)
            values |= {f"c{k}": column} | ({f"carry{k}": carried} if k else {})
            carried = column // 10
        return values

    def counterfactual_answer(
        self, questions: np.ndarray, token: int, symbols: np.ndarray
    ) -> np.ndarray:
        """The answer is a sum of the chain's digits, each times a power of ten: adding 1 to a digit
        adds that power to the answer."""
        _, chain, answer = self.render(questions)
        exponent = self._exponents()[token]
        if exponent is None:
            raise ConfigError(f"token {token} of the chain of {self.name} is not a digit")
        return _with_added(answer, exponent, symbols - chain[:, token])

    def counterfactual_value(
        self, questions: np.ndarray, name: str, values: np.ndarray
    ) -> np.ndarray:
        """Each number enters the answer times the power of ten of its column; a column's sum
        brings its carry with it."""
        pairs = itertools.product(range(self.n), range(self.m))
        column = {f"a{i} b{j}": i + j for i, j in pairs}
        column |= {f"{kind}{k}": k for kind in ("c", "carry") for k in range(self.n + self.m)}
        added = values - self.intermediate_values(questions)[name]
        return _with_added(self.render(questions).answer, column[name], added)

    def _exponents(self) -> list[int | None]:
        """The power of ten of each token of the chain; None for `+`, `(` and `)`."""
        exponents: list[int | None] = []
        for i in range(self.m):
            digits = list(range(self.n + 1 + i))
            exponents += [None, *digits] if i else digits
            if 0 < i < self.m - 1:
                exponents += [None, *digits, None]
        return exponents


def _with_added(answer: np.ndarray, column: int, added: np.ndarray) -> np.ndarray:
    """Answers `[n, width]` plus `added`, `[n]`, in a column; `PADDING` if that does not fit."""
    columns = answer.copy()
    columns[:, column] += added
    columns = carry(columns)
    fits = (columns[:, -1] >= 0) & (columns[:, -1] < 10)
    return np.where(fits[:, None], columns, PADDING)


def carry(columns: np.ndarray) -> np.ndarray:
    """The decimal digits `[n, width]` of numbers given by column sums, least significant first.

    The last column takes all that is carried into it, and may end up beyond 9.
    """
    columns = columns.copy()
    for i in range(columns.shape[1] - 1):
        columns[:, i + 1] += columns[:, i] // 10
        columns[:, i] %= 10
    return columns
