"""The teacher's states: which are read, how they are predicted, and where they are put in."""

from icotlib.reporting.figures.base import ACCENT
from icotlib.reporting.figures.ideas.canvas import LINE, SECOND, Canvas, Grid
from icotlib.reporting.figures.ideas.pictures import picture

LAYERS = 5

#: What the teacher reads; its diagonal goes from the first separator to the second.
READ = ["q", "q", "=", "t1", "t2", "t3", "="]
DIAGONAL = [(layer, layer + 2) for layer in range(LAYERS)]

#: Positions of the separator in what student and emulator read.
COLUMN = [(layer, 2) for layer in range(LAYERS)]


def _layers(canvas: Canvas, grid: Grid, x: float) -> None:
    """An arrow that says which way the layers go."""
    canvas.arrow((x, grid.bottom + 0.05), (x, grid.top - 0.05))
    canvas.words(x - 0.12, (grid.bottom + grid.top) / 2, "layers", small=True, rotation=90)


@picture(2.15)
def mind_reading(canvas: Canvas) -> None:
    """Two grids of states, 5 layers by positions. In the teacher, which reads question and steps,
    the diagonal from the first separator at the lowest layer to the second separator at the
    highest is marked. An arrow at each layer leads from it to the student's state at its one
    separator, before the answer; the student reads no step."""
    teacher = canvas.grid(0.4, 0.55, READ, LAYERS, DIAGONAL)
    student = canvas.grid(3.3, 0.55, ["q", "q", "=", "s"], LAYERS, COLUMN)
    _layers(canvas, teacher, 0.3)
    for (layer, position), (_, separator) in zip(DIAGONAL, COLUMN, strict=True):
        start, end = teacher.at(layer, position), student.at(layer, separator)
        canvas.arrow((start[0] + 0.08, start[1]), (end[0] - 0.09, end[1]), ACCENT, lw=0.8)
    canvas.words(2.72, teacher.top + 0.03, "an MLP\nper layer", small=True, va="bottom")
    canvas.title(teacher.middle, 2.03, "teacher")
    canvas.title(student.middle, 2.03, "student")
    canvas.words(teacher.middle, 0.16, "reads question and steps", small=True)
    canvas.words(student.middle, 0.16, "never sees a step", small=True)


@picture(2.15)
def emulation(canvas: Canvas) -> None:
    """Two grids of states, 5 layers by positions. The emulator, which reads the question alone,
    has a column of predictions at its separator. A dashed line at each layer joins it to the
    teacher's state on the diagonal, which the prediction should equal."""
    emulator = canvas.grid(0.5, 0.55, READ[:3], LAYERS, COLUMN, "second")
    teacher = canvas.grid(2.5, 0.55, READ, LAYERS, DIAGONAL)
    _layers(canvas, emulator, 0.4)
    for (layer, position), (_, separator) in zip(DIAGONAL, COLUMN, strict=True):
        start, end = emulator.at(layer, separator), teacher.at(layer, position)
        ends = (start[0] + 0.09, start[1]), (end[0] - 0.09, end[1])
        canvas.arrow(*ends, LINE, style="<->", linestyle=(0, (4, 2)), lw=0.8)
    for layer in range(LAYERS - 1):
        low, high = emulator.at(layer, 2), emulator.at(layer + 1, 2)
        canvas.arrow((low[0], low[1] + 0.08), (high[0], high[1] - 0.08), SECOND, lw=1.2)
    canvas.words(1.85, emulator.top + 0.03, "as equal\nas possible", small=True, va="bottom")
    canvas.title(emulator.middle, 2.03, "emulator")
    canvas.title(teacher.middle, 2.03, "teacher")
    canvas.words(emulator.middle, 0.16, "reads the question", small=True)
    canvas.words(teacher.middle, 0.16, "reads question and steps", small=True)


@picture(2.15)
def coupling(canvas: Canvas) -> None:
    """Three rows. First, the teacher's true states go into the student, which writes the answer.
    Second, the emulator's predictions take their place. Third, emulator and student are one model,
    and the loss of the answer trains both: an arrow leads back from the answer to the emulator."""
    rows = [
        (1.8, "true states", "teacher", "marked"),
        (1.2, "emulated states", "emulator", "second"),
        (0.55, "coupled", "emulator", "second"),
    ]
    for y, name, source, look in rows:
        canvas.words(1.02, y, name, ha="right")
        canvas.box(1.5, y, 0.74, 0.34, source, "faint")
        places = [(2.2 + 0.14 * number, y) for number in range(LAYERS)]
        for at in places:
            canvas.cell(at, 0.11, look)
        canvas.box(3.45, y, 0.74, 0.34, "student", "faint")
        canvas.arrow((1.89, y), (2.12, y))
        canvas.arrow((2.84, y), (3.06, y))
        canvas.arrow((3.84, y), (4.06, y))
        canvas.words(4.34, y, "answer", small=True)
    canvas.box(2.48, 0.55, 2.86, 0.5, "", "gone")
    canvas.arrow((4.34, 0.44), (1.5, 0.28), SECOND, bend=-0.16)
    canvas.words(2.9, 0.0, "one loss trains both", small=True, va="bottom")


@picture(1.6)
def subsets(canvas: Canvas) -> None:
    """Five grids of the teacher's states, 5 layers by 5 positions from the first separator to the
    second. Marked are: the diagonal; the first column; the last column; the bottom row; the top
    row."""
    every = range(LAYERS)
    chosen = {
        "diagonal": [(i, i) for i in every],
        "first\ncolumn": [(i, 0) for i in every],
        "last\ncolumn": [(i, LAYERS - 1) for i in every],
        "bottom\nrow": [(0, i) for i in every],
        "top\nrow": [(LAYERS - 1, i) for i in every],
    }
    for number, (name, marked) in enumerate(chosen.items()):
        names = ["=", "", "", "", "="]
        grid = canvas.grid(0.12 + 0.9 * number, 0.42, names, LAYERS, marked, step=0.145, side=0.105)
        canvas.words(grid.middle, 1.36, name)
    canvas.words(2.3, 0.12, "which of the teacher's states the student gets", small=True)


@picture(2.0)
def mixture(canvas: Canvas) -> None:
    """A question, a times b, has two valid chains, so that the teacher's state lies in one of two
    groups of points. The mean, which a squared error leads to, lies between the groups, where no
    state is; a mixture with 2 components predicts one of the groups."""
    canvas.box(0.5, 1.0, 0.8, 0.34, "a × b", "faint")
    groups = {"b times a": (0.55, "second", 3.75), "a times b": (1.45, "marked", 2.55)}
    spread = [(-0.1, 0.1), (0.05, 0.14), (0.13, 0.02), (-0.02, -0.03), (0.1, -0.12), (-0.14, -0.1)]
    for name, (y, look, x) in groups.items():
        canvas.arrow((0.92, 1.0), (1.2, y))
        canvas.words(1.6, y, name)
        canvas.arrow((1.98, y), (x - 0.26, y))
        for dx, dy in spread:
            canvas.cell((x + dx, y + dy), 0.08, look)
    canvas.line([(3.15, 1.0)], LINE, marker="X", ms=7, ls="")
    canvas.words(3.28, 1.07, "their mean:\nnot a state of either", small=True, ha="left")
    canvas.words(2.55, 1.8, "states of one chain", small=True)
    canvas.words(3.75, 0.2, "states of the other", small=True)
