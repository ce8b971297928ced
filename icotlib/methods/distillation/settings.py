"""Settings of distillation: which states, which mixture, from which initial weights."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from icotlib.errors import ConfigError
from icotlib.settings import Section, setting


@dataclass(frozen=True)
class StateSettings(Section):
    """Which of the teacher's states are distilled; read by every phase."""

    section: ClassVar[str] = "distill"

    subset: Literal["diagonal", "first_column", "last_column", "bottom_row", "top_row"] = setting(
        "diagonal", "Which of the teacher's states are distilled (`states.state_positions`)."
    )
    delta: float | None = setting(
        None,
        "Chain tokens between the states of neighbouring layers; null spreads the layers over each "
        "example's own chain.",
        low=0,
        high=1e6,
    )
    initial_weights: Literal["teacher", "model"] = setting(
        "teacher",
        "Weights that student and emulator start from: the teacher's, or those that the section "
        "model names (the paper: the pretrained weights that the teacher started from too).",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delta is not None and self.subset in ("first_column", "last_column"):
            raise ConfigError(
                "distill.delta moves the position from layer to layer, and distill.subset="
                f"{self.subset} takes one position: set distill.delta=null"
            )


@dataclass(frozen=True)
class MixtureSettings(StateSettings):
    """The emulator's mixture; read by emulation and by coupling."""

    mixture: int = setting(
        1,
        "Components of the emulator's mixture: 1 is no mixture, 0 one for every token.",
        low=0,
        high=65_536,
    )
    mixture_temperature: float = setting(
        0.05,
        "Temperature of the mixture's softmax where the gold component is not given.",
        low=1e-6,
        high=1000,
    )


@dataclass(frozen=True)
class EmulatorSettings(MixtureSettings):
    """What emulation reads."""

    mixture_supervision: float = setting(
        0.0,
        "Weight of the cross-entropy that trains each layer's component to be the chain token at "
        "its position t_l; 0 trains without supervision.",
        low=0,
        high=1000,
    )
    mixture_offset: int = setting(
        0, "The supervised token stands this many positions after t_l.", low=0, high=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixture_supervision and self.mixture:
            raise ConfigError(
                "distill.mixture_supervision needs distill.mixture=0, one component for every token"
            )
        if self.mixture_offset and not self.mixture_supervision:
            raise ConfigError(
                "distill.mixture_offset says which token distill.mixture_supervision asks for: set "
                "that, or leave the offset out"
            )


@dataclass(frozen=True)
class CouplingSettings(MixtureSettings):
    """What coupling reads."""

    train_emulator: bool = setting(True, "Coupling trains the emulator together with the student.")
