"""How chain tokens are removed: the settings that all methods share which remove some of them."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from icotlib.data.inputs import InputFormat
from icotlib.errors import ConfigError
from icotlib.settings import Section, setting


@dataclass(frozen=True)
class RemovalSettings(Section):
    """The end of the chain that goes first, tokens or whole steps, the positions of the rest."""

    section: ClassVar[str] = "removal"

    side: Literal["left", "right"] = setting("left", "The end of the chain that is removed first.")
    step_end: str | None = setting(
        None,
        "Remove whole steps, not single tokens: the text that ends every step, such as >> in "
        "GSM8K's equations. Every number of removed tokens in this section then counts steps.",
    )
    keep_positions: bool = setting(
        True,
        "Remaining tokens keep their position ids: from the first separator on they are offset by "
        "the removal stage, equally for all questions, so that they do not reveal the length of a "
        "chain. Left side only.",
    )
    chains: Literal["own", "shuffled", "filler"] = setting(
        "own",
        "own: each question has its own chain. Two controls for what chains say: shuffled gives it "
        "that of another question of the batch, filler repeats the separator as often as its chain "
        "has tokens.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep_positions and self.side == "right":
            raise ConfigError(
                "removal.keep_positions needs removal.side=left: after a removal on the right the "
                "kept position of the second separator is unknown during generation"
            )
        if self.keep_positions and self.step_end is not None:
            raise ConfigError(
                "removal.keep_positions needs removal.step_end=null: steps differ in length, so "
                "kept positions would leak how many tokens were removed"
            )

        if self.chains == "filler" and self.step_end is not None:
            raise ConfigError(
                "removal.chains=filler needs removal.step_end=null: fillers have no steps"
            )

    @property
    def input_format(self) -> InputFormat:
        """How examples with some of their chain removed become input."""
        return InputFormat(True, self.side, self.keep_positions, self.step_end, self.chains)
