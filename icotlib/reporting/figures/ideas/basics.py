"""What a model sees, written and hidden steps, the baselines, running sums, seeds, and routing."""

from icotlib.reporting.figures.base import ACCENT
from icotlib.reporting.figures.ideas.canvas import LINE, SECOND, Canvas
from icotlib.reporting.figures.ideas.pictures import picture

STEPS = ["t1", "t2", "t3"]


@picture(2.05)
def tour(canvas: Canvas) -> None:
    """Two grids of a model's states, a row for each of 3 layers above the tokens: question a b,
    separator, steps t1 to t3, separator, answer s. On the left the steps are tokens that the model
    writes. On the right there are no such tokens, and states above the two separators between
    question and answer are marked instead."""
    names = ["a", "b", "=", "", "", "", "=", "s"]
    left = canvas.grid(0.15, 0.62, names, 3, step=0.28)
    for position, name in enumerate(STEPS, start=3):
        canvas.cell(left.at(-1, position), 0.23, "marked", name)
    canvas.title(left.middle, 1.85, "explicit: steps are written")
    ends = [left.at(-1, position)[0] for position in (3, 5)]
    canvas.span(ends[0] - 0.12, ends[1] + 0.12, 0.28, "steps are tokens", below=True)
    short = ["a", "b", "=", "=", "s"]
    hidden = [(layer, position) for layer in (1, 2) for position in (2, 3)]
    right = canvas.grid(2.9, 0.62, short, 3, hidden, step=0.28)
    canvas.title(right.middle, 1.85, "implicit: steps are hidden")
    canvas.span(
        right.at(0, 2)[0] - 0.12, right.at(0, 3)[0] + 0.12, 0.28, "hidden steps", below=True
    )
    canvas.arrow((2.48, 1.05), (2.8, 1.05), ACCENT)
    columns = "question a b, steps t, answer s; a row for each layer"
    canvas.words(2.4, 1.58, columns, small=True)


@picture(2.5)
def data(canvas: Canvas) -> None:
    """Two rows of tokens. In the first, the question is followed by a separator, 5 chain tokens,
    a second separator and the answer; all tokens after the first separator are learned. In the
    second row the first 3 chain tokens are removed, and the other tokens keep their positions.
    Below, the validation and test questions are drawn first, and training draws others."""
    chain = [f"t{i}" for i in range(1, 6)]
    names = ["a", "b", "c", "=", *chain, "=", "s0", "s1"]
    learned = ["marked"] * 8
    start = 1.05
    places = canvas.tokens(start, 1.85, names, ["faint"] * 4 + learned, step=0.28, side=0.23)
    canvas.words(0.95, 1.85, "whole chain", ha="right")
    for first, last, text in ((0, 2, "question"), (4, 8, "chain"), (10, 11, "answer")):
        canvas.span(places[first][0] - 0.11, places[last][0] + 0.11, 2.13, text)
    looks = ["faint"] * 4 + ["gone"] * 3 + ["marked"] * 5
    canvas.tokens(start, 1.42, names, looks, step=0.28, side=0.23)
    canvas.words(0.95, 1.42, "three removed", ha="right")
    canvas.cell((start + 0.14, 1.04), 0.12, "marked")
    canvas.words(start + 0.28, 1.04, "learned", small=True, ha="left")
    canvas.cell((start + 1.12, 1.04), 0.12, "gone")
    canvas.words(start + 1.26, 1.04, "removed; the rest keep positions", small=True, ha="left")
    canvas.box(1.15, 0.42, 1.9, 0.5, "validation and test:\ndrawn first, all different")
    canvas.box(3.45, 0.42, 1.9, 0.5, "training: draws again\nwhere it meets one of them")
    canvas.arrow((2.12, 0.42), (2.48, 0.42), ACCENT)


@picture(1.6)
def baselines(canvas: Canvas) -> None:
    """The same model with two targets. With explicit CoT it learns to write 5 chain tokens and
    then the answer; with No CoT it learns to write the answer right after the question."""
    question, answer = ["a", "b", "="], ["=", "s"]
    chain = [f"t{i}" for i in range(1, 6)]
    rows = {"explicit CoT": (1.12, chain), "No CoT": (0.62, [])}
    canvas.box(0.5, 0.87, 0.8, 0.62, "the same\nmodel")
    for name, (y, steps) in rows.items():
        canvas.arrow((0.92, 0.87), (1.22, y))
        canvas.words(1.28, y, name, ha="left")
        looks = ["faint"] * 3 + ["second"] * len(steps) + ["marked"] * 2
        canvas.tokens(2.1, y, [*question, *steps, *answer], looks, step=0.245)
    for x, look, text in ((2.16, "second", "steps, written too"), (3.5, "marked", "the answer")):
        canvas.cell((x, 0.2), 0.12, look)
        canvas.words(x + 0.13, 0.2, text, small=True, ha="left")


@picture(2.0)
def running_sums(canvas: Canvas) -> None:
    """A grid of a model's states, a row for each of 3 layers above the tokens: the question
    12 * 34 with its lowest digits first, separator, and the answer 408, digit by digit. From the
    second layer, at each position that predicts a digit, an arrow leads to the running sum of its
    column: c0, c1 and c2. The chain is nowhere."""
    names = ["2", "1", "*", "4", "3", "=", "8", "0", "4"]
    reads = (5, 6, 7)  # each predicts the token behind it
    grid = canvas.grid(0.75, 0.35, names, 3, [(1, at) for at in reads], step=0.34, side=0.2)
    canvas.span(grid.at(0, 0)[0] - 0.12, grid.at(0, 4)[0] + 0.12, 1.55, "question")
    for at, text in zip(reads, ("c0", "c1", "c2"), strict=True):
        x, y = grid.at(1, at)
        canvas.arrow((x, y + 0.12), (x, 1.56), ACCENT)
        canvas.box(x, 1.68, 0.3, 0.22, text, "second")
    canvas.words(grid.at(1, 7)[0] + 0.45, 1.68, "running sums", small=True, ha="left")
    canvas.words(0.65, grid.at(1, 0)[1], "layer 2", small=True, ha="right")


@picture(2.1)
def seeds(canvas: Canvas) -> None:
    """One method at one budget is trained with 5 seeds; each model answers the same test questions.
    The 5 accuracies lie apart on a line, with their mean and its interval below."""
    canvas.box(0.58, 1.12, 1.0, 0.72, "one method,\none budget")
    heights = [1.8, 1.46, 1.12, 0.78, 0.44]
    places = [3.62, 3.98, 3.8, 3.4, 3.9]
    for number, (y, x) in enumerate(zip(heights, places, strict=True), start=1):
        canvas.arrow((1.1, 1.12), (1.5, y))
        canvas.box(1.84, y, 0.64, 0.24, f"seed {number}", "faint")
        canvas.arrow((2.18, y), (2.42, y))
        canvas.line([(3.2, y), (4.3, y)], lw=0.5)
        canvas.cell((x, y), 0.1, "marked")
    canvas.words(2.8, 1.12, "the same\nunseen\nquestions", small=True)
    mean = sum(places) / len(places)
    canvas.line([(mean - 0.3, 0.16), (mean + 0.3, 0.16)], SECOND, lw=3)
    canvas.cell((mean, 0.16), 0.1, "second")
    canvas.words(3.34, 0.16, "mean, interval", small=True, ha="right")
    canvas.words(3.75, 2.0, "accuracy", small=True)


@picture(1.75)
def routing(canvas: Canvas) -> None:
    """A flow. A question is answered without steps. If the model is sure of its answer, that is
    the answer; if not, the question is asked a 2nd time, with all steps, and that is the answer."""
    canvas.box(0.45, 1.25, 0.7, 0.4, "question", "faint")
    canvas.box(1.6, 1.25, 1.0, 0.5, "answer\nwithout steps", "marked")
    canvas.box(2.9, 1.25, 0.9, 0.5, "sure of its\nanswer?")
    canvas.box(4.1, 1.25, 0.7, 0.4, "done", "faint")
    canvas.box(2.9, 0.35, 0.9, 0.5, "answer with\nall steps", "second")
    canvas.box(4.1, 0.35, 0.7, 0.4, "done", "faint")
    for start, end in (((0.82, 1.25), (1.08, 1.25)), ((2.12, 1.25), (2.43, 1.25))):
        canvas.arrow(start, end)
    canvas.arrow((3.37, 1.25), (3.73, 1.25))
    canvas.words(3.55, 1.36, "yes", small=True)
    canvas.arrow((2.9, 0.98), (2.9, 0.62))
    canvas.words(2.98, 0.8, "no", small=True, ha="left")
    canvas.arrow((3.37, 0.35), (3.73, 0.35), LINE)
    canvas.words(1.15, 0.35, "few tokens for easy questions,\nmore for hard ones", small=True)


@picture(1.75)
def shifts(canvas: Canvas) -> None:
    """Three questions of digits a times digits b. The first is as in training: 4 digits times 2. In
    the second, a and b hold a pair of digits that no training question has at these places. The
    third has 5 digits a, so that its tokens stand at positions beyond those of training."""
    trained = ["a0", "a1", "a2", "a3", "*", "b0", "b1", "="]
    longer = ["a0", "a1", "a2", "a3", "a4", *trained[4:]]
    rows = {
        "in distribution": (1.5, trained, ["plain"] * 8),
        "unseen combination": (
            1.0,
            trained,
            [*["plain"] * 3, "marked", "plain", "marked", "plain", "plain"],
        ),
        "other length": (0.5, longer, [*["plain"] * 4, "second", *["plain"] * 3, "second"]),
    }
    for name, (y, tokens, looks) in rows.items():
        canvas.words(1.5, y, name, ha="right")
        canvas.tokens(1.75, y, tokens, looks, step=0.3)
    for x, look, text in (
        (1.2, "marked", "held out together"),
        (2.85, "second", "not in training"),
    ):
        canvas.cell((x, 0.15), 0.12, look)
        canvas.words(x + 0.13, 0.15, text, small=True, ha="left")
