"""Generated word problems in GSM8K's form, for trying things out without the real files.

They imitate the form of arXiv 2110.14168 (prose with equations in `<<...>>`, the number behind
`####`, two to four steps), not its content or difficulty.
"""

import json
from pathlib import Path

import numpy as np

from icotlib.errors import ConfigError

PEOPLE = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hal", "Ida", "Jon")
THINGS = ("apples", "books", "cards", "coins", "pens", "shells", "stamps", "stones")

#: By operator: the sentence of the question, and the sentence of the solution.
EVENTS = {
    "+": ("{who} finds {n} more.", "After that {who} has {left}{right} {things}."),
    "-": ("{who} gives {n} away.", "Then {left}{right} {things} are left."),
    "*": ("A friend makes it {n} times as many.", "That makes {left}{right} {things}."),
}


def word_problem(rng: np.random.Generator, steps: int) -> dict[str, str]:
    """A problem with so many steps, as a row of GSM8K: `question` and `answer`."""
    who, things = rng.choice(PEOPLE), rng.choice(THINGS)
    have = int(rng.integers(3, 30))
    told, worked = [f"{who} has {have} {things}."], []
    for _ in range(steps):
        most = {"+": 30, "-": min(have - 1, 30), "*": 3 if have < 40 else 0}
        sign = str(rng.choice([sign for sign in EVENTS if most[sign] > 1]))
        n = int(rng.integers(2, most[sign] + 1))
        now = {"+": have + n, "-": have - n, "*": have * n}[sign]
        event, working = EVENTS[sign]
        told.append(event.format(who=who, n=n))
        left, right = f"{have}{sign}{n}=", f"<<{have}{sign}{n}={now}>>{now}"
        worked.append(working.format(who=who, things=things, left=left, right=right))
        have = now
    told.append(f"How many {things} are there in the end?")
    return {"question": " ".join(told), "answer": "\n".join(worked) + f"\n#### {have}"}


def write_problems(
    path: str | Path, n: int, seed: int = 0, steps: tuple[int, int] = (2, 4)
) -> Path:
    """Write n problems as JSON lines; returns the path.

    An existing file with the same content is kept.

    Args:
        steps: the smallest and the largest number of steps of a problem.

    Raises `ConfigError` for an existing file with other content.
    """
    path, rng = Path(path), np.random.default_rng(seed)
    rows = (word_problem(rng, int(rng.integers(steps[0], steps[1] + 1))) for _ in range(n))
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.exists():
        if path.read_text() != text:
            raise ConfigError(f"{path} exists and holds something else; choose another file")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
