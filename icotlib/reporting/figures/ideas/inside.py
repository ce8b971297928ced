"""What states encode, what they are used for, and where attention goes."""

import math

from icotlib.reporting.figures.base import ACCENT
from icotlib.reporting.figures.ideas.canvas import LINE, Canvas
from icotlib.reporting.figures.ideas.pictures import picture


@picture(2.3)
def probing(canvas: Canvas) -> None:
    """A grid of a model's states, 4 layers by positions; one cell is marked. From it a probe
    predicts a step that is no longer written. Four controls are probed in the same way: random
    weights, a model without steps, shuffled labels, and the input alone. What counts is the
    difference between the score and the best control."""
    names = ["a", "b", "=", "=", "s0", "s1"]
    grid = canvas.grid(0.12, 1.05, names, 4, [(2, 3)])
    canvas.box(2.45, 1.68, 0.72, 0.4, "probe", "marked")
    start = grid.at(2, 3)
    canvas.arrow((start[0] + 0.09, start[1]), (2.07, 1.68), ACCENT)
    canvas.arrow((2.83, 1.68), (3.22, 1.68), ACCENT)
    canvas.words(3.28, 1.68, "which digit was\nstep t3?", ha="left")
    canvas.title(0.87, 2.18, "one state")
    controls = ["random\nweights", "No CoT\nmodel", "shuffled\nlabels", "the input\nalone"]
    for number, name in enumerate(controls):
        canvas.box(0.5 + 0.8 * number, 0.34, 0.72, 0.4, name, "faint")
    canvas.words(3.34, 0.34, "controls, probed\nalike: the best\none counts", small=True, ha="left")
    canvas.words(2.41, 1.28, "score minus best control: selectivity", small=True, ha="left")


@picture(2.3)
def patching(canvas: Canvas) -> None:
    """Two grids of states, 4 layers by positions. The corrupted question differs from the clean one
    in one digit. An arrow takes one state from the corrupted run and puts it in the place of the
    clean run's; all else stays. The question is whether a symbol of the clean answer changes."""
    layers, names = 4, ["a", "b", "=", "s0"]
    reached = [(0, 0), (1, 0), (2, 0), (3, 0), (1, 2), (2, 2), (3, 2), (2, 3), (3, 3)]
    corrupted = canvas.grid(0.3, 0.6, ["a′", *names[1:]], layers, reached, "second", step=0.3)
    clean = canvas.grid(2.75, 0.6, names, layers, [(1, 2)], "second", step=0.3)
    start, end = corrupted.at(1, 2), clean.at(1, 2)
    canvas.arrow((start[0] + 0.09, start[1]), (end[0] - 0.1, end[1]), ACCENT, bend=0.22, lw=1.5)
    canvas.words(2.15, 0.42, "one state", small=True)
    canvas.title(corrupted.middle, 2.12, "corrupted run")
    canvas.title(clean.middle, 2.12, "clean run, patched")
    canvas.words(corrupted.middle, 0.14, "one digit differs", small=True)
    canvas.words(clean.middle, 0.14, "all else stays", small=True)
    top = clean.at(layers - 1, 3)
    canvas.arrow((top[0], top[1] + 0.1), (top[0], clean.top + 0.14), LINE)
    canvas.words(top[0] + 0.14, clean.top + 0.02, "does s0\nchange?", small=True, ha="left")


@picture(2.2)
def attention(canvas: Canvas) -> None:
    """On the left a grid of states, 3 layers by positions, with a tree: lines lead from the
    position that writes an answer symbol down to the positions that its heads attend to. On the
    right the ten digits as points on a ring, in their order: one way in which they may lie."""
    names = ["a", "b", "c", "=", "s0"]
    nodes = [(2, 4), (1, 4), (1, 3), (0, 0), (0, 2), (0, 4)]
    grid = canvas.grid(0.25, 0.55, names, 3, nodes, step=0.38, side=0.16)
    for (high, to), (low, source) in [
        (nodes[0], nodes[1]),
        (nodes[0], nodes[2]),
        (nodes[2], nodes[3]),
        (nodes[2], nodes[4]),
        (nodes[1], nodes[5]),
    ]:
        start, end = grid.at(high, to), grid.at(low, source)
        canvas.arrow((start[0], start[1] - 0.09), (end[0], end[1] + 0.09), ACCENT)
    canvas.title(grid.middle, 2.02, "what attends to what")
    canvas.words(grid.middle, 0.1, "layers upward, positions to the right", small=True)
    for digit in range(10):
        angle = math.pi / 2 - 2 * math.pi * digit / 10
        at = (3.55 + 0.6 * math.cos(angle), 1.08 + 0.6 * math.sin(angle))
        canvas.cell(at, 0.2, "second", str(digit))
    canvas.title(3.55, 2.02, "how digits lie")
    canvas.words(3.55, 0.1, "on a ring, in order?", small=True)


@picture(1.9)
def decoded_and_used(canvas: Canvas) -> None:
    """Three models, each trained with several seeds: one whose steps were removed, one model for
    all k, and No CoT, which never saw a step. Of each, one state is tested twice. A probe decodes a
    step from it, beyond every control or not; and it is steered to another digit, which the answer
    follows or not."""
    models = ["steps\nremoved", "one model\nfor all k", "No CoT"]
    for row, name in enumerate(models):
        y = 1.5 - 0.55 * row
        canvas.box(0.55, y, 0.9, 0.4, name, "second" if row < 2 else "faint")
        canvas.arrow((1.04, y), (1.7, 0.95))
    canvas.cell((1.85, 0.95), 0.2, "marked")
    canvas.words(1.85, 0.66, "one state", small=True)
    for y, name in ((1.35, "decoded?\nprobe minus control"), (0.5, "used?\nsteered answers")):
        canvas.arrow((2.0, 0.95), (2.6, y), ACCENT)
        canvas.box(3.3, y, 1.3, 0.44, name, "marked")
    canvas.words(0.55, 1.8, "some seeds each", small=True)
