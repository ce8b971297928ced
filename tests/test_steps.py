"""Where steps end in text."""

import pytest

from icotlib.data.steps import step_cuts


@pytest.mark.parametrize(
    "steps",
    [
        ["One costs 1.50 euros.", "Two cost 3.00 euros."],
        ["Take fruit, e.g. 3 pears.", "So it is 3."],
        ["It is 5.", "Then 5.5 more."],
        ["J. R. Smith has 3.", "Dr. Lee has 4."],
        ["1. Add 2 and 3.", "2. Then take 5."],
        ["a. Add 2 and 3.", "b. Then take 5."],
        ["See No. 5 of it.", "The answer is no.", "So it ends."],
        ["He waits... and goes.", "Then 3."],
        ['She said "it is 3."', "Then (2 more.)", "All."],
        ["version 1.2.3 of 10.0.0.1"],
        ["two cost 3.", "three cost 4"],
        ["x = 3 .", "y = 4 ."],
        ["It is in fig. 2.", "It took 10 ms.", "Take plan B.", "End."],
        ["Das sind 1.200,50 Euro.", "Es bleibt 1."],
    ],
)
def test_a_full_stop_ends_a_step_where_it_ends_a_sentence(steps):
    text = " ".join(steps)
    cuts = step_cuts(text, ".")
    found = [text[a:b].strip() for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
    assert [part for part in found if part] == steps


@pytest.mark.parametrize(
    ("step_end", "text", "cuts"),
    [
        (">>", "<<1.5+2=3.5>> <<3>>", [13, 19]),
        (";", "1;2 ; 3", [2, 5]),
        (". ", "1.5 a. b. ", [7, 10]),
        ("*.", "1*.2", [3]),
        (".", "", []),
    ],
)
def test_any_other_text_ends_a_step_wherever_it_stands(step_end, text, cuts):
    assert step_cuts(text, step_end) == cuts
