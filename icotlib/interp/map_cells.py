"""What one cell of a model's maps says about one question: as data, and in sentences."""

from dataclasses import dataclass

from icotlib.interp.report import MARGIN, stands_out

#: Controls of a probe as sentences name them.
CONTROL_NAMES = {
    "untrained": "random weights",
    "No CoT": "No CoT",
    "shuffled labels": "shuffled labels",
    "input": "the input, read by a linear probe",
    "input, MLP": "the input, read by an MLP",
}


@dataclass(frozen=True)
class Patched:
    """What one state of another question's run does to the answer."""

    #: The other question, and what the model answers it.
    question: str
    other_answer: str
    #: The answer with this state.
    answer: str
    #: Symbols in which the two answers differ, and those of them that become the other's.
    differing: int
    followed: int


@dataclass(frozen=True)
class Steered:
    """What the answer becomes when a state is moved to encode another symbol of the variable."""

    #: The symbol that the state then encodes.
    symbol: str
    #: The answer that follows from it, and the one that the model gives.
    expected: str
    answer: str
    #: Whether the first symbol that must change becomes what it must.
    followed: bool
    #: The share of random directions of the same length in which it becomes that, a control.
    random: float


@dataclass(frozen=True)
class Cell:
    """One variable at one layer and position, and one question's state there.

    Answers are the most likely symbols after the true earlier ones (`teacher_forced_answer`).
    """

    #: The model, how many tokens or steps (`unit`) are removed, and the question as text.
    model: str
    removed: int
    unit: str
    question: str
    #: The variable and its kind: chain, answer or number.
    variable: str
    kind: str
    layer: int
    position: int
    #: The name of the position, such as `=`.
    position_name: str
    #: The variable as a probe reads it from this question's state, and as it is.
    decoded: str
    truth: str
    #: How likely a probe of symbols finds what it reads; None for numbers.
    probability: float | None
    #: The score of a probe of this cell on held-out questions, with its 95% interval: accuracy,
    #: or R2 of numbers.
    measure: str
    score: float
    low: float
    high: float
    #: The scores of the controls there, by name (`icotlib.interp.report.CONTROLS`).
    controls: dict[str, float]
    #: Whether the position has seen all symbols of the question that the variable depends on.
    seen: bool
    #: The answer without an intervention.
    answer: str
    #: None where no other question was named.
    patched: Patched | None = None
    #: None for numbers, and where no other symbol of the variable leads to another answer.
    steered: Steered | None = None

    @property
    def control(self) -> str:
        """The best control."""
        return max(self.controls, key=lambda name: self.controls[name])

    @property
    def selectivity(self) -> float:
        """The score minus that of the best control."""
        return self.score - self.controls[self.control]

    @property
    def beaten_by(self) -> list[str]:
        """The controls that score at least as high, the best first."""
        reach = [name for name, score in self.controls.items() if score >= self.score]
        return sorted(reach, key=lambda name: -self.controls[name])

    @property
    def decodable(self) -> bool:
        """Whether the probe lies above every control by the margin of `probing_table`, at a
        position that has seen what the variable depends on."""
        return self.seen and stands_out(self.low, self.controls[self.control])

    def __str__(self) -> str:
        return "\n".join(self.sentences.values())

    @property
    def sentences(self) -> dict[str, str]:
        """The cell in words, by topic: cell, probe, controls, this question, answer, patching,
        steering."""
        parts = {
            "cell": f"{self.model}, {self.removed} {self.unit} removed: {self.variable} at "
            f"layer {self.layer}, position {self.position} ({self.position_name}).",
            "probe": self._probe,
            "controls": self._controls,
            "this question": self._decoded,
            "answer": f"The model answers {self.answer}.",
        }
        if self.patched is not None:
            parts["patching"] = _patching(self.patched)
        if self.steered is not None:
            parts["steering"] = self._steering(self.steered)
        return parts

    def _shown(self, score: float) -> str:
        return f"{score:.0%}" if self.measure == "accuracy" else f"{score:.2f}"

    @property
    def _controls(self) -> str:
        scores = ((CONTROL_NAMES[name], score) for name, score in self.controls.items())
        return "; ".join(f"{name}: {self._shown(score)}" for name, score in scores) + "."

    @property
    def _probe(self) -> str:
        shown = self._shown
        if self.measure == "accuracy":
            what = (
                f"A probe of {self.variable} is right here in {shown(self.score)} of new questions"
            )
        else:
            what = f"A probe of {self.variable} has an R² of {shown(self.score)} here"
        best = CONTROL_NAMES[self.control]
        text = f"{what} ({shown(self.low)} to {shown(self.high)}); the best control, {best}, "
        text += f"reaches {shown(self.controls[self.control])}: "
        if self.decodable:
            return f"{text}decodable."
        if not self.seen:
            return f"{text}not decodable, as the position has not seen what {self.variable} needs."
        if self.beaten_by:
            beaten = ", ".join(CONTROL_NAMES[name] for name in self.beaten_by)
            return f"{text}not decodable, beaten by {beaten}."
        return f"{text}not decodable, as its interval is not {100 * MARGIN:.0f} points above that."

    @property
    def _decoded(self) -> str:
        sure = "" if self.probability is None else f" ({self.probability:.0%} sure)"
        return f"For this question it reads {self.decoded}{sure}; {self.truth} is true."

    def _steering(self, steered: Steered) -> str:
        text = f"Moved from {self.variable} = {self.truth} to {steered.symbol}, this state should "
        text += f"change the answer to {steered.expected}; it becomes {steered.answer}: "
        text += "it follows" if steered.followed else "it does not follow"
        return f"{text}. Random directions of this length do it in {steered.random:.0%}."


def _patching(patched: Patched) -> str:
    text = f"After the same true symbols, the run of {patched.question} writes "
    text += f"{patched.other_answer}; with its state here, this run writes {patched.answer}"
    if not patched.differing:
        return f"{text}. The two answers are the same, so that nothing can follow."
    return f"{text}: {patched.followed} of {patched.differing} differing symbols follow."
