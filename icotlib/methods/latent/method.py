"""What the methods with latent places share: the model, micro-batches, plans."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from icotlib.config import RunConfig
from icotlib.data.inputs import InputFormat, LMBatch
from icotlib.data.layout import EncodedBatch
from icotlib.errors import ConfigError
from icotlib.evaluation.generation import matches
from icotlib.evaluation.stage_model import StageModel
from icotlib.methods.base import Method
from icotlib.methods.costs import Shape, language_step, with_decoder
from icotlib.methods.latent.checks import check_columns
from icotlib.methods.latent.config import LatentConfig
from icotlib.methods.latent.model import LatentModel
from icotlib.methods.latent.step_decoder import (
    AUXILIARY,
    StepDecoder,
    step_lengths,
    step_tokens,
)
from icotlib.methods.micro_batches import BatchAccuracy, MicroBatch, token_loss
from icotlib.methods.schedule import draw_removal
from icotlib.models.adapters import add_adapters
from icotlib.models.build import build_model
from icotlib.models.decoding import kept_logits
from icotlib.models.flops import RunSizes, StepCost
from icotlib.models.parameters import count_parameters, without_part
from icotlib.tasks import get_task

#: Steps of the longest chain that a plan of memory assumes where they are not counted.
PLANNED_STEPS = 8


class LatentMethod(Method):
    """Cross-entropy of what follows the latent places; nothing is learned in them."""

    plain_model = False
    saves_adapters = False
    uses_all_weights = False  # a stage without places leaves their embedding out
    #: Whether states are projected.
    projection: ClassVar[bool] = False

    @classmethod
    def check(cls, config: RunConfig) -> None:
        super().check(config)
        if config.train.gradient_checkpointing:
            raise ConfigError(
                f"{cls.name} reads thoughts from a cache, which gradient checkpointing turns off: "
                "set train.gradient_checkpointing=false"
            )

    @classmethod
    def input_format(cls, config: RunConfig) -> InputFormat:
        return InputFormat(step_end=config.latent.step_end)

    # --- to be said by each method ---

    @classmethod
    def places(cls, config: RunConfig, longest: int, removed: Tensor | int) -> Tensor:
        """Latent places at a removal stage, one number or `[n]`."""
        raise NotImplementedError

    @classmethod
    def markers(cls, config: RunConfig) -> int:
        """Positions of <start> and <end> around the places: 2, or 0 where there are none."""
        return 2

    @classmethod
    def contents(cls, config: RunConfig) -> dict[str, Any]:
        """What the places hold: fields of `LatentConfig`."""
        return {}

    @classmethod
    def passes(cls, config: RunConfig, places: int) -> int:
        """Forward passes up to the first token that is written, with the one that writes it."""
        found = cls.contents(config)
        content, rounds = found.get("content", "recycled"), found.get("rounds")
        in_turn = places + 1  # of `others`, the first ones are over the other question
        if not places or content == "fixed":
            return 1
        if content == "noise":
            return 2
        return in_turn if rounds is None else rounds + 1

    @classmethod
    def step_weight(cls, config: RunConfig) -> float:
        """Weight of SIM-CoT's loss."""
        return getattr(config.latent, "step_weight", 0.0)

    # --- the model ---

    @classmethod
    def latent_config(
        cls, config: RunConfig, text: PreTrainedConfig, longest: int, **tokens: Any
    ) -> LatentConfig:
        """The config of the model, with as many places as its last stage has."""
        return LatentConfig(
            text,
            latents=int(cls.places(config, longest, longest)),
            markers=bool(cls.markers(config)),
            projection=cls.projection,
            reserved_positions=cls.reserved(config, longest),
            **tokens,
            **cls.contents(config),
        )

    @classmethod
    def reserved(cls, config: RunConfig, longest: int) -> int:
        """Positions that places and marks take at the last stage."""
        return int(cls.places(config, longest, longest)) + cls.markers(config)

    def build(self) -> LatentModel:
        config, data = self.config, self.run_data
        if self.step_weight(config) and self.accelerator.num_processes > 1:
            raise ConfigError(  # DDP and FSDP see to the forward pass of the model alone
                "latent.step_weight trains a decoder beside the model: in one process only, or set "
                "latent.step_weight=0"
            )
        layout, longest = data.layout, data.longest_chain
        reserved = self.reserved(config, longest)
        language = build_model(
            replace(config.model, lora={}), layout, data.longest_total + reserved
        )
        check_columns(language, data.widest_batch + reserved)
        tokens = {"separator": layout.sep, "bos_tokens": len(layout.bos_ids)}
        donor = self.donor() if self.contents(config).get("content") == "others" else None
        own = self.latent_config(config, language.config, longest, donor=donor, **tokens)
        model = LatentModel.of(language, own)
        apart = getattr(config.latent, "uniform_prob", 0.0) and not own.mixes_places
        if apart and self.accelerator.num_processes > 1:
            raise ConfigError(  # each would have its own number of backward passes
                "latent.uniform_prob mixes numbers of places, which this model cannot do in one "
                "batch, nor therefore in several processes: use one process, set "
                "latent.uniform_prob=0, or take attention layers alone with latent.markers=true"
            )
        if self.takes_thoughts_of_the_batch(config) and not own.mixes_places:
            raise ConfigError(
                "latent.content=others takes the thoughts of another question of the batch, and "
                "latent.uniform_prob mixes numbers of places, which this model cannot do in one "
                "batch: set latent.uniform_prob=0, or take attention layers alone with "
                "latent.markers=true"
            )
        if self.step_weight(config):
            model.add_module(AUXILIARY, StepDecoder(model.language_model))
        if config.model.lora:
            self.adapt(config, model)
        return model

    @classmethod
    def takes_thoughts_of_the_batch(cls, config: RunConfig) -> bool:
        """Whether places hold thoughts of other questions, and questions of one batch may differ
        in their number."""
        others = cls.contents(config).get("content") == "others"
        return others and bool(getattr(config.latent, "uniform_prob", 0.0))

    def donor(self) -> list[int]:
        """The question whose thoughts `others` takes in evaluation: the first one trained on that
        is drawn from all sizes."""
        first = self.run_data.batches(self.config.data.growth_steps or 0)
        return first.ids[0, : int(first.question[0])].tolist()

    @classmethod
    def adapt(cls, config: RunConfig, model: Any) -> None:
        """The decoder of SIM-CoT gets adapters too: their rates suit no whole weights."""
        decoder = _step_decoder(model)
        for part in [model, *([] if decoder is None else [decoder])]:
            add_adapters(part.language_model, config.model.lora)

    @property
    def step_decoder(self) -> StepDecoder | None:
        """SIM-CoT's decoder, where there is one."""
        return _step_decoder(self.accelerator.unwrap_model(self.model))

    def merged_weights(self) -> dict[str, Tensor] | None:
        merged = super().merged_weights()
        if self.step_decoder is None:
            return merged
        return without_part(merged or self.model.state_dict(), AUXILIARY)

    @classmethod
    def dropped(cls, model: nn.Module) -> int:
        decoder = _step_decoder(model)
        return 0 if decoder is None else count_parameters(decoder)

    def parameters(self) -> int:
        return super().parameters() - self.dropped(self.accelerator.unwrap_model(self.model))

    # --- stages ---

    def show_stage(self, removed: int, model: Any = None) -> None:
        """Give a model the places of a removal stage."""
        model = self.accelerator.unwrap_model(self.model if model is None else model)
        places = self.places(self.config, self.schedule.longest, removed)
        model.config.latents = int(places)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.show_stage(self.schedule.eval_stage)

    def at_stage(self, removed: int, model: Any = None) -> StageModel:
        self.show_stage(removed, model)
        return super().at_stage(removed, model)

    # --- training ---

    def micro_batches(
        self, step: int, batch: EncodedBatch, generator: torch.Generator
    ) -> Iterator[MicroBatch]:
        self.show_stage(self.schedule.eval_stage)
        form, schedule = self.format, self.schedule
        units, arranged, k = draw_removal(schedule, form, step, batch, generator)
        places = self.places(self.config, schedule.longest, units).expand(len(arranged))
        kept = arranged.total - k
        learned = int((kept - arranged.question).sum())
        steps = self.tokens_of_steps(arranged, units, int(places.max()))
        evaluated = int(self.places(self.config, schedule.longest, schedule.eval_stage))
        for rows in self.of_equal_places(self.row_groups(kept + places), places):
            part, cut = arranged[rows], k[rows]
            inputs = form.inputs(part, cut).to(self.device)
            here = places[rows]
            output = self.thinking(inputs, part, here)
            shown = cut == form.tokens_removed(part, schedule.eval_stage)
            shown &= here == evaluated
            loss = self.answer_loss(step, output, inputs, shown) / learned
            loss = loss + self.further_loss(output, part, units[rows], steps)
            tokens = kept[rows] + here + self.markers(self.config)
            yield MicroBatch(loss, int(tokens.sum()))

    def of_equal_places(self, groups: Iterable[Tensor], places: Tensor) -> Iterator[Tensor]:
        """The rows of micro-batches, each split by its rows' numbers of places where one pass of
        the model needs them equal."""
        if self.accelerator.unwrap_model(self.model).config.mixes_places:
            yield from groups
            return
        for rows in groups:
            for number in places[rows].unique():
                yield rows[places[rows] == number]

    def thinking(self, inputs: LMBatch, part: EncodedBatch, places: Tensor, **more: Any) -> Any:
        """A forward pass in training, with so many places, `[n]`."""
        more |= {"logits_to_keep": inputs.logits_to_keep, "lengths": inputs.lengths}
        return self.model(inputs.ids, at=part.question - 1, latents=places, **more)

    def answer_loss(self, step: int, output: Any, inputs: LMBatch, shown: Tensor) -> Tensor:
        """Cross-entropy summed over the learned tokens; takes note of which answers were right.

        Args:
            shown: `[n]`, which examples are at the stage that is evaluated.
        """
        logits = kept_logits(output.logits, inputs.logits_to_keep)
        self.seen.append(BatchAccuracy(step, *matches(logits.detach(), inputs), shown))
        return token_loss(logits, inputs)

    def tokens_of_steps(self, batch: EncodedBatch, units: Tensor, places: int) -> int:
        """Tokens that SIM-CoT's decoder learns in a whole batch; 0 without one."""
        if self.step_decoder is None or not places:
            return 0
        per_place = self.units_per_place(self.config, places, self.schedule.longest)
        return step_tokens(batch, units, places, per_place)

    def further_loss(
        self, output: Any, part: EncodedBatch, units: Tensor, learned: int
    ) -> Tensor | float:
        """What is added to the cross-entropy: of SIM-CoT, that of the steps behind the thoughts.

        Args:
            units: `[n]`, units removed of each example.
            learned: `tokens_of_steps` of the whole batch.
        """
        decoder, places = self.step_decoder, output.thoughts.shape[1]
        if decoder is None or not places:
            return 0.0
        per_place = self.units_per_place(self.config, places, self.schedule.longest)
        loss = decoder.loss(output.thoughts, part, units, per_place, self.run_data.layout.sep)
        return self.step_weight(self.config) * (loss / max(1, learned))

    @classmethod
    def units_per_place(cls, config: RunConfig, places: int, longest: int) -> float:
        """Units of the chain that a place stands for.

        Args:
            longest: units of the run's longest chain.
        """
        raise NotImplementedError

    # --- plans ---

    @classmethod
    def meta_model(cls, config: RunConfig, text_config: PreTrainedConfig) -> nn.Module:
        longest = _planned_longest(config)
        with torch.device("cpu"):  # places are counted in tensors
            if config.model.pretrained is None:  # as `build` makes room for them
                text_config = copy.deepcopy(text_config)
                text_config.max_position_embeddings += cls.reserved(config, longest)
            own = cls.latent_config(config, text_config, longest)
        model = LatentModel(own)
        if cls.step_weight(config):
            model.add_module(AUXILIARY, StepDecoder(model.language_model))
        return model

    @classmethod
    def step_cost(
        cls,
        config: RunConfig,
        sizes: RunSizes,
        batch: EncodedBatch,
        arranged: EncodedBatch,
        tokens: Tensor,
    ) -> StepCost:
        """As of a language model whose questions are longer by places and marks: with a cache,
        every position is computed once. SIM-CoT's decoder reads the steps besides."""
        units = int(arranged.removal_units.max())
        removed = (tokens * units / arranged.chain.clamp(min=1)).round().long()
        places = cls.places(config, units, removed)
        more = places + cls.markers(config)
        longer = replace(arranged, question=arranged.question + more, total=arranged.total + more)
        step, most = language_step(config, sizes, longer, tokens), int(places.max())
        if not cls.step_weight(config) or not most:
            return step
        per_place = cls.units_per_place(config, most, units)
        return with_decoder(config, sizes, step, step_lengths(arranged, removed, most, per_place))

    @classmethod
    def rehearsed_loss(cls, config: RunConfig, model: Any, shape: Shape) -> Tensor:
        inputs = shape.inputs(keep_positions=False)
        at = torch.full((shape.rows,), shape.question - 1)
        output = cast(Any, model)(inputs.ids, at=at, logits_to_keep=inputs.logits_to_keep)
        return token_loss(output.logits, inputs)


def _step_decoder(model: Any) -> StepDecoder | None:
    return getattr(model, AUXILIARY, None)


def _planned_longest(config: RunConfig) -> int:
    """Units of the longest chain, as far as a plan of memory must know it: exact for generated
    tasks whose units are tokens."""
    tokens = config.data.path is None and config.input_format.step_end is None
    return get_task(config.data.task).widths[1] if tokens else PLANNED_STEPS
