"""What tasks about random graphs share: their sizes, how questions are drawn, and what is one."""

import re
from abc import abstractmethod
from typing import ClassVar, Self

import numpy as np

from icotlib.tasks import random_graphs
from icotlib.tasks.base import Task
from icotlib.tasks.random_graphs import BLOCK, FAR, Graphs

SMALLEST, LARGEST = 10, 32
#: Two roots with a child each: the smallest graph that holds a question.
FEWEST = 4
#: Longer paths are too rare to be drawn.
LONGEST = 7


class GraphTask(Task):
    """A task about random graphs of so many nodes on average, with paths of some numbers of steps.

    Its questions are rows of `icotlib.tasks.random_graphs`; a subclass names the nodes and writes
    them down. Sizes are `23`, or with other numbers of steps `23x5` and `23x5to6`.
    """

    #: The word before the size in names.
    prefix: ClassVar[str]
    #: The least and the most steps where the size names none.
    usual_steps: ClassVar[tuple[int, int]]

    def __init__(self, size: int, steps: tuple[int, int] | None = None):
        if not SMALLEST <= size <= LARGEST:
            raise ValueError(f"the number of nodes must be {SMALLEST} to {LARGEST}, got {size}")
        self.size, self.steps = size, steps or self.usual_steps
        #: The longest paths that are drawn often enough.
        self.limit = min(size // 3, LONGEST)
        least, most = self.steps
        if self.steps != self.usual_steps and not 2 <= least <= most <= self.limit:
            raise ValueError(
                f"with {size} nodes a path has 2 to {self.limit} steps, got {least} to {most}"
            )
        #: Nodes that are drawn; some of them are dropped.
        self.drawn = random_graphs.drawn_nodes(size)
        self.most_edges = 2 * self.drawn
        self.name = f"{self.prefix}-{self._size}"

    @property
    def _size(self) -> str:
        """The size as it stands in the name."""
        least, most = self.steps
        if self.steps == self.usual_steps:
            return str(self.size)
        return f"{self.size}x{least}" if least == most else f"{self.size}x{least}to{most}"

    @classmethod
    def parse(cls, size: str) -> Self:
        match = re.fullmatch(r"(\d+)(?:x(\d+)(?:to(\d+))?)?", size)
        if not match:
            raise ValueError(
                f"the size is a number of nodes, as in {cls.prefix}-23; or nodes and steps, as in "
                f"{cls.prefix}-23x5 or {cls.prefix}-23x5to6"
            )
        steps = (int(match[2]), int(match[3] or match[2])) if match[2] else None
        return cls(int(match[1]), steps)

    def _with_steps(self, steps: int) -> Self:
        """The same task with paths of so many steps."""
        return type(self)(self.size, (steps, steps))

    def shifts(self) -> dict[str, Task]:
        """Paths that are one and two steps longer."""
        most = self.steps[1]
        longer = [steps for steps in (most + 1, most + 2) if steps <= self.limit]
        return {f"{steps} steps": self._with_steps(steps) for steps in longer}

    # --- questions ---

    @property
    @abstractmethod
    def n_names(self) -> int:
        """The largest number of a node in a row."""

    @abstractmethod
    def _names(self, rng: np.random.Generator, graphs: Graphs) -> np.ndarray:
        """A number from 1 for each node, `[n, nodes]`; those of dropped nodes are not used."""

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw n questions `[n, 3 + 2 most_edges]` by the rule of `icotlib.tasks.random_graphs`."""
        return self._sampled(rng, n, self.drawn, self.steps)

    def sample_up_to(self, rng: np.random.Generator, n: int, share: float) -> np.ndarray:
        """As `sample`, about graphs of 4 nodes to a share of the task's, with one step and more."""
        nodes = FEWEST + round(share * (self.drawn - FEWEST))
        return self._sampled(rng, n, nodes, (1, self.steps[1]), FEWEST)

    def _sampled(
        self,
        rng: np.random.Generator,
        n: int,
        nodes: int,
        steps: tuple[int, int],
        fewest: int | None = None,
    ) -> np.ndarray:
        """Questions `[n, 3 + 2 most_edges]`; nodes, steps and fewest are those of
        `random_graphs.draw`."""
        blocks = []
        for done in range(0, n, BLOCK):
            count = min(BLOCK, n - done)
            graphs = random_graphs.draw(rng, count, nodes, steps, self.most_edges, fewest)
            names = self._names(rng, graphs)
            blocks.append(random_graphs.to_rows(rng, graphs, names, self.most_edges))
        return np.concatenate(blocks)

    def corrupted(self, questions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same graphs and candidates with another root, which leads to the other candidate."""
        return random_graphs.with_other_root(questions, self.n_names, self.steps[1])

    def canonical(self, questions: np.ndarray) -> np.ndarray:
        return random_graphs.canonical_keys(questions, self.n_names)

    def _row(self, asked: list[int], edges: list[tuple[int, int]]) -> np.ndarray:
        """A question `[1, 3 + 2 most_edges]`.

        Args:
            asked: the root and the two candidates.

        Raises `ValueError` if it is no question of the task.
        """
        if len(edges) > self.most_edges:
            raise ValueError(
                f"the question has {len(edges)} facts, {self.name} has up to {self.most_edges}"
            )
        flat = [*asked, *(node for edge in edges for node in edge)]
        row = np.zeros((1, 3 + 2 * self.most_edges), dtype=np.int64)
        row[0, : len(flat)] = flat
        far = random_graphs.distances(row, self.n_names)[0]
        reached = [int(steps) for steps in far[asked[1:]] if steps < FAR]
        if len(reached) != 1:
            which = "neither candidate" if not reached else "both candidates"
            raise ValueError(f"the facts lead to {which} of the question, not to one of them")
        if not 1 <= reached[0] <= self.steps[1]:
            raise ValueError(
                f"the shortest way to the answer has {reached[0]} steps, {self.name} has up to "
                f"{self.steps[1]}"
            )
        return row
