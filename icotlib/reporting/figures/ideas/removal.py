"""How chains get shorter, and what a removed token buys."""

from icotlib.reporting.figures.base import ACCENT
from icotlib.reporting.figures.ideas.canvas import INK, LINE, SECOND, Canvas
from icotlib.reporting.figures.ideas.pictures import picture

CHAIN = ["t1", "t2", "t3", "t4"]
SEQUENCE = ["q", "=", *CHAIN, "=", "s"]


def _looks(removed: int, side: str = "left") -> list[str]:
    """How the tokens of `SEQUENCE` look with some of the chain removed."""
    gone, kept = ["gone"] * removed, ["marked"] * (len(CHAIN) - removed)
    chain = gone + kept if side == "left" else kept + gone
    return ["faint"] * 2 + chain + ["faint"] * 2


@picture(2.3)
def stepwise(canvas: Canvas) -> None:
    """Two columns of training examples, later ones below. In stepwise internalization, on the left,
    the chain of 4 tokens loses one more token from the left at every stage, until none is left.
    With one model for all k, on the right, each example loses its own random number of tokens."""
    step, side = 0.215, 0.185
    rows = [1.78, 1.46, 1.14, 0.82, 0.5]
    canvas.title(1.42, 2.12, "ICoT-SI: stage by stage")
    canvas.title(3.62, 2.12, "one model for all k")
    for stage, (y, drawn) in enumerate(zip(rows, [2, 4, 0, 4, 1], strict=True)):
        canvas.tokens(0.56, y, SEQUENCE, _looks(stage), step, side)
        canvas.tokens(2.76, y, SEQUENCE, _looks(drawn), step, side)
    canvas.arrow((0.4, 1.9), (0.4, 0.38), ACCENT)
    canvas.words(0.22, 1.14, "training", rotation=90)
    canvas.words(1.42, 0.2, "weights of its own at each stage", small=True)
    canvas.words(3.62, 0.2, "one set of weights", small=True)


@picture(2.2)
def smoothing(canvas: Canvas) -> None:
    """Two columns of training examples at a stage that removes one of 4 chain tokens. With the
    paper's removal smoothing, on the left, all five examples lose one token. With a broad one, on
    the right, two of them lose one, and three lose two or three."""
    step, side = 0.215, 0.185
    rows = [1.7, 1.38, 1.06, 0.74, 0.42]
    for left, title, removed in (
        (0.56, "the paper's smoothing", [1] * 5),
        (2.76, "broad smoothing", [1, 2, 1, 3, 2]),
    ):
        canvas.title(left + 0.86, 2.02, title)
        for y, count in zip(rows, removed, strict=True):
            canvas.tokens(left, y, SEQUENCE, _looks(count), step, side)
    canvas.words(0.22, 1.06, "examples of a batch", rotation=90)
    canvas.words(1.42, 0.14, "the stage's token alone", small=True)
    canvas.words(3.62, 0.14, "three of five lose more", small=True)


@picture(2.35)
def schedule(canvas: Canvas) -> None:
    """Tokens removed against training steps: a staircase, and a second one of twice the pace.
    Ticks below the first staircase mark where the optimizer is reset; dots just above it are
    examples that lose one token more. Below, a chain of 4 tokens loses 2 from the left, or 2 from
    the right."""
    left, bottom = 0.6, 0.95
    canvas.arrow((left, bottom), (left, 2.2))
    canvas.arrow((left, bottom), (4.4, bottom))
    canvas.words(0.3, 1.55, "tokens\nremoved", small=True, rotation=90)
    canvas.words(4.4, bottom - 0.12, "training steps", small=True, ha="right")
    slow = [(left, bottom)]
    for stage in range(1, 5):
        x, y = left + 0.75 * stage, bottom + 0.24 * stage
        slow += [(x, y - 0.24), (x, y)]
        canvas.line([(x, bottom - 0.05), (x, bottom + 0.05)], INK, lw=1.2)
        canvas.line([(x + 0.2, y + 0.12)], ACCENT, marker=".", ls="", ms=4)
        canvas.line([(x + 0.5, y + 0.12)], ACCENT, marker=".", ls="", ms=4)
    canvas.line([*slow, (4.3, slow[-1][1])], ACCENT, lw=1.5)
    fast = [(left, bottom)]
    for stage in range(1, 5):
        x, y = left + 0.375 * stage, bottom + 0.24 * stage
        fast += [(x, y - 0.24), (x, y)]
    canvas.line([*fast, (2.6, fast[-1][1])], SECOND, lw=1.5, ls=(0, (4, 2)))
    canvas.words(1.72, 2.06, "twice the pace", small=True, ha="left")
    canvas.words(3.05, 1.47, "the paper's pace", small=True, ha="left")
    canvas.words(3.72, 2.18, "smoothing", small=True, ha="left")
    canvas.words(left + 0.1, 0.8, "optimizer reset", small=True, ha="left")
    for x, text, removed_from in ((0.62, "left", "left"), (2.92, "right", "right")):
        canvas.words(x, 0.3, f"from the {text}", small=True, ha="center")
        looks = _looks(2, removed_from)[2:6]
        canvas.tokens(x + 0.48, 0.3, CHAIN, looks, 0.25, 0.21)


@picture(2.0)
def removal_curve(canvas: Canvas) -> None:
    """What a model writes over time, token by token, with nothing, half or all of its chain of 4
    tokens removed: the answer comes earlier the more is removed. Whether it is still right is the
    question mark beside it."""
    rows = {"nothing removed": (1.45, 0), "half removed": (1.0, 2), "all removed": (0.55, 4)}
    start, step = 1.35, 0.3
    for name, (y, removed) in rows.items():
        canvas.words(1.2, y, name, ha="right")
        names, looks = CHAIN[removed:], ["marked"] * (4 - removed)
        places = canvas.tokens(start, y, [*names, "s"], [*looks, "second"], step, 0.24)
        canvas.words(places[-1][0] + 0.28, y, "right?", ha="left")
        if removed:
            end = start + step * 5
            canvas.arrow((end + 0.55, y), (places[-1][0] + 0.85, y), LINE, style="<->")
            canvas.words(end + 0.65, y, "time saved", small=True, ha="left")
    canvas.arrow((start, 0.25), (3.5, 0.25), ACCENT)
    canvas.words(3.58, 0.25, "time", ha="left")
    canvas.title(2.3, 1.84, "each removed token is one less to generate")


@picture(2.1)
def cures(canvas: Canvas) -> None:
    """Accuracy against training steps. It falls at each removal and recovers; once it falls so far
    that it stays down. Four boxes name what is done: more tokens in some examples, and the
    optimizer reset, at each removal; waiting until accuracy allows the next removal; going back to
    the stage before the collapse; and one model for all numbers of removed tokens."""
    left, bottom = 0.5, 0.85
    canvas.arrow((left, bottom), (left, 2.0))
    canvas.arrow((left, bottom), (4.5, bottom))
    canvas.words(0.25, 1.4, "accuracy", small=True, rotation=90)
    canvas.words(4.5, bottom - 0.12, "training steps", small=True, ha="right")
    points = [(left, 1.8)]
    for stage in range(2):
        x = left + 0.6 + 0.8 * stage
        points += [(x, 1.8), (x + 0.05, 1.5 - 0.1 * stage), (x + 0.4, 1.8)]
    points += [(2.6, 1.8), (2.65, 1.1)]
    canvas.line(points, ACCENT, lw=1.5)
    canvas.line([(2.65, 1.1), (4.3, 1.0)], SECOND, lw=1.5)
    canvas.line([(2.65, 1.1), (2.9, 1.75), (4.3, 1.8)], ACCENT, lw=1.5, ls=(0, (4, 2)))
    canvas.words(3.3, 1.92, "recovers", small=True, ha="left")
    canvas.words(3.3, 1.16, "stays down", small=True, ha="left")
    texts = (
        "smoothing\nand reset",
        "adaptive:\nwait",
        "rollback:\ngo back",
        "one model\nfor all k",
    )
    for number, text in enumerate(texts):
        canvas.box(0.75 + 1.1 * number, 0.32, 0.95, 0.42, text)
