"""Settings of a run: frozen dataclasses, checked when they are made, hashed to name the run.

Every field is explained where it stands. `RunConfig.override` changes any of them by its dotted
name, and an unknown name is an error that suggests the nearest one.
"""

import dataclasses
import functools
import hashlib
import json
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from icotlib.errors import ConfigError, did_you_mean
from icotlib.tasks import get_task

#: Counts up when runs made before are no longer comparable with runs made after, and when a
#: default changes: the name of a run holds only the settings that differ from their defaults.
FORMAT = 2


class Section:
    """Base of all settings: checks the type and the allowed values of every field."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for spec in dataclasses.fields(self):
            name = f"{type(self).__name__}.{spec.name}"
            value = _coerce(getattr(self, spec.name), hints[spec.name], name)
            object.__setattr__(self, spec.name, value)
            low = spec.metadata.get("min")
            if low is not None and value is not None and value < low:
                raise ConfigError(f"{name} must be at least {low}, got {value}")
            high = spec.metadata.get("max")
            if high is not None and value is not None and value > high:
                raise ConfigError(f"{name} must be at most {high}, got {value}")


def at_least(low: float, default: Any, high: float | None = None) -> Any:
    """A field with a smallest (and perhaps a largest) allowed value."""
    return field(default=default, metadata={"min": low, "max": high})


@dataclass(frozen=True)
class DataConfig(Section):
    """Which examples, how many, and how they are split."""

    #: A generated task by name (`mult-4x2`, `prosqa-20x4`); ignored when `path` is set.
    task: str = "mult-4x2"
    #: A folder with train.txt, valid.txt and test.txt in the authors' format, instead of a task.
    path: str | None = None
    #: Training examples in a fixed data set; None draws fresh ones in every batch.
    train_examples: int | None = at_least(1, None)
    #: Examples held out for evaluation during training.
    valid_examples: int = at_least(1, 500)
    #: Examples held out for the numbers that are reported.
    test_examples: int = at_least(1, 1000)
    #: Seed of the splits. Runs that are compared share it, whatever their own seed.
    seed: int = at_least(0, 0)
    #: Keep the task's reserved questions (`Task.reserved`) out of training, valid and test
    #: examples alike, so that a combination never seen is left to test.
    reserve: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        task = get_task(self.task) if self.path is None else None
        if self.reserve and not (task and task.n_reserved):
            raise ConfigError(
                f"DataConfig.reserve: {self.path or self.task} reserves no questions; leave it "
                "off, or choose a generated task whose class has `reserved` and `n_reserved`"
            )


@dataclass(frozen=True)
class ModelConfig(Section):
    """A causal language model of `transformers`: random weights of a size, or pretrained."""

    #: `model_type` of any causal LM in transformers: gpt2, llama, gpt_neox, qwen2, ...
    architecture: str = "gpt2"
    layers: int = at_least(1, 3)
    width: int = at_least(1, 192)
    heads: int = at_least(1, 6)
    #: Dropout everywhere the architecture has it.
    dropout: float = at_least(0, 0.0, 0.9)
    #: Hub id or directory of pretrained weights and tokenizer; the sizes above are then ignored.
    pretrained: str | None = None
    #: Positions beyond those of the longest example, so that longer ones can be tested.
    room: int = at_least(0, 0)
    #: Further fields of the architecture's own config, such as {"activation_function": "relu"}.
    options: dict[str, Any] = field(default_factory=dict)
    #: Train adapters and leave the pretrained weights as they are: settings of peft's LoraConfig,
    #: such as {"r": 16, "lora_alpha": 32}; empty trains everything.
    lora: dict[str, Any] = field(default_factory=dict)
    #: With a pretrained tokenizer: leave the space before each separator that the authors' code
    #: leaves (one more token to remove from each chain).
    spaced_separators: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pretrained is None and self.width % self.heads:
            raise ConfigError(
                f"ModelConfig.width ({self.width}) must be a multiple of heads ({self.heads})"
            )
        if self.lora and self.pretrained is None:
            raise ConfigError("ModelConfig.lora adapts pretrained weights: set model.pretrained")


@dataclass(frozen=True)
class OptimConfig(Section):
    """The optimizer and its learning rate over time."""

    #: `muon` moves the hidden matrices by Muon and all else by AdamW; `adamw` moves all by AdamW.
    name: Literal["muon", "adamw"] = "muon"
    #: Peak learning rate of AdamW.
    lr: float = at_least(0, 1e-3)
    #: Peak learning rate of Muon.
    muon_lr: float = at_least(0, 1e-2)
    #: AdamW's decay rates of the first and second moment.
    beta1: float = at_least(0, 0.9, 1)
    beta2: float = at_least(0, 0.99, 1)
    #: Decoupled weight decay of matrices; vectors and embeddings have none.
    weight_decay: float = at_least(0, 0.1)
    #: Largest norm of the gradient; 0 never clips.
    clip: float = at_least(0, 1.0)
    #: Optimizer steps over which the rate rises linearly from zero.
    warmup_steps: int = at_least(0, 100)
    #: Fraction of the run, at its end, over which the rate falls linearly to zero.
    decay_fraction: float = at_least(0, 0.5, 1)


@dataclass(frozen=True)
class RemovalConfig(Section):
    """Which chain tokens are taken away, and when: stepwise internalization (arXiv 2405.14838).

    Schedules, with s the number of tokens removed from every example:

    - `none`: s = 0, explicit chain of thought.
    - `all`: everything from the first step, no chain of thought.
    - `linear`: the paper's s(t) = floor(pace * t / steps_per_epoch).
    - `geometric`: chunks that double: s = 1, 3, 7, ... every `steps_per_chunk` steps.
    - `adaptive`: the next token goes once the model answers well enough at this stage.
    - `random`: no common s; each example loses a number of its own, so that one model serves
      every stage.
    """

    schedule: Literal["none", "all", "linear", "geometric", "adaptive", "random"] = "random"
    #: Which end of the chain goes first.
    side: Literal["left", "right"] = "left"
    #: Whole steps go, not single tokens: each step ends with this text (`>>` in GSM8K's equations),
    #: and every number of removed tokens in this section is then one of steps.
    step_end: str | None = None
    #: Tokens that remain keep the position ids they had. The first separator moves with them, so
    #: that counting on from it is right while generating: a model learns from it how long the
    #: chain was, which says something where chains differ in length. Left side only.
    keep_positions: bool = True
    #: Steps on the full chain before anything is removed.
    warmup_steps: int = at_least(0, 150)
    #: Removal smoothing: each example loses o more tokens, P(o) proportional to exp(-smoothing o).
    #: The paper uses 4; None turns it off. Never in the warm-up, never in evaluation.
    smoothing: float | None = at_least(1e-6, None)
    #: Start a new optimizer whenever s grows, until a batch holds no chain token any more.
    reset_optimizer: bool = False
    #: Remove everything at once when s reaches this many tokens (the paper: 39 on GSM8K).
    remove_all_at: int | None = at_least(0, None)

    #: linear: tokens removed per epoch (the paper's delta).
    pace: float = at_least(0, 8.0)
    #: linear: optimizer steps per epoch (the paper's T), a setting because a stream has no epochs.
    steps_per_epoch: int = at_least(1, 1000)
    #: geometric: steps between two removals.
    steps_per_chunk: int = at_least(1, 300)
    #: adaptive: the running mean of answer exact match (teacher-forced) that lets the next go.
    threshold: float = at_least(0, 0.85, 1)
    #: adaptive: steps that the running mean covers, and the fewest at a stage.
    window: int = at_least(1, 20)
    #: adaptive: the next token goes after this many steps at a stage in any case.
    max_steps_per_stage: int = at_least(1, 600)
    #: adaptive: chance that an example is shown at a uniformly drawn earlier stage.
    replay: float = at_least(0, 0.0, 1)
    #: random: chance that an example loses its whole chain; otherwise uniform on 0..all.
    all_fraction: float = at_least(0, 0.5, 1)
    #: all: the second separator goes, too: `question <sep> #### answer`, distillation's layout.
    direct: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep_positions and self.side == "right":
            raise ConfigError(
                "RemovalConfig.keep_positions needs side='left': after a removal on the right the "
                "kept position of the second separator cannot be known while generating"
            )
        if self.keep_positions and self.step_end is not None:
            raise ConfigError(
                "RemovalConfig.keep_positions needs step_end=None: steps differ in length, and the "
                "kept position of the separator would tell how long those are that nobody wrote"
            )
        if self.direct and self.schedule != "all":
            raise ConfigError("RemovalConfig.direct needs schedule='all': it leaves no chain")

    @property
    def unit(self) -> str:
        """What is counted as removed, as sentences name it: `tokens` or `steps`."""
        return "tokens" if self.step_end is None else "steps"


@dataclass(frozen=True)
class DistillConfig(Section):
    """Implicit chain of thought by knowledge distillation (arXiv 2311.01460)."""

    #: Which of the teacher's states are distilled; `icotlib.thoughts.places` says where they are.
    subset: Literal["diagonal", "first_column", "last_column", "bottom_row", "top_row"] = "diagonal"
    #: Chain tokens between the states of neighbouring layers; None spreads the layers over each
    #: example's own chain.
    delta: float | None = at_least(0, None)
    #: Weights that student and emulator begin with: the teacher's, or those that `model` names
    #: (the paper: the pretrained ones that the teacher, too, began with).
    start: Literal["teacher", "model"] = "teacher"
    #: Components of the emulator's mixture: 1 is no mixture, 0 is one for every token.
    mixture: int = at_least(0, 1)
    #: Temperature of the mixture's softmax where the gold component is not given.
    mixture_temperature: float = at_least(1e-6, 0.05)
    #: Weight of naming the chain's token as the component, per layer; 0 is without supervision.
    mixture_supervision: float = at_least(0, 0.0)
    #: The token named stands this many places after the state that is predicted.
    mixture_offset: int = at_least(0, 0, 1)
    #: Coupling trains the emulator along with the student.
    train_emulator: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixture_supervision and self.mixture:
            raise ConfigError(
                "DistillConfig.mixture_supervision needs mixture=0, one component for every token"
            )


@dataclass(frozen=True)
class TrainConfig(Section):
    """How long to train, on what, and when to look."""

    #: Optimizer steps at most.
    steps: int = at_least(1, 1200)
    #: Examples per optimizer step.
    batch_size: int = at_least(1, 128)
    #: Each batch is cut into this many groups of like length, so that removed tokens cost nothing.
    #: Their gradients add up to one optimizer step.
    length_groups: int = at_least(1, 2)
    #: Parts in which each group goes through the model, for batches that memory has no room for.
    accumulation: int = at_least(1, 1)
    #: Compute activations again in the backward pass and not keep them: less memory, a third more
    #: time.
    gradient_checkpointing: bool = False
    #: Steps between evaluations; a checkpoint follows each one.
    eval_every: int = at_least(1, 100)
    #: Stop once validation accuracy at the last stage reaches this.
    stop_accuracy: float | None = at_least(0, None, 1)
    #: `auto` is bf16 on a GPU that has it, and fp32 elsewhere. `int8` is for CPUs: the products
    #: of hidden matrices, in training and in testing (`icotlib.int8`).
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    #: CPU threads of the run. A setting, because sums are rounded in another order with another
    #: number; two runs side by side with one thread each do more work than one run with two.
    threads: int = at_least(1, 1)


#: The runs that a run may build on, in the order they are trained.
PARENTS = ("teacher", "student", "emulator")

#: The chain of every method: none of it goes, or all of it. ICoT-SI has the schedules between.
_SCHEDULE = {
    "explicit_cot": "none",
    "no_cot": "all",
    "mind_reading": "all",
    "emulation": "all",
    "icot_kd": "all",
}


@dataclass(frozen=True)
class RunConfig(Section):
    """Everything that decides the numbers of one run."""

    #: The method as results name it. `mind_reading` and `emulation` are the first two stages of
    #: ICoT-KD, the student and the emulator; `icot_kd` couples them.
    method: Literal["no_cot", "explicit_cot", "icot_si", "mind_reading", "emulation", "icot_kd"] = (
        "icot_si"
    )
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    removal: RemovalConfig = field(default_factory=RemovalConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)
    #: Seed of weights, batches and removal.
    seed: int = at_least(0, 0)
    #: A word that names a variant in tables; it does not change the numbers, only the run.
    label: str = ""
    #: The preset this came from, for the tables.
    preset: str = ""
    #: The finished runs that this one builds on; a distilled run without student or emulator has
    #: skipped that stage.
    teacher: "RunConfig | None" = None
    student: "RunConfig | None" = None
    emulator: "RunConfig | None" = None

    def __post_init__(self) -> None:
        super().__post_init__()
        needed, schedule = _SCHEDULE.get(self.method), self.removal.schedule
        if needed and schedule != needed:
            raise ConfigError(f"method {self.method!r} needs removal.schedule={needed!r}")
        if not needed and schedule in ("all", "none"):
            raise ConfigError(f"method 'icot_si' cannot use removal.schedule={schedule!r}")
        if self.distilled and (self.train.gradient_checkpointing or self.model.lora):
            raise ConfigError(
                f"method {self.method!r} trains neither with train.gradient_checkpointing nor with "
                "model.lora: its states go into the layers from outside"
            )
        if self.train.precision == "int8" and (
            self.train.gradient_checkpointing or self.model.lora
        ):
            raise ConfigError(
                "train.precision=int8 goes neither with train.gradient_checkpointing nor with "
                "model.lora: a step must see every hidden matrix and train it"
            )
        if self.distilled and not self.removal.direct:
            raise ConfigError(f"method {self.method!r} needs removal.direct=True, its layout")
        self._check_parents()

    def _check_parents(self) -> None:
        allowed = {
            "mind_reading": {"teacher": "explicit_cot"},
            "emulation": {"teacher": "explicit_cot"},
            "icot_kd": {
                "teacher": "explicit_cot",
                "student": "mind_reading",
                "emulator": "emulation",
            },
        }.get(self.method, {})
        for role, parent in self.parents.items():
            if allowed.get(role) != parent.method:
                raise ConfigError(f"method {self.method!r} has no {role} of {parent.method!r}")
            for name in _differences(role, self, parent):
                raise ConfigError(
                    f"{name} of the {role} differs from that of the run that builds on it: what "
                    "the one has learned the other could not use"
                )
        teachers = [self.teacher, *(parent.teacher for parent in self.parents.values())]
        teachers = [teacher for teacher in teachers if teacher is not None]
        if any(teacher != teachers[0] for teacher in teachers):
            raise ConfigError("student, emulator and the run that couples them need one teacher")
        if self.distilled and not teachers:
            raise ConfigError(f"method {self.method!r} needs a teacher run")

    @property
    def distilled(self) -> bool:
        """Whether this is a stage of distillation."""
        return self.method in ("mind_reading", "emulation", "icot_kd")

    @property
    def parents(self) -> dict[str, "RunConfig"]:
        """The runs that this one builds on, by role."""
        found = {role: getattr(self, role) for role in PARENTS}
        return {role: config for role, config in found.items() if config is not None}

    @property
    def task(self) -> str:
        """The task as tables name it."""
        return self.data.task if self.data.path is None else Path(self.data.path).name

    @functools.cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that change with any setting.

        Settings at their default are left out, so that a setting added later does not rename the
        runs made before. A default that changes must therefore raise `FORMAT`.
        """
        text = json.dumps([FORMAT, _changed(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def run_name(self) -> str:
        """The name of the run directory: readable first, unique by its digest."""
        schedule = [self.removal.schedule] if self.method == "icot_si" else []
        parts = [self.method, *schedule, self.task, self.label, f"s{self.seed}", self.digest[:10]]
        return "-".join(part for part in parts if part)

    def override(self, changes: "dict[str, Any] | str | None" = None, **more: Any) -> "RunConfig":
        """A copy with fields changed by dotted name, e.g. `{"train.steps": 50}` or `seed=1`.

        Text is read as YAML, so that a papermill `-p overrides '{train.steps: 50}'` works too.
        Raises `ConfigError` for an unknown name or a value that does not fit.
        """
        values, known = to_dict(self), field_names()
        for name, value in {**parse_overrides(changes), **more}.items():
            if name not in known and name not in PARENTS:
                raise ConfigError(f"unknown setting {name!r}.{did_you_mean(name, known)}")
            *sections, last = name.split(".")
            target = values
            for section in sections:
                target = target[section]
            target[last] = to_dict(value) if isinstance(value, RunConfig) else value
        return from_dict(values)


def parse_overrides(changes: dict[str, Any] | str | None) -> dict[str, Any]:
    """Overrides as a dictionary from a dictionary, YAML text or nothing."""
    if isinstance(changes, str):
        try:
            changes = yaml.safe_load(changes)
        except yaml.YAMLError as error:
            raise ConfigError(f"overrides are not valid YAML: {error}") from None
    if changes is None:
        return {}
    if not isinstance(changes, dict):
        raise ConfigError(f"overrides must map field names to values, got {changes!r}")
    return changes


def to_dict(config: Section) -> dict[str, Any]:
    """Nested plain values, ready for JSON."""
    return dataclasses.asdict(config)


def from_dict(values: dict[str, Any]) -> RunConfig:
    """A `RunConfig` from `to_dict`'s output; unknown fields are an error."""
    return _build(RunConfig, values, "")


def field_names(cls: type[Section] = RunConfig, prefix: str = "") -> list[str]:
    """Every dotted field name, for messages and help; the runs that a run builds on aside."""
    names = []
    for name, hint in get_type_hints(cls).items():
        if name in PARENTS:
            continue
        if isinstance(hint, type) and issubclass(hint, Section):
            names += field_names(hint, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def _build(cls: type[Section], values: dict[str, Any], prefix: str) -> Any:
    hints = get_type_hints(cls)
    arguments = {}
    for name, value in values.items():
        if name not in hints:
            raise ConfigError(f"unknown setting {prefix + name!r} in a stored config")
        hint = hints[name]
        if isinstance(hint, type) and issubclass(hint, Section):
            value = _build(hint, value, f"{prefix}{name}.")
        elif name in PARENTS and value is not None:
            value = _build(RunConfig, value, f"{prefix}{name}.")
        arguments[name] = value
    return cls(**arguments)


def _differences(role: str, config: RunConfig, parent: RunConfig) -> list[str]:
    """Settings by dotted name that a run and one it builds on must share, and do not."""
    shared = ["model", "data.task", "data.path", "data.seed", "data.reserve"]
    shared += ["data.valid_examples", "data.test_examples"]  # what one holds out the other must
    if role != "teacher":
        shared += ["distill.subset", "distill.delta"]
    if role == "emulator":
        shared += ["distill.mixture", "distill.mixture_temperature"]

    def value(one: Any, name: str) -> Any:
        return functools.reduce(getattr, name.split("."), one)

    return [name for name in shared if value(config, name) != value(parent, name)]


def _changed(config: Section) -> dict[str, Any]:
    """The settings that are not at their default; a run that is built on stands as its digest."""
    default, changed = type(config)(), {}
    for spec in dataclasses.fields(config):
        value = getattr(config, spec.name)
        if value == getattr(default, spec.name):
            continue
        if isinstance(value, RunConfig):
            value = value.digest
        elif isinstance(value, Section):
            value = _changed(value)
        changed[spec.name] = value
    return changed


def _coerce(value: Any, hint: Any, name: str) -> Any:
    """The value as the hinted type; whole floats pass as int and ints as float, nothing else."""
    if isinstance(hint, types.UnionType):
        options = [option for option in get_args(hint) if option is not type(None)]
        return None if value is None else _coerce(value, options[0], name)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            known = ", ".join(map(repr, get_args(hint)))
            hint_text = did_you_mean(str(value), get_args(hint))
            raise ConfigError(f"{name} must be one of {known}; got {value!r}.{hint_text}")
        return value
    kind = get_origin(hint) or hint
    if kind is bool or not isinstance(value, bool):
        if isinstance(value, kind):
            return value
        if kind is float and isinstance(value, int):
            return float(value)
        if kind is float and isinstance(value, str):  # YAML reads 1e-3 as text
            try:
                return float(value)
            except ValueError:
                pass
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
    raise ConfigError(f"{name} must be {getattr(kind, '__name__', kind)}, got {value!r}")
