"""Settings of latent places: how many, what they hold, and the loss that names their steps."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from icotlib.settings import MOST_STEPS, Section, setting


@dataclass(frozen=True)
class LatentSettings(Section):
    """What all methods with latent places share."""

    section: ClassVar[str] = "latent"

    step_end: str | None = setting(
        None,
        "The text that ends every step of the chain, such as . in ProsQA: units of the chain are "
        "then whole steps. null: single tokens.",
    )


@dataclass(frozen=True)
class ThoughtSettings(LatentSettings):
    """What methods share whose thoughts are recycled states."""

    step_weight: float = setting(
        0.0,
        "Weight of SIM-CoT's loss: an auxiliary decoder must write, from each thought, the step "
        "that it stands for. 0 trains without the decoder, which is dropped after training.",
        low=0,
        high=1000,
    )


@dataclass(frozen=True)
class CoconutSettings(ThoughtSettings):
    """Coconut's curriculum, and what its places hold."""

    units_per_stage: int = setting(
        1, "Steps (or tokens) of the chain that each stage removes.", low=1, high=1000
    )
    places_per_stage: int = setting(
        1, "Latent places that each stage adds (the paper's c: 2 on GSM8K, else 1).", low=0, high=64
    )
    stages: int | None = setting(
        None,
        "Stages that add places; after the last one everything that is left of the chain goes at "
        "once. null: as many as the longest chain needs.",
        low=1,
        high=1000,
    )
    first_steps: int = setting(
        150, "Optimizer steps on the whole chain, which is stage 0.", low=0, high=MOST_STEPS
    )
    steps_per_stage: int = setting(
        60,
        "Optimizer steps at each later stage; the last one goes on to the end of the run.",
        low=1,
        high=MOST_STEPS,
    )
    uniform_prob: float = setting(
        0.0,
        "Chance that an example is shown at a stage drawn uniformly from 0 to its number of steps.",
        low=0,
        high=1,
    )
    reset_optimizer: bool = setting(True, "Clear the optimizer's moments at every new stage.")
    reset_every: int | None = setting(
        None,
        "Clear the optimizer's moments also after every so many steps (the authors: at every "
        "epoch). null: at new stages alone.",
        low=1,
        high=MOST_STEPS,
    )
    markers: bool = setting(
        True,
        "Put <start> and <end> around the places. false: a place stands where the step that it "
        "replaces stood, as in models from random weights on graphs (arXiv 2505.12514).",
    )
    content: Literal["recycled", "fixed", "noise", "others"] = setting(
        "recycled",
        "What a place holds: the recycled state at the position before it; a fixed learned "
        "embedding; fresh noise of the same norm; the recycled states of another question: in "
        "training of the same batch, in evaluation always of the same one, which was trained on.",
    )
    rounds: int | None = setting(
        None,
        "null: recycled states are computed one after the other. A number: all at once, starting "
        "from the fixed embedding, and refined in so many passes.",
        low=1,
        high=64,
    )


@dataclass(frozen=True)
class PauseSettings(LatentSettings):
    """How many pause tokens."""

    tokens: int = setting(
        6, "Pause tokens between question and answer; nothing is learned there.", low=1, high=1000
    )


@dataclass(frozen=True)
class CodiSettings(ThoughtSettings):
    """CODI's student and its distillation."""

    places: int = setting(6, "Latent places (the paper: 6).", low=1, high=64)
    distill_weight: float = setting(
        1.0, "Weight of the distance between student's and teacher's states.", low=0, high=1000
    )
