"""Thoughts between question and answer, and how they are trained."""

from icotlib.reporting.figures.base import ACCENT
from icotlib.reporting.figures.ideas.canvas import Canvas
from icotlib.reporting.figures.ideas.pictures import picture


@picture(2.3)
def thoughts(canvas: Canvas) -> None:
    """A model's states as a grid of layers and positions: question, separator, start, three latent
    places, end, answer. From the top state of the position before each place an arrow leads down
    to the input of the place: the last hidden state is read as the next input."""
    names = ["q", "q", "=", "start", "l1", "l2", "l3", "end", "=", "s"]
    step, left, bottom, layers = 0.4, 0.3, 0.62, 3
    top = [(layers - 1, position) for position in (3, 4, 5)]
    below = [(0, position) for position in (4, 5, 6)]
    grid = canvas.grid(left, bottom, names, layers, [*top, *below], step=step, side=0.2)
    for position in (3, 4, 5):
        start, end = grid.at(layers - 1, position), grid.at(0, position + 1)
        canvas.arrow(
            (start[0] + 0.1, start[1]), (end[0], end[1] + 0.1), ACCENT, bend=-0.35, zorder=2
        )
    canvas.span(grid.at(0, 4)[0] - 0.15, grid.at(0, 6)[0] + 0.15, 0.3, "no tokens", below=True)
    canvas.words(2.3, 2.05, "the last hidden state is the next input", small=True)


@picture(2.4)
def field(canvas: Canvas) -> None:
    """Four ways to train. Pause tokens: question, three pauses, answer. Coconut: first the chain,
    then one step of it, then two, become latent places. SIM-CoT: as Coconut, and from each place a
    box below writes the step. CODI: one row with the chain, one with places, and a double arrow
    between the states before both answers."""
    step, side = 0.24, 0.2
    canvas.title(1.02, 2.24, "pause tokens")
    canvas.tokens(0.24, 1.96, ["q", "=", "p", "p", "p", "s"], _looks("ffmmmf"), step, side)
    canvas.title(1.02, 1.54, "Coconut")
    for number, (names, looks) in enumerate(
        [("q=123s", "ffsssf"), ("q=l23s", "ffmssf"), ("q=ll3s", "ffmmsf"), ("q=llls", "ffmmmf")]
    ):
        canvas.tokens(0.24, 1.26 - 0.3 * number, list(names), _looks(looks), step, side)
    canvas.title(3.4, 2.24, "SIM-CoT")
    places = canvas.tokens(2.62, 1.96, list("q=llls"), _looks("ffmmmf"), step, side)
    for number, at in enumerate(places[2:5], start=1):
        canvas.arrow((at[0], at[1] - 0.1), (at[0], at[1] - 0.28), ACCENT)
        canvas.cell((at[0], at[1] - 0.4), side, "second", str(number))
    canvas.title(3.4, 1.16, "CODI")
    taught = canvas.tokens(2.62, 0.88, list("q=123=s"), _looks("ffsssff"), step, side)
    learned = canvas.tokens(2.62, 0.3, list("q=lll=s"), _looks("ffmmmff"), step, side)
    canvas.arrow(
        (taught[5][0], taught[5][1] - 0.1), (learned[5][0], learned[5][1] + 0.1), style="<|-|>"
    )
    canvas.words(3.3, 0.59, "the same state", small=True)


def _looks(letters: str) -> list[str]:
    """How tokens look: faint, marked (a place) or second (a step of the chain)."""
    return [{"f": "faint", "m": "marked", "s": "second"}[letter] for letter in letters]
