"""Parity of a string of bits; the chain of thought is the parity of every prefix.

For `parity-4`:

    question  1 0 1 1
    chain     1 1 0 1
    answer    1
"""

import numpy as np

from icotlib.tasks.base import SymbolBatch, Task, register

MAX_BITS = 1000

#: The holdout: questions that begin with these bits.
HOLDOUT_START = (1, 0, 1)


@register("parity")
class Parity(Task):
    """`parity-<n>`: is the number of ones among n bits odd?"""

    symbols = ("0", "1")
    independent_entries = True

    def __init__(self, n: int):
        if not 2 <= n <= MAX_BITS:
            raise ValueError(f"the number of bits must be 2 to {MAX_BITS}, got {n}")
        self.n = n
        self.name = f"parity-{n}"
        self.n_questions = 2**n
        self.n_holdout = 2 ** max(0, n - len(HOLDOUT_START))
        self.example_question = f"{'10110' * n:.{n}}"

    @classmethod
    def parse(cls, size: str) -> "Parity":
        if not size.isdigit():
            raise ValueError("the size is a number of bits, as in parity-8")
        return cls(int(size))

    def parse_question(self, typed: str) -> np.ndarray:
        bits = typed.replace(" ", "")
        if len(bits) != self.n or set(bits) - set("01"):
            raise ValueError(f"type {self.n} bits: {self.example_question}")
        return np.array([[int(bit) for bit in bits]])

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.integers(0, 2, (n, self.n))

    def render(self, questions: np.ndarray, rng: np.random.Generator | None = None) -> SymbolBatch:
        chain = questions.cumsum(axis=1) % 2
        return SymbolBatch(questions, chain, chain[:, -1:])

    def shifts(self) -> dict[str, Task]:
        """One or two bits less or more."""
        sizes = [self.n + more for more in (-2, -1, 1, 2)]
        return {f"{n} bits": Parity(n) for n in sizes if 2 <= n <= MAX_BITS}

    def holdout(self, questions: np.ndarray) -> np.ndarray:
        """An eighth of the questions, those that begin 1 0 1 (of two bits: a quarter, 1 0)."""
        start = HOLDOUT_START[: self.n]
        return (questions[:, : len(start)] == start).all(axis=1)

    def counterfactual_answer(
        self, questions: np.ndarray, token: int, symbols: np.ndarray
    ) -> np.ndarray:
        _, chain, answer = self.render(questions)
        return answer ^ (chain[:, [token]] ^ symbols[:, None])
