"""TODO."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from icotlib.config import TrainConfig
from icotlib.data.inputs import IGNORE, Inputs, in_layout, remove
from icotlib.data.layout import Encoded
from icotlib.errors import ConfigError
from icotlib.evaluation.generation import logits_of, matches, teacher_forced_match
from icotlib.evaluation.scoring import Score, evaluate
from icotlib.methods.base import Objective, Seen, Share
from icotlib.methods.stepwise.schedules import Schedule, make_schedule
from icotlib.models.build import build_model
from icotlib.models.loading import load_model
from icotlib.models.precision import as_trained
from icotlib.runs import Run


class Continuation(Objective):
    """Cross-entropy of everything after the question, some of its chain removed."""

    def build(self) -> PreTrainedModel:
        config, material = self.config, self.material
        self.schedule: Schedule = make_schedule(config.removal, material.longest_chain)
        #: Whether removals still reset the optimizer, and whether the last batch held any chain.
        self.resetting, self.had_chain = config.removal.reset_optimizer, True
        model = build_model(config.model, material.layout, material.longest_total)
        if config.train.gradient_checkpointing:
            if not model.supports_gradient_checkpointing:
                raise ConfigError(
                    f"{type(model).__name__} has no gradient checkpointing: set "
                    "train.gradient_checkpointing=false"
                )
            model.gradient_checkpointing_enable({"use_reentrant": False})
        return model

    @property
    def staged(self) -> bool:
        return self.schedule.staged

    def advance(self, step: int) -> int | None:
        self.reset, before = False, self.schedule.removed
        if not self.schedule.advance(step):
            return None
        self.resetting &= self.had_chain
        self.reset = self.resetting
        return before

    def shares(self, step: int, batch: Encoded, generator: torch.Generator) -> Iterator[Share]:
        removal = self.config.removal
        batch, k = self.schedule.cut(step, batch, generator)
        self.had_chain = bool((batch.chain > k).any())
        kept = batch.total - k
        learned = int((kept - batch.question).sum())
        for rows in length_groups(kept, self.config.train):
            part, cut = batch[rows], k[rows]
            inputs = remove(part, cut, removal.side, removal.keep_positions).to(self.device)
            logits = logits_of(self.model, inputs)
            shown = cut == part.tokens(self.schedule.shown_stage, removal.side)
            self.seen.append(Seen(step, *matches(logits.detach(), inputs), shown))
            yield Share(token_loss(logits, inputs) / learned, int(kept[rows].sum()))

    def look(self) -> None:
        by_step: dict[int, list[tuple[Tensor, Tensor]]] = {}
        self.seen = [Seen(s.step, s.whole.cpu(), s.tail.cpu(), s.shown) for s in self.seen]
        for group in self.seen:
            by_step.setdefault(group.step, []).append((group.tail, group.shown))
        for step, groups in by_step.items():
            tails, shown = (torch.cat(parts) for parts in zip(*groups, strict=True))
            self.schedule.observe(step, tails, shown)
        super().look()

    def stage(self) -> dict[str, int]:
        return {"removed": self.schedule.shown_stage, "chain": self.schedule.longest}

    def validation(self) -> dict[str, Any]:
        removal, stage = self.config.removal, self.schedule.shown_stage
        batch = in_layout(self.material.valid, removal)
        found = teacher_forced_match(self.model, batch, stage, removal.side, removal.keep_positions)
        return {"valid_accuracy": found}

    def complete(self) -> bool:
        return self.schedule.shown_stage == self.schedule.final_stage

    def test(self, run: Run) -> Iterator[tuple[int, Score]]:
        removal, material = self.config.removal, self.material
        batch = in_layout(material.test, removal)
        model = self.model
        for removed in self.stages(run):
            if self.schedule.staged:  # weights of its own
                model = load_model(run.stage_folder(removed))[0].to(self.device)
            gone, keep = batch.tokens(removed, removal.side), removal.keep_positions
            layout, answers = material.layout, material.answers
            with as_trained(self.config.train.precision, model):
                found = evaluate(model, layout, batch, answers, gone, keep, removal.side)
            yield removed, found

    def stages(self, run: Run) -> list[int]:
        """The removal stages to report: those with weights, or those one model serves."""
        if self.schedule.staged:
            folders = sorted((run.folder / "stages").glob("removed-*"))
            return [int(folder.name.removeprefix("removed-")) for folder in folders]
        if self.schedule.removed != self.schedule.shown_stage:
            return list(range(self.schedule.longest + 1))
        return [self.schedule.shown_stage]

    def state_dict(self) -> dict[str, Any]:
        return {
            "schedule": self.schedule.state_dict(),
            "resetting": self.resetting,
            "had_chain": self.had_chain,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.schedule.load_state_dict(state["schedule"])
        self.resetting, self.had_chain = state["resetting"], state["had_chain"]


def token_loss(logits: Tensor, inputs: Inputs) -> Tensor:
    """Cross-entropy summed over the learned tokens: `[n, keep, vocabulary]` -> scalar."""
    labels = inputs.labels[:, -inputs.keep :]
    return cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE, reduction="sum"
    )


def length_groups(lengths: Tensor, config: TrainConfig) -> list[Tensor]:
    """Row numbers in groups of like length, so that each is padded only to its own longest.

    Each group is then cut into `accumulation` parts, whose gradients add up.
    """
    order = torch.arange(len(lengths))
    groups = config.length_groups
    if int(lengths.min()) == int(lengths.max()):
        groups = 1  # nothing to gain
    if groups > 1:
        order = lengths.argsort(stable=True)
    parts = [part for group in order.chunk(groups) for part in group.chunk(config.accumulation)]
    return [part for part in parts if len(part)]
