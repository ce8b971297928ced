"""The sections of settings that every run has: data, model, optimizer, training."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from icotlib.errors import ConfigError
from icotlib.registry import TASKS
from icotlib.settings import LARGEST_SEED, MOST_STEPS, Section, meaning, setting
from icotlib.sources import DATA_FILES, HELD_OUT_FILE, Sourced, by_content, file_digest
from icotlib.system.contents import code_hash, folder_hash, model_hash
from icotlib.tasks import get_task


@dataclass(frozen=True)
class DataConfig(Sourced):
    """Which examples, how many, and how they are split."""

    section: ClassVar[str] = "data"

    task: str = setting(
        "mult-4x2",
        "A generated task by name, such as mult-4x2 or prosqa-23; ignored if data.path is set.",
    )
    path: str | None = setting(
        None,
        "A folder with train.txt, valid.txt and test.txt in the papers' format, instead of a task.",
        meant="path",
    )
    train_examples: int | None = setting(
        None,
        "Training examples in a fixed set; null draws fresh ones in every batch, or takes all "
        "lines of data.path.",
        low=1,
        high=100_000_000,
    )
    valid_examples: int = setting(
        500, "Held-out examples for evaluation during training.", low=1, high=1_000_000
    )
    test_examples: int = setting(
        1000, "Held-out examples for the reported numbers.", low=1, high=1_000_000
    )
    seed: int = setting(
        0,
        "Seed of the splits. Keep it equal in runs that you compare.",
        low=0,
        high=LARGEST_SEED,
    )
    holdout: bool = setting(
        False,
        "Keep the task's held-out combinations (`Task.holdout`) out of training, validation and "
        "test examples, to test on them later.",
    )
    growth_steps: int | None = setting(
        None,
        "Begin training with the smallest questions of the task, and draw them from more and more "
        "sizes over so many steps, then from all; held-out questions have the task's own size. "
        "null: training questions have it too.",
        low=1,
        high=MOST_STEPS,
    )
    content: str | None = setting(
        None,
        "Hash of what data.path holds, or of the code of a task of your own. It names the run, and "
        "is filled in when one begins; set it to be sure of the files.",
        meant="name",
    )

    hold_out: str | None = setting(
        None,
        "A file whose questions are kept out of training, validation and test examples of a "
        "generated task, to test on them later (icot evaluate). A run is known by the file's "
        "content, which the config keeps as a hash behind its path.",
        meant="path",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.content is not None and not self._is_known():
            return  # a stored run of a user's task, whose code is not here
        try:
            task = get_task(self.task) if self.path is None else None
        except ConfigError as error:
            raise ConfigError(f"data.task: {error}") from None
        if self.holdout and not (task and task.n_holdout):
            raise ConfigError(
                f"data.holdout: {self.path or self.task} holds out no combinations; leave it off, "
                "or choose a generated task whose class has `holdout` and `n_holdout`"
            )
        if self.growth_steps and not (task and task.grows and self.train_examples is None):
            raise ConfigError(
                f"data.growth_steps: {self._why_not_growing()}; set data.growth_steps=null"
            )
        self._fix_hold_out()

    def check_growth(self, steps: int) -> None:
        """Raises `ConfigError` if training of so many steps ends before questions have grown."""
        if self.growth_steps and self.growth_steps > steps:
            raise ConfigError(
                f"data.growth_steps={self.growth_steps} is more than train.steps={steps}: training "
                "would end before questions have the task's size; lower data.growth_steps too"
            )

    def _why_not_growing(self) -> str:
        """Why training questions do not grow."""
        if self.path is not None:
            return "examples from files are taken as they are"
        if self.train_examples is not None:
            return "a fixed training set (data.train_examples) is drawn once"
        return f"{self.task} has no smaller questions to begin with"

    def _fix_hold_out(self) -> None:
        """Add the hash of its content to the file whose questions are held out."""
        if self.hold_out is None or HELD_OUT_FILE.fullmatch(self.hold_out):
            return
        file = Path(self.hold_out).expanduser().absolute()
        if self.path is not None:
            raise ConfigError(
                "data.hold_out keeps questions out of a generated task; for data.path, give the "
                "file to `icot prepare --test` instead"
            )
        try:
            digest = file_digest(file)
        except OSError as error:  # also a name that is too long
            raise ConfigError(
                f"data.hold_out: {file} is no file to read: {error.strerror}"
            ) from None
        object.__setattr__(self, "hold_out", f"{file}#{digest}")

    def changed(self) -> dict[str, Any]:
        """As of every section; files count by their content."""
        found = by_content(super().changed(), self, "path")
        if self.hold_out is not None:
            found["hold_out"] = self.hold_out.rpartition("#")[2]
        return found

    def _is_known(self) -> bool:
        return self.path is not None or self.task.partition("-")[0] in TASKS.names()

    @property
    def source(self) -> str | None:
        return f"data.path={self.path!r}" if self.path is not None else f"task {self.task!r}"

    def found(self) -> str | None:
        if self.path is not None:
            return folder_hash(Path(self.path).expanduser(), DATA_FILES)
        return code_hash(TASKS.get(self.task.partition("-")[0])) if self._is_known() else None


#: Fields of transformers' configs that other settings, or the data, decide: what to set instead.
_DECIDED = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), "model.layers"),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model"), "model.width"),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), "model.heads"),
    **dict.fromkeys(
        ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length"),
        "model.extra_positions",
    ),
    "model_type": "model.architecture",
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id"), ""),
    **dict.fromkeys(("is_encoder_decoder", "is_decoder", "dtype", "torch_dtype", "use_cache"), ""),
}


@dataclass(frozen=True)
class ModelConfig(Sourced):
    """A causal language model of `transformers`, with random or pretrained weights."""

    section: ClassVar[str] = "model"

    architecture: str = setting(
        "gpt2", "model_type of any causal LM in transformers: gpt2, llama, gpt_neox, qwen2, ..."
    )
    layers: int = setting(3, "Transformer layers.", low=1, high=256)
    width: int = setting(192, "Width of the hidden states.", low=1, high=65_536)
    heads: int = setting(6, "Attention heads; they must divide the width.", low=1, high=1024)
    dropout: float = setting(
        0.0, "Dropout rate, wherever the architecture has it.", low=0, high=0.9
    )
    pretrained: str | None = setting(
        None,
        "Hub id or folder of pretrained weights and tokenizer; the sizes above are then ignored.",
        meant="path",
    )
    extra_positions: int = setting(
        0,
        "Positions beyond those of the longest example, to test on longer ones.",
        low=0,
        high=1_000_000,
    )
    options: dict[str, Any] = field(
        default_factory=dict,
        metadata=meaning(
            'Further fields of the architecture\'s config, such as {"activation_function": "relu"}.'
        ),
    )
    lora: dict[str, Any] = field(
        default_factory=dict,
        metadata=meaning(
            "Train adapters only: settings of peft's LoraConfig, such as {r: 16, lora_alpha: 32}. "
            "Empty trains every weight.",
        ),
    )
    spaced_separators: bool = setting(
        False,
        "With a pretrained tokenizer: the space before each separator that the authors' code "
        "leaves (one more token to remove from each chain).",
    )
    content: str | None = setting(
        None,
        "Hash of the weights, config and tokenizer in a folder model.pretrained. It names the run, "
        "and is filled in when one begins; a hub id has none.",
        meant="name",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pretrained is None and self.width % self.heads:
            raise ConfigError(
                f"model.width ({self.width}) must be a multiple of model.heads ({self.heads})"
            )
        for name in self.options:
            if name in _DECIDED:
                instead = f"set {_DECIDED[name]} instead" if _DECIDED[name] else "leave it out"
                raise ConfigError(
                    f"model.options: {name} is decided by the data and by other settings; {instead}"
                )
        if self.lora and self.pretrained is None:
            raise ConfigError("model.lora adapts pretrained weights: set model.pretrained")

    @property
    def source(self) -> str | None:
        return self.pretrained and f"model.pretrained={self.pretrained!r}"

    def found(self) -> str | None:
        return None if self.pretrained is None else model_hash(Path(self.pretrained).expanduser())

    def changed(self) -> dict[str, Any]:
        return by_content(super().changed(), self, "pretrained")


@dataclass(frozen=True)
class OptimConfig(Section):
    """The optimizer and its learning rate over time."""

    section: ClassVar[str] = "optim"

    name: Literal["muon", "adamw"] = setting(
        "muon", "muon: Muon on the hidden matrices, AdamW on all else. adamw: AdamW on everything."
    )
    lr: float = setting(1e-3, "Peak learning rate of AdamW.", low=0, high=1e6)
    muon_lr: float = setting(1e-2, "Peak learning rate of Muon.", low=0, high=1e6)
    beta1: float = setting(0.9, "AdamW's decay rate of the first moment.", low=0, high=0.99999)
    beta2: float = setting(0.99, "AdamW's decay rate of the second moment.", low=0, high=0.9999999)
    weight_decay: float = setting(
        0.1,
        "Decoupled weight decay of matrices; vectors and embeddings have none.",
        low=0,
        high=1000,
    )
    clip: float = setting(1.0, "Largest norm of the gradient; 0 never clips.", low=0, high=1e6)
    warmup_steps: int = setting(
        100,
        "Optimizer steps over which the rate rises linearly from zero.",
        low=0,
        high=MOST_STEPS,
    )
    decay_fraction: float = setting(
        0.5,
        "Fraction of the run, at its end, over which the rate falls linearly to zero.",
        low=0,
        high=1,
    )

    @property
    def matrix_rate(self) -> float:
        """Peak learning rate of the hidden matrices, which are most of a model."""
        return self.muon_lr if self.name == "muon" else self.lr


@dataclass(frozen=True)
class TrainConfig(Section):
    """How long to train, in which batches, and when to evaluate."""

    section: ClassVar[str] = "train"

    steps: int = setting(1200, "Optimizer steps at most.", low=1, high=MOST_STEPS)
    batch_size: int = setting(128, "Examples per optimizer step.", low=1, high=65_536)
    length_groups: int = setting(
        2,
        "Groups of similar length that each batch is split into, so that short examples are not "
        "padded to the longest. Their gradients add up to one optimizer step.",
        low=1,
        high=1024,
    )
    accumulation: int = setting(
        1, "Micro-batches per group, for batches that do not fit into memory.", low=1, high=65_536
    )
    gradient_checkpointing: bool = setting(
        False,
        "Recompute activations in the backward pass: less memory, about a third more time.",
    )
    eval_every: int = setting(
        100, "Steps between evaluations; a checkpoint follows each.", low=1, high=MOST_STEPS
    )
    stage_weights: Literal["all", "last"] = setting(
        "all",
        "all: the weights at the end of every removal stage are kept. last: only the final ones; "
        "every other stage is tested when it ends, and its weights are gone.",
    )
    stop_accuracy: float | None = setting(
        None,
        "Stop once the teacher-forced match on the validation set (valid_match in metrics.csv) "
        "reaches this at the last removal stage.",
        low=0,
        high=1,
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8", "fastest"] = setting(
        "auto",
        "auto: bf16 on a GPU that supports it, else fp32. int8: matrix products of hidden "
        "matrices in int8, on CPUs. fastest: whichever of fp32, bf16 and int8 a short measurement "
        "finds fastest on this machine; the run's config has that one.",
    )
    threads: int = setting(
        1,
        "CPU threads of the run. Part of the config because another number rounds sums in another "
        "order. Two runs side by side with one thread each do more work than one run with two.",
        low=1,
        high=256,
    )
