"""The teacher's states, emulation and coupling, in sentences."""

import numpy as np
import pandas as pd

from icotlib.evaluation.scoring import wilson_interval
from icotlib.interp.distillation import emulation_errors
from icotlib.reporting.conclusions.sentences import (
    Conclusion,
    about_seeds,
    decided,
    difference,
    listed,
    percent,
    points,
    size,
)
from icotlib.reporting.results import final_rows, results_table
from icotlib.reporting.samples import sample_of
from icotlib.reporting.statistics import (
    DRAWS,
    LEVEL,
    SEED,
    Interval,
    Sample,
    difference_interval,
    mean_interval,
)
from icotlib.runs import Run


def mind_reading(run: Run, probed: pd.DataFrame) -> Conclusion:
    """Whether a teacher's states suffice to answer, and what probes decode from them.

    Args:
        run: of a student.
        probed: of `interp.distillation.probe_teacher_states`.
    """
    teacher = Run.of(run.config.phases["teacher"])
    rows = [final_rows(results_table([one])) for one in (run, teacher)]
    student, writes = (sample_of(one) for one in rows)
    n = int(rows[0].n_test.iloc[0])
    varied = probed[probed.majority < 1]  # at a separator all examples have the same token
    shares = varied.groupby("states", sort=False).accuracy.mean()
    decoded = [
        f"{percent(Interval(share, *wilson_interval(share * n, n)))} for “{name}”"
        for name, share in shares.items()
    ]
    return Conclusion(
        [
            f"The student, which gets the teacher's states and never sees a step, answers "
            f"{percent(mean_interval(student))} of {n:,} unseen questions right; the teacher, "
            f"which writes every step, {percent(mean_interval(writes))}.",
            difference("the student", "the teacher", difference_interval(student, writes)),
            f"Probes name the chain token right, on average over the layers where it varies, in "
            f"{listed(decoded)}.",
            about_seeds(1),
        ]
    )


def emulation(run: Run) -> Conclusion:
    """Whether the teacher's states can be predicted from the question alone."""
    errors, spreads = emulation_errors(run)
    known = ~np.isnan(spreads).any(axis=0)
    if not known.any():
        return Conclusion(["The teacher's states do not vary between questions."])
    by_layer = 1 - errors[:, known].sum(axis=0) / spreads[:, known].sum(axis=0)
    found = _median_explained(errors[:, known], spreads[:, known])
    layers = np.flatnonzero(known)
    worst, best = int(by_layer.argmin()), int(by_layer.argmax())
    asked = f"On {len(errors):,} unseen questions"
    over = f"median over the {len(layers)} layers whose state varies"
    if found.high < 0:
        worse = "predicts the teacher's states worse than their mean does"
        return Conclusion([f"{asked}, the emulator {worse} ({over}).", about_seeds(1)])
    said = (
        f"{asked}, the emulator explains {percent(found)} of the variance of the teacher's states, "
        f"{over}; {by_layer[worst]:.1%} in layer {layers[worst]}, the worst, and "
        f"{by_layer[best]:.1%} in layer {layers[best]}, the best."
    )
    verdict = "The data do not decide whether that is better than predicting their mean."
    if found.low > 0:
        verdict = (
            "So the question alone predicts the states better than their mean does; 100% would be "
            "a perfect prediction."
        )
    return Conclusion([said, verdict, about_seeds(1)])


def _median_explained(errors: np.ndarray, spreads: np.ndarray) -> Interval:
    """The median over layers of the explained variance, with its interval over questions.

    Args:
        errors, spreads: `[questions, layers]`, of `emulation_errors`.
    """
    n = len(errors)
    drawn = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), DRAWS)
    weights = np.vstack([np.ones(n), drawn])  # the first row is the data themselves
    medians = np.median(1 - (weights @ errors) / (weights @ spreads), axis=1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(medians[1:], [tail, 1 - tail])
    return Interval(float(medians[0]), float(low), float(high))


def coupling(answers: pd.DataFrame) -> Conclusion:
    """What emulated states lose, and what joint training regains, on the same questions.

    Args:
        answers: of `interp.distillation.answers_by_phase`.
    """
    true, emulated, coupled = (
        Sample.of(answers[name].to_numpy())
        for name in ("true states", "emulated states", "coupled")
    )
    lost, regained = (
        difference_interval(one, other) for one, other in ((true, emulated), (coupled, emulated))
    )
    shown = [percent(mean_interval(one)) for one in (true, emulated, coupled)]
    return Conclusion(
        [
            f"Of {len(answers):,} unseen questions, {shown[0]} are answered right from the "
            f"teacher's true states, {shown[1]} from emulated states, and {shown[2]} after "
            "coupling.",
            _lost(lost),
            _regained(regained, lost),
            difference("the coupled model", "the student", difference_interval(coupled, true)),
            about_seeds(1),
        ]
    )


def _lost(lost: Interval) -> str:
    if not decided(lost):
        return f"The data do not decide whether emulation loses accuracy: {points(lost)}."
    if lost.value < 0:
        return f"Emulated states lose nothing; they answer {size(lost)} more."
    return f"Emulation loses {size(lost)}."


def _regained(regained: Interval, lost: Interval) -> str:
    known = decided(lost) and lost.value > 0
    of_them = f" of the {100 * lost.value:.1f} points lost" if known else ""
    if not decided(regained):
        change = f"coupling changes accuracy by {points(regained)}"
        return f"The data do not decide whether joint training regains any{of_them}: {change}."
    if regained.value < 0:
        return f"Joint training does not regain any{of_them}: it loses {size(regained)} more."
    return f"Joint training regains {size(regained)}{of_them}."
