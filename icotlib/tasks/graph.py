"""Which of two nodes a root leads to, by the edges of a random graph: ProsQA without its words.

For `graph-23` (arXiv 2505.12514), most of its edges left out:

    question  4 17 | 20 9 | 17 2 | ... | 2 25 | [Q] 25 11 [R] 4
    chain     17 2 25
    answer    25

An edge leads from its first number to its second. The candidates stand behind `[Q]`, the root
behind `[R]`. Numbers of nodes and the order of edges and candidates are random. The chain holds the
nodes of a shortest path, one a step; of several paths one is drawn at random. With `-frontier` each
step holds a random node that is as far from the root instead.
"""

import math
import re
from functools import cached_property
from typing import Any, Self

import numpy as np

from icotlib.tasks import random_graphs
from icotlib.tasks.base import PADDING, Example, SymbolBatch, register
from icotlib.tasks.graph_task import GraphTask
from icotlib.tasks.prose import permutations
from icotlib.tasks.random_graphs import Graphs


@register("graph")
class Graph(GraphTask):
    """`graph-<nodes>`: nodes on average, 23 as published; paths of 3 or 4 steps.

    `graph-<nodes>-frontier` has chains of random nodes at the distances 1, 2, ... from the root, as
    many as the path has. In rows of questions, node 0 has the number 1, and so on.
    """

    prefix = "graph"
    usual_steps = (3, 4)
    json_columns = ("edges", "root", "target", "neg_target")

    def __init__(self, size: int, steps: tuple[int, int] | None = None, frontier: bool = False):
        super().__init__(size, steps)
        self.frontier = frontier
        self.name += "-frontier" if frontier else ""
        self.symbols = (*map(str, range(self.drawn)), "|", "[Q]", "[R]")
        # The numbers and orders of the smallest question: one path, and an edge of another root.
        nodes, edges = self.steps[0] + 3, self.steps[0] + 1
        self.n_questions = math.perm(self.drawn, nodes) * math.factorial(edges) * 2

    @classmethod
    def parse(cls, size: str) -> Self:
        plain = super().parse(size.removesuffix("-frontier"))
        return cls(plain.size, plain.steps, frontier=size.endswith("-frontier"))

    def _with_steps(self, steps: int) -> Self:
        return type(self)(self.size, (steps, steps), self.frontier)

    @property
    def n_names(self) -> int:
        return self.drawn

    def _names(self, rng: np.random.Generator, graphs: Graphs) -> np.ndarray:
        return 1 + permutations(rng, len(graphs.root), self.drawn)

    def render(self, questions: np.ndarray, rng: np.random.Generator | None = None) -> SymbolBatch:
        far = random_graphs.distances(questions, self.n_names)
        if self.frontier and rng is not None:
            chain = random_graphs.frontiers(questions, far, self.steps[1], rng)
        else:
            chain = random_graphs.paths(questions, far, self.steps[1], rng)
        return SymbolBatch(
            self._question(questions),
            np.where(chain == PADDING, PADDING, chain - 1),
            random_graphs.answers(questions, far)[:, None] - 1,
        )

    def _question(self, questions: np.ndarray) -> np.ndarray:
        """Edges, candidates and root as symbols, `[n, 3 most_edges + 5]`."""
        starts, ends = random_graphs.edges_of(questions)
        end_of_edge, asked, root = (self.symbols.index(mark) for mark in ("|", "[Q]", "[R]"))
        text = np.full((len(questions), 3 * self.most_edges + 5), PADDING)
        text[:, 0 : 3 * self.most_edges : 3] = starts - 1
        text[:, 1 : 3 * self.most_edges : 3] = ends - 1
        text[:, 2 : 3 * self.most_edges : 3] = np.where(starts > 0, end_of_edge, PADDING)
        rows, tail = np.arange(len(questions))[:, None], np.arange(5)
        behind = 3 * (starts > 0).sum(axis=1, keepdims=True)
        marks = np.tile([asked, PADDING, PADDING, root, PADDING], (len(questions), 1))
        marks[:, [1, 2, 4]] = questions[:, [1, 2, 0]] - 1
        text[rows, behind + tail] = marks
        return text

    def parse_question(self, typed: str) -> np.ndarray:
        match = re.fullmatch(r"([\d\s|]*)\[Q\]\s*(\d+)\s+(\d+)\s*\[R\]\s*(\d+)\s*", typed)
        edges = [part.split() for part in match[1].split("|") if part.strip()] if match else []
        if not match or not edges or any(len(edge) != 2 for edge in edges):
            raise ValueError(f"type edges, candidates and root: {self.example_question}")
        return self._row(
            [self._number(match[number]) for number in (4, 2, 3)],
            [(self._number(start), self._number(end)) for start, end in edges],
        )

    def _number(self, node: str) -> int:
        """The number of a node in a row, from 1; raises `ValueError` for one without a symbol."""
        if int(node) >= self.drawn:
            raise ValueError(f"node {node}: {self.name} has nodes 0 to {self.drawn - 1}")
        return 1 + int(node)

    @cached_property
    def example_question(self) -> str:  # type: ignore[override]  # computed when first read
        return self.text(self.render(self.sample(np.random.default_rng(0), 1)))[0].question

    @property
    def question_names(self) -> tuple[str, ...]:
        return tuple(f"q{i}" for i in range(self.widths[0]))

    # --- the published form ---

    def to_json(self, examples: list[Example]) -> list[dict[str, Any]]:
        """The published form of the graph, with question, steps and answer as symbols.

        `neighbor_k` has the nodes of all shortest paths by their distance from the root.
        """
        return [self._published(example) for example in examples]

    def _published(self, example: Example) -> dict[str, Any]:
        row = self.parse_question(example.question)
        starts, ends = (part[part > 0] - 1 for part in random_graphs.edges_of(row))
        edges = np.column_stack([starts, ends]).tolist()
        root, *candidates = (row[0, :3] - 1).tolist()
        target = int(example.answer)
        far = random_graphs.distances(row, self.n_names)[0, 1:]
        layers = {int(far[target]): [target]}
        for steps in range(int(far[target]), 0, -1):
            before = {a for a, b in edges if b in layers[steps] and far[a] == steps - 1}
            layers[steps - 1] = sorted(before)
        return {
            "question": example.question,
            "steps": example.chain.split(),
            "answer": example.answer,
            "idx_to_symbol": list(self.symbols[: self.drawn]),
            "edges": edges,
            "root": root,
            "target": target,
            "neg_target": sum(candidates) - target,
            "neighbor_k": {str(steps): layers[steps] for steps in sorted(layers)},
        }

    def read_json(self, row: dict[str, Any]) -> Example:
        """The graph of an object in the published form of ProsQA, with or without its words.

        A question that the task wrote itself stays as it is. Else nodes get new numbers, and edges
        and candidates are shuffled as in training, always in the same way for the same object:
        published numbers are in the order in which nodes were added, which no other question shows.

        Raises `ValueError` for a graph that is no question of the task.
        """
        own = row.get("question")
        if isinstance(own, str) and "[R]" in own:
            if not isinstance(row["steps"], list):
                raise ValueError(f"steps are a list of nodes, not {row['steps']!r}")
            read = self.text(self.render(self.parse_question(own)))[0]
            example = read._replace(chain=" ".join(map(str, row["steps"])))
            return _checked(example, str(row["answer"]))
        edges = [_edge(pair) for pair in row["edges"]]
        root, target, other = (_node(row[name]) for name in ("root", "target", "neg_target"))
        nodes = sorted({root, target, other, *(node for edge in edges for node in edge)})
        if len(nodes) > self.drawn:
            raise ValueError(
                f"the graph has {len(nodes)} nodes, {self.name} has up to {self.drawn}"
            )
        rng = np.random.default_rng([root, target, other, *(x for edge in edges for x in edge)])
        number = dict(zip(nodes, (1 + rng.permutation(self.drawn)).tolist(), strict=False))
        question = self._row(
            [number[root], *rng.permutation([number[target], number[other]]).tolist()],
            [(number[edges[i][0]], number[edges[i][1]]) for i in rng.permutation(len(edges))],
        )
        return _checked(self.text(self.render(question))[0], str(number[target] - 1))


def _node(value: Any) -> int:
    """Raises `ValueError` for what is no number of a node."""
    if not str(value).isdecimal():
        raise ValueError(f"{str(value)[:20]!r} is no number of a node")
    return int(value)


def _edge(pair: Any) -> tuple[int, int]:
    """Raises `ValueError` for what is no pair of nodes."""
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ValueError(f"{str(pair)[:20]!r} is no edge, which is a pair of nodes")
    return _node(pair[0]), _node(pair[1])


def _checked(example: Example, target: str) -> Example:
    """Raises `ValueError` for an example whose answer is not the target."""
    if example.answer != target:
        raise ValueError("the edges lead to the other candidate, not to the target")
    return example
