"""Random graphs as those of ProsQA (arXiv 2412.06769), each with a question about it.

A graph grows node by node from two roots. Each new node draws the number of its parents, and the
group that they come from: nodes that descend from the first root alone, from the second root alone,
or all nodes; deeper nodes are drawn more often. A node without parents and children is dropped. The
question asks which of two nodes without children descends from a root: the target does, on one of
the longest ways that lead from either root to such a node, and the other candidate descends from
the other root alone.

So a candidate that is farther from a root than the other one is the answer, whichever root is asked
about: in the published set this shortcut answers most questions. `icotlib.tasks.twopaths` has none.

The numbers below are fitted to the published validation set: of the groups, the second root's is
larger than the first's, and nodes that descend from neither root are in the third group alone.

A question is a row of small integers, `[3 + 2 edges]`: the root that is asked about, the two
candidates, then start and end of every edge. Nodes are numbered from 1, and 0 fills the rest of a
row that has fewer edges than fit.
"""

import math
from typing import NamedTuple

import numpy as np

from icotlib.tasks.base import PADDING

#: The mean number of parents that a new node asks for; fewer are there while a group is small.
PARENTS = 1.5
#: Up to this share of new nodes, parents come from the first root's group; up to the next share,
#: from the second root's.
FIRST, SECOND = 0.35, 0.8
#: A parent is drawn with the weight 1 + DEEPER x depth, its distance from a node without parents.
DEEPER = 1.5
#: Beside the roots, so many nodes are drawn for every one that is not dropped.
DRAWN = 26 / 21

#: The distance of a node that is not reached.
FAR = 100
#: Graphs drawn at a time at most: bounds the memory.
BLOCK = 4096


def drawn_nodes(size: int) -> int:
    """How many nodes are drawn for graphs that keep `size` on average."""
    return 2 + round((size - 2) * DRAWN)


class Graphs(NamedTuple):
    """Random graphs with a question each; nodes are numbered as they were added, roots first."""

    #: `[n, nodes, nodes]`, bool: whether an edge leads from the second node to the first.
    edges: np.ndarray
    #: `[n]` each: the root that is asked about, the candidate it leads to, and the other candidate.
    root: np.ndarray
    target: np.ndarray
    other: np.ndarray

    @property
    def parentless(self) -> np.ndarray:
        """Which nodes have no parents, `[n, nodes]`; dropped ones among them."""
        return np.logical_not(self.edges.any(axis=2))


def grow(rng: np.random.Generator, n: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges `[n, nodes, nodes]` (as in `Graphs`), and distances `[n, 3, nodes]`.

    The distances are those from the first root, the second, and the nearest node without parents.
    """
    edges = np.zeros((n, nodes, nodes), dtype=bool)
    distance = np.full((n, 3, nodes), FAR, dtype=np.int16)
    distance[:, [0, 1], [0, 1]] = distance[:, 2, :2] = 0
    wanted, group = rng.poisson(PARENTS, (n, nodes)), rng.random((n, nodes, 1))
    for node in range(2, nodes):
        first, second = (distance[:, k, :node] < FAR for k in (0, 1))
        members = np.where(
            group[:, node] < FIRST, first & ~second, (group[:, node] >= SECOND) | (second & ~first)
        )
        # The k shortest of exponential waiting times are k draws without replacement, each with a
        # chance in proportion to its rate.
        waiting = rng.exponential(size=(n, node)) / (1 + DEEPER * distance[:, 2, :node])
        waiting[~members] = np.inf
        count = np.minimum(wanted[:, node, None], node)
        longest = np.take_along_axis(np.sort(waiting, axis=1), np.maximum(count - 1, 0), axis=1)
        chosen = members & (waiting <= longest) & (count > 0)
        edges[:, node, :node] = chosen
        nearest = np.where(chosen[:, None], distance[:, :, :node], FAR).min(axis=2)
        distance[:, :, node] = np.minimum(nearest + 1, FAR)
        distance[~chosen.any(axis=1), 2, node] = 0
    return edges, distance


def draw(
    rng: np.random.Generator,
    n: int,
    nodes: int,
    steps: tuple[int, int],
    most_edges: int,
    fewest: int | None = None,
) -> Graphs:
    """n random graphs whose question needs so many steps, from the least to the most.

    Args:
        nodes: nodes that are drawn; on average the inverse of `DRAWN` of them are kept.
        most_edges: graphs with more edges are not kept either.
        fewest: growth ends at a number of nodes drawn uniformly from this one to `nodes`; by
            default at `nodes`. Of the smallest graphs, many hold no question and are left out.
    """
    found: list[Graphs] = []
    missing, size = n, n
    while missing > 0:
        size = min(2 * size, BLOCK)  # few graphs have very long paths
        edges, distance = grow(rng, size, nodes)
        if fewest is not None:
            never = np.arange(nodes) >= rng.integers(fewest, nodes + 1, (size, 1))
            edges[never] = False
            distance.swapaxes(1, 2)[never] = FAR
        graphs, depth = _asked(rng, edges, distance)
        fits = (steps[0] <= depth) & (depth <= steps[1]) & (edges.sum(axis=(1, 2)) <= most_edges)
        found.append(Graphs(*(part[fits][:missing] for part in graphs)))
        missing -= len(found[-1].root)
    return Graphs(*map(np.concatenate, zip(*found, strict=True)))


def _asked(
    rng: np.random.Generator, edges: np.ndarray, distance: np.ndarray
) -> tuple[Graphs, np.ndarray]:
    """Graphs with a question each, and its steps `[n]`; 0 where no question can be asked."""
    n, nodes = len(edges), edges.shape[1]
    childless = np.logical_and(edges.any(axis=2), ~edges.any(axis=1))
    reached = distance[:, :2] < FAR
    alone = childless[:, None] & reached & ~reached[:, ::-1]  # [n, root, node]
    depth = np.where(alone, distance[:, :2], 0)
    deepest = depth.max(axis=2)
    root = (deepest + rng.random((n, 2)) / 2).argmax(axis=1)  # a tie is broken at random
    rows = np.arange(n)
    target = (depth[rows, root] + rng.random((n, nodes)) / 2).argmax(axis=1)
    other = (alone[rows, 1 - root] * rng.random((n, nodes))).argmax(axis=1)
    steps = np.where((deepest > 0).all(axis=1), deepest.max(axis=1), 0)
    return Graphs(edges, root, target, other), steps


# --- rows --------------------------------------------------------------------------------------


def to_rows(
    rng: np.random.Generator, graphs: Graphs, names: np.ndarray, most_edges: int
) -> np.ndarray:
    """Questions `[n, 3 + 2 most_edges]`, edges and candidates in random order.

    Args:
        names: `[n, nodes]`, the number of each node in the row, from 1.
    """
    n = len(names)
    rows = np.zeros((n, 3 + 2 * most_edges), dtype=np.int64)
    asked = np.stack([graphs.root, graphs.target, graphs.other], axis=1)
    rows[:, :3] = np.take_along_axis(names, asked, axis=1)
    rows[:, 1:3] = rng.permuted(rows[:, 1:3], axis=1)
    row, end, start = np.nonzero(graphs.edges)
    order = np.lexsort((rng.random(len(row)), row))  # within each row at random
    count = graphs.edges.sum(axis=(1, 2))
    place = np.arange(len(row)) - (count.cumsum() - count)[row]
    rows[row, 3 + 2 * place] = names[row, start[order]]
    rows[row, 4 + 2 * place] = names[row, end[order]]
    return rows


def edges_of(questions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the edges, `[n, most_edges]` each; 0 where a row has no more."""
    return questions[:, 3::2], questions[:, 4::2]


def distances(questions: np.ndarray, nodes: int) -> np.ndarray:
    """How far each node is from the root, `[n, nodes + 1]`: steps, or `FAR`.

    Args:
        nodes: the largest number of a node.
    """
    starts, ends = edges_of(questions)
    rows = np.arange(len(questions))
    far = np.full((len(questions), nodes + 1), FAR)
    far[rows, questions[:, 0]] = 0
    for steps in range(1, nodes):
        leads = (far[rows[:, None], starts] == steps - 1) & (far[rows[:, None], ends] == FAR)
        row, edge = np.nonzero(leads)
        if not len(row):
            break
        far[row, ends[row, edge]] = steps
    return far


def with_other_root(
    questions: np.ndarray, nodes: int, most_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """The questions with a root that leads to the other candidate alone.

    Edges and candidates stay. Of several such roots it is the one with the most steps.

    Args:
        nodes: the largest number of a node; most_steps: from the new root.

    Returns:
        questions like those given, and which of them have such a root: `[n]`.
    """
    rows, deepest = np.arange(len(questions)), np.zeros(len(questions), dtype=int)
    own = answers(questions, distances(questions, nodes))
    other, changed = questions[:, 1] + questions[:, 2] - own, questions.copy()
    for node in range(1, nodes + 1):
        asked = questions.copy()
        asked[:, 0] = node
        far = distances(asked, nodes)
        depth = far[rows, other]
        fits = (far[rows, own] == FAR) & (depth <= most_steps) & (depth > deepest)
        changed[fits, 0], deepest[fits] = node, depth[fits]
    return changed, deepest > 0


def answers(questions: np.ndarray, far: np.ndarray) -> np.ndarray:
    """The candidate that is reached, `[n]`; the second where none is.

    Args:
        far: of `distances`.
    """
    first, second = questions[:, 1], questions[:, 2]
    return np.where(far[np.arange(len(far)), first] < FAR, first, second)


def paths(
    questions: np.ndarray,
    far: np.ndarray,
    longest: int,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """The nodes of a shortest path from behind the root to the answer, `[n, longest]`.

    Rows end in `PADDING`. Of several shortest paths `rng` chooses one; without it, the edges that
    come first decide.
    """
    starts, ends = edges_of(questions)
    rows = np.arange(len(questions))
    at = answers(questions, far)
    path = np.full((len(rows), longest), PADDING)
    for left in range(longest, 0, -1):
        here = far[rows, at] == left
        path[here, left - 1] = at[here]
        leads = (ends == at[:, None]) & (far[rows[:, None], starts] == left - 1)
        score = leads if rng is None else leads * rng.random(leads.shape)
        at = np.where(here, starts[rows, score.argmax(axis=1)], at)
    return path


def frontiers(
    questions: np.ndarray, far: np.ndarray, longest: int, rng: np.random.Generator
) -> np.ndarray:
    """For each step of the path a random node at that distance from the root, `[n, longest]`.

    Rows end in `PADDING`.
    """
    steps = np.minimum(far[np.arange(len(far)), answers(questions, far)], longest)
    at = far[:, None] == np.arange(1, longest + 1)[:, None]  # [n, step, node]
    nodes = (at * rng.random(at.shape)).argmax(axis=2)
    return np.where(np.arange(longest) < steps[:, None], nodes, PADDING)


def canonical_keys(questions: np.ndarray, nodes: int) -> np.ndarray:
    """A 64-bit key of each question, `[n]`: equal where graph and question are the same but for
    the numbers of nodes and the order of edges and candidates.

    Each node has a colour, at first whether it is the root, a candidate or another, which is mixed
    with those of its parents and children again and again (Weisfeiler and Leman). Different
    questions may share a key where this does not tell them apart, which is very rare.
    """
    starts, ends = edges_of(questions)
    rows = np.broadcast_to(np.arange(len(questions))[:, None], starts.shape)
    colour = np.ones((len(questions), nodes + 1), dtype=np.uint64)
    colour[rows[:, 0], questions[:, 0]] = 2
    colour[rows[:, :2], questions[:, 1:3]] = 3
    there = starts > 0
    edge = rows[there], starts[there], ends[there]
    for _ in range(math.ceil(math.sqrt(nodes)) + 2):
        down, up = np.zeros_like(colour), np.zeros_like(colour)
        np.add.at(down, (edge[0], edge[2]), _mixed(colour, 1)[edge[0], edge[1]])
        np.add.at(up, (edge[0], edge[1]), _mixed(colour, 2)[edge[0], edge[2]])
        colour = _mixed(colour, 3) + _mixed(down, 4) + _mixed(up, 5)
    used = np.zeros(colour.shape, dtype=bool)
    used[edge[0], edge[1]] = used[edge[0], edge[2]] = True
    return np.where(used, _mixed(colour, 6), np.uint64(0)).sum(axis=1, dtype=np.uint64)


def _mixed(values: np.ndarray, salt: int) -> np.ndarray:
    """Values whose bits are mixed up (the finalizer of MurmurHash3); differently for each salt."""
    mixed = values + np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(33))
