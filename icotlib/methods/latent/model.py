"""A language model that thinks in latent places between the question and what it writes.

    question <sep> <start> place 1 ... place n <end> rest

A latent place holds no token. Its input embedding is a *thought*. In Coconut (arXiv 2412.06769)
that is the hidden state of the last layer, after the final norm, at the position before it; in CODI
(arXiv 2502.21074) the same through a projection. n such thoughts take n + 1 forward passes, each
over what is new only. `LatentConfig.content` replaces them by something that does not depend on the
model's own computing, as controls need.

The class behaves like any causal language model of transformers: the latent places are put in where
the cache is still empty, and whoever generates, evaluates or times it need not know of them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from icotlib.errors import ConfigError
from icotlib.methods.latent.checks import check_recycles
from icotlib.methods.latent.config import LatentConfig
from icotlib.methods.latent.reading import LatentOutput, Read, at_tokens
from icotlib.models.cache import has_cache
from icotlib.models.decoding import kept_logits, position_ids
from icotlib.models.parameters import position_offset
from icotlib.models.questions import Halves, first_separator, halves
from icotlib.models.wrapped import LanguageModelHolder

#: Called with the number of a place and its thoughts `[n, d]`; returns what stands there instead.
Edit = Callable[[int, Tensor], Tensor]


class LatentModel(LanguageModelHolder):
    """A language model with latent places, saved and loaded as one."""

    config_class = LatentConfig

    def __init__(self, config: LatentConfig):
        super().__init__(config)
        text = config.text_config
        self.language_model = AutoModelForCausalLM.from_config(text, trust_remote_code=False)
        width = text.hidden_size
        #: Embeddings of <start>, of a place with a fixed thought, and of <end>.
        self.marks = nn.Parameter(torch.zeros(3, width))
        if config.projection:
            self.projection = nn.Sequential(
                nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width)
            )
        self._edit: Edit | None = None
        self.post_init()
        self._begin_marks()

    @classmethod
    def of(cls, language_model: PreTrainedModel, config: LatentConfig) -> "LatentModel":
        """A language model with latent places, whose marks begin as the separator (Coconut begins
        them all as one known token).

        Raises `ConfigError` for a model whose states cannot be recycled.
        """
        check_recycles(language_model)
        model = cls(config)
        model.language_model.load_state_dict(language_model.state_dict())
        model._begin_marks()
        return model

    @torch.no_grad()
    def _begin_marks(self) -> None:
        """Give the marks the embedding of the separator, scaled as the model scales it (Gemma)."""
        table: Any = self.get_input_embeddings()
        separator = torch.tensor([self.config.separator], device=table.weight.device)
        self.marks.copy_(table(separator).expand(3, -1))

    @property
    def analysed_decoder(self) -> PreTrainedModel:
        """The language model whose residual stream is analysed."""
        return self.language_model

    @property
    def inserted(self) -> list[str]:
        """Names of the positions between the separator and what follows it."""
        places = [f"l{i + 1}" for i in range(self.config.latents)]
        return ["start", *places, "end"] if self.config.markers else places

    @contextmanager
    def edited_thoughts(self, edit: Edit) -> Iterator[None]:
        """While open, `edit` sees every thought before the model reads it, and may replace it."""
        before, self._edit = self._edit, edit
        try:
            yield
        finally:
            self._edit = before

    # --- forward ---

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        at: Tensor | None = None,
        lengths: Tensor | None = None,
        latents: Tensor | int | None = None,
        plain: bool = False,
        use_cache: bool | None = None,
        output_hidden_states: bool = False,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> Any:
        """A transformers forward pass, with thoughts where the cache is still empty.

        Args:
            input_ids: `[n, width]`: question, separator and what follows, padded on either side.
                Behind a cache, the tokens after those in it.
            attention_mask: `[n, width]`, 0 at padding on the left; behind a cache it covers the
                tokens in it too.
            position_ids: `[n, width]`, read where there is a cache or with `plain` only. Else
                positions count what is real: question, marks and the places that each row has.
            past_key_values: the cache of an earlier pass; None or empty for the first one.
            at: `[n]`, the separator's position in each row; found if not given.
            lengths: `[n]`, where padding on the right of each row begins; else it is read as text.
            latents: places, one number or `[n]`; by default those of the config. Where the config
                `mixes_places`, rows with fewer than others leave the last ones out.
            plain: leave out places and marks, as of a language model.
            use_cache: return the cache; it holds the places and marks too.
            output_hidden_states: return those of the positions of `logits`, by level.
            logits_to_keep: positions from the end that logits are wanted of; 0 for all `width`.

        Returns:
            `LatentOutput`: logits `[n, kept, vocabulary]`, hidden states `[n, kept, d]` by level,
            thoughts `[n, places, d]`. With `plain` or a cache, the language model's own output.

        Raises `ConfigError` for unequal numbers of places where the config does not mix them.
        """
        how: dict[str, Any] = {
            "use_cache": bool(use_cache),
            "output_hidden_states": output_hidden_states,
        }
        kept = {"logits_to_keep": logits_to_keep}
        if plain:
            self.language_model.pass_start = 0
            masked = {"attention_mask": attention_mask, "position_ids": position_ids}
            return self.language_model(input_ids=input_ids, **masked, **how, **kept)
        if has_cache(past_key_values):
            how |= kept
            return self._continue(input_ids, attention_mask, position_ids, past_key_values, how)
        if at is None:
            at = first_separator(input_ids, attention_mask, self.config)
        number = self.config.latents if latents is None else latents
        output = self._read_all(halves(input_ids, attention_mask, at, lengths), number, how)
        keep = logits_to_keep or input_ids.shape[1]

        def aligned(found: Tensor) -> Tensor:
            return at_tokens(found, input_ids.shape[1], at.to(found.device), keep)

        output.logits = aligned(output.logits)
        if output_hidden_states:
            output.hidden_states = tuple(map(aligned, output.hidden_states))
        return output

    def _continue(
        self, ids: Tensor, mask: Tensor | None, positions: Tensor | None, cache: Any, how: dict
    ) -> Any:
        """A pass over tokens behind a cache, which also holds places that the caller's mask and
        positions do not count."""
        if mask is not None:
            more = cache.get_seq_length() + ids.shape[1] - mask.shape[1]
            mask = pad(mask, (0, more), value=1)
            positions = None if positions is None else positions + more
        self.language_model.pass_start = cache.get_seq_length()
        given = {"attention_mask": mask, "position_ids": positions, "past_key_values": cache}
        return self.language_model(input_ids=ids, **given, **how)

    def _read_all(self, parts: Halves, number: Tensor | int, how: dict) -> Any:
        """A pass over questions, thoughts and what follows; its output from the last position
        before what follows on."""
        number = torch.as_tensor(number)
        if number.min() != number.max() and not self.config.mixes_places:
            raise ConfigError(
                "this model cannot mix numbers of latent places in one batch: it has no markers "
                "around them, or layers other than attention"
            )
        state, thoughts = self._think(parts, number)
        if self.config.markers:
            state = self._marked(state, 2)
        rest = self.get_input_embeddings()(parts.rest)
        state = state.then(rest, parts.is_rest)
        read = rest.shape[1] + 1
        self._begins(state)
        output = self.language_model(**self._arguments(state), **how, logits_to_keep=read)
        states = [level[:, -read:] for level in output.hidden_states or ()]
        return LatentOutput(
            logits=kept_logits(output.logits, read),
            past_key_values=output.past_key_values,
            hidden_states=tuple(states) or None,
            thoughts=thoughts,
        )

    # --- thoughts ---

    def _think(self, parts: Halves, number: Tensor) -> tuple[Read, Tensor]:
        """The question and the thoughts after it: what is read and waiting, `[n, places, d]`."""
        question, most = parts.question, int(number.max())
        state = self._asked(question, parts.is_question, parts.whole and int(number.min()) == most)
        places = torch.arange(most, device=question.device)
        is_place = (places < number.to(question.device).reshape(-1, 1)).expand(len(question), most)
        if not most:
            return state, state.waiting[:, :0]
        if self.config.content == "recycled" and self.config.rounds is None:
            return self._in_turn(state, is_place)
        thoughts = self._edited(self._at_once(state, is_place))
        return state.then(thoughts, is_place), thoughts

    def _asked(self, question: Tensor, is_question: Tensor, whole: bool) -> Read:
        """Questions `[n, width]` that no pass has read, and the mark behind them."""
        embeddings = self.get_input_embeddings()(question)
        state = Read(embeddings, is_question, is_question[:, :0], whole=whole)
        return self._marked(state, 0) if self.config.markers else state

    def _in_turn(self, state: Read, is_place: Tensor) -> tuple[Read, Tensor]:
        """One thought after the other, each from a pass over the one before."""
        thoughts: list[Tensor] = []
        for place in range(is_place.shape[1]):
            last, state = self._pass(state)
            thought = self._edited(self._as_thought(last[:, -1:]), place)
            thoughts.append(thought)
            state = state.then(thought, is_place[:, place, None])
        return state, torch.cat(thoughts, dim=1)

    def _at_once(self, state: Read, is_place: Tensor) -> Tensor:
        """Thoughts that are known before the last pass, `[n, places, d]`."""
        n, most = is_place.shape
        fixed = self._mark(1, state.waiting).expand(n, most, -1)
        content = self.config.content
        if content == "fixed":
            return fixed
        if content == "noise":
            with torch.no_grad():
                size = self._pass(state)[0][:, -1:].norm(dim=-1, keepdim=True)
            drawn = self._noise(fixed)
            return drawn / drawn.norm(dim=-1, keepdim=True) * size
        if content == "others":
            return self._of_others(state, is_place)
        thoughts = fixed
        for _ in range(self.config.rounds):
            states, _ = self._pass(state.then(thoughts, is_place))
            thoughts = self._as_thought(states[:, -most - 1 : -1])
        return thoughts

    @torch.no_grad()
    def _of_others(self, state: Read, is_place: Tensor) -> Tensor:
        """Thoughts of another question, `[n, places, d]`: in training of the one before it in the
        batch, in evaluation of the donor for all, so that an answer does not depend on what else
        is asked.

        Raises `ConfigError` in training where there is no other question, and in evaluation where
        the model was saved without a donor.
        """
        n, most = is_place.shape
        if self.training:
            if n == 1:
                raise ConfigError(
                    "latent.content=others learns from the thoughts of another question of the "
                    "batch: raise train.batch_size, or lower train.accumulation or "
                    "train.length_groups, so that two or more train together"
                )
            return self._in_turn(state, torch.ones_like(is_place))[1].roll(1, dims=0)
        if self.config.donor is None:
            raise ConfigError(
                "this model with latent.content=others was saved without the question whose "
                "thoughts it takes: delete its run and train it again"
            )
        donor = torch.tensor([self.config.donor], device=is_place.device)
        real = torch.ones_like(donor, dtype=torch.bool)
        with self._unobserved():
            thoughts = self._in_turn(self._asked(donor, real, True), is_place.new_ones(1, most))[1]
        return thoughts.expand(n, -1, -1)

    @contextmanager
    def _unobserved(self) -> Iterator[None]:
        """While open, the model computes for a question other than those asked: hooks and edits of
        analyses do not apply."""
        self.language_model.unobserved = True
        try:
            with self.edited_thoughts(lambda place, thoughts: thoughts):
                yield
        finally:
            self.language_model.unobserved = False

    def _noise(self, like: Tensor) -> Tensor:
        """Fresh noise in training; in evaluation one draw for all questions, so that an answer
        does not depend on what else is asked."""
        if self.training:
            return torch.randn_like(like)
        generator = torch.Generator().manual_seed(0)
        return torch.randn(like.shape[1:], generator=generator).to(like).expand_as(like)

    def _as_thought(self, states: Tensor) -> Tensor:
        return self.projection(states) if self.config.projection else states

    def _edited(self, thoughts: Tensor, first: int = 0) -> Tensor:
        """Thoughts `[n, places, d]` as `edited_thoughts` wants them."""
        if self._edit is None:
            return thoughts
        each = [self._edit(first + i, x) for i, x in enumerate(thoughts.unbind(dim=1))]
        return torch.stack(each, dim=1)

    # --- passes ---

    def _pass(self, state: Read) -> tuple[Tensor, Read]:
        """The last layer's states `[n, w, d]`, after the final norm, of what waits, and the state
        once it is read."""
        self._begins(state)
        output = self.language_model.base_model(**self._arguments(state), use_cache=True)
        before = torch.cat([state.before, state.is_real], dim=1)
        nothing = (state.waiting[:, :0], state.is_real[:, :0])
        read = Read(*nothing, before, output.past_key_values, state.whole)
        return output.last_hidden_state, read

    def _arguments(self, state: Read) -> dict[str, Any]:
        """How the language model is called to read what waits."""
        given = {"inputs_embeds": state.waiting, "past_key_values": state.cache}
        if state.whole and not position_offset(self.language_model):
            return given
        is_real = torch.cat([state.before, state.is_real], dim=1)
        positions = (is_real.cumsum(dim=1) - 1).clamp(min=0)[:, -state.waiting.shape[1] :]
        ids = position_ids(self.language_model, positions)
        return given | {"attention_mask": is_real.long(), "position_ids": ids}

    def _begins(self, state: Read) -> None:
        """Tell the hooks of analyses at which position the pass begins."""
        self.language_model.pass_start = state.before.shape[1]

    def _marked(self, state: Read, mark: int) -> Read:
        embedding = self._mark(mark, state.waiting).expand(len(state.waiting), 1, -1)
        return state.then(embedding, torch.ones_like(state.is_real[:, :1]))

    def _mark(self, number: int, like: Tensor) -> Tensor:
        return self.marks[number].to(like.dtype)[None, None]


AutoConfig.register(LatentConfig.model_type, LatentConfig)
AutoModelForCausalLM.register(LatentConfig, LatentModel)
