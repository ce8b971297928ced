"""The loops that the benchmark compares, each as named functions of a step.

*Reference* is how public code for these methods goes about it, written plainly: fp32, GPT-2's own
dropout, logits of the whole vocabulary at every position and the largest of each for the accuracy
in training, removal by slicing one example after the other with a wait for the device each time,
fused AdamW. *Bare* is our own optimizer step with everything around it removed, on batches made
beforehand.
"""

import functools
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.flop_counter import FlopCounterMode

from icotlib.config import RunConfig
from icotlib.data.inputs import IGNORE
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.data.run_data import RunData
from icotlib.evaluation.generation import generate, logits_of, reproduced
from icotlib.evaluation.scoring import evaluate
from icotlib.methods.causal_lm import CausalLMMethod, Part
from icotlib.methods.micro_batches import token_loss
from icotlib.methods.schedule import draw_removal
from icotlib.models.build import build_model
from icotlib.models.decoding import left_padded_questions
from icotlib.models.flops import ATTENTION
from icotlib.models.parameters import count_parameters
from icotlib.models.precision import training_precision
from icotlib.runs import Run
from icotlib.system.devices import best_device
from icotlib.system.seeding import generator_for
from icotlib.system.timing import wait
from icotlib.training.trainer import Trainer

#: What torch's counter of operations does not know by itself.
COUNTED = {
    **ATTENTION,
    torch.ops.aten._int_mm: lambda a, b, out_shape=None: 2 * a[0] * a[1] * b[1],
}


#: The dropout of GPT-2's config.
DROPOUT = 0.1


class Reference:
    """The reference loop of one run."""

    def __init__(self, config: RunConfig):
        torch.set_num_threads(config.train.threads)
        self.config, self.run_data, self.device = config, RunData(config), best_device()
        self.schedule = config.spec.make_schedule(config, self.run_data.longest_chain)
        self.format = config.input_format
        dropped = config.override({"model.dropout": DROPOUT})
        self.model = reference_model(dropped, self.run_data).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.optim.lr, fused=True)

    def step(self, step: int) -> float:
        """One optimizer step on the same examples and removals as ours; the loss."""
        generator = generator_for(self.config.seed, step)
        drawn = self.run_data.batches(step)
        _, batch, k = draw_removal(self.schedule, self.format, step, drawn, generator)
        k = k.to(self.device)
        ids, question = batch.ids.to(self.device), batch.question.to(self.device)
        total = batch.total.to(self.device)
        rows, labels = [], []
        for i in range(len(batch)):
            start, cut, end = question[i].item(), k[i].item(), total[i].item()
            row = torch.cat([ids[i, :start], ids[i, start + cut : end]])
            label = row.clone()
            label[:start] = IGNORE
            rows.append(row)
            labels.append(label)
        inputs = pad_sequence(rows, batch_first=True, padding_value=self.run_data.layout.pad)
        targets = pad_sequence(labels, batch_first=True, padding_value=IGNORE)
        logits = self.model(inputs).logits
        learned = targets[:, 1:] != IGNORE
        found = logits[:, :-1].argmax(dim=-1)
        right = ((found == targets[:, 1:]) & learned).sum() / learned.sum()
        shifted = logits[:, :-1].contiguous().flatten(0, 1)
        loss = cross_entropy(shifted, targets[:, 1:].contiguous().flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        right.item()
        return loss.item()


class Bare:
    """Forward pass, backward pass and optimizers of ours, on batches made beforehand."""

    def __init__(self, trainer: Trainer, count: int):
        self.trainer = trainer
        self.batches = [self._parts(step) for step in range(count)]

    def _parts(self, step: int) -> list[Part]:
        generator = generator_for(self.trainer.config.seed, step)
        method = cast(CausalLMMethod, self.trainer.method)
        return list(method.parts(step, self.trainer.run_data.batches(step), generator))

    def step(self, step: int) -> None:
        trainer = self.trainer
        with trainer.step_mode:
            for part in self.batches[step % len(self.batches)]:
                with trainer.accelerator.autocast():
                    logits = logits_of(trainer.model, part.inputs)
                    loss = token_loss(logits, part.inputs) / part.learned
                loss.backward()
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.config.optim.clip)
        for optimizer in trainer.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        wait(trainer.accelerator.device)


def our_training(config: RunConfig) -> dict[str, Callable]:
    """Our training steps; `count` gives parameters, a step's tokens, operations."""
    trainer = trainer_of(config)

    def train(step: int) -> None:
        trainer.step(step)
        trainer.method.sync_metrics()

    def count() -> tuple[int, int, int]:
        before = trainer.tokens
        with FlopCounterMode(display=False, custom_mapping=COUNTED) as counted:
            train(0)
        tokens = trainer.tokens - before
        return count_parameters(trainer.model), tokens, counted.get_total_flops()

    return {"ours": train, "count": count}


def bare_training(config: RunConfig, steps: int) -> dict[str, Callable]:
    """The same steps with nothing around them."""
    return {"bare": Bare(trainer_of(config), steps).step}


def reference_training(config: RunConfig) -> dict[str, Callable]:
    """The reference's steps."""
    return {"reference": Reference(config).step}


def trainer_of(config: RunConfig) -> Trainer:
    """A run's trainer, its model in training; steps alone write nothing to the run's folder."""
    trainer = Trainer(config, Run.of(config))
    trainer.model.train(trainer.method.dropout)
    return trainer


def reference_model(config: RunConfig, run_data: RunData) -> Any:
    """The model of a run at its start, on this machine's device."""
    torch.manual_seed(config.seed)
    model: nn.Module = build_model(config.model, run_data.layout, run_data.longest_total)
    return model.to(best_device())


#: Examples of the test set that are answered one by one: every one takes as long.
FEW = 8


def our_answers(config: RunConfig) -> dict[str, Callable]:
    """The final test of a model (`evaluate`) with nothing removed; `count` gives parameters and
    examples.

    The cost depends on accuracy: a pass over all references if the model is right, over a few of
    them and decoding if it is not. Both extremes are timed with random weights, which never emit
    the end token, so that all examples write as many tokens. The model is wrong on the test set,
    and right where its own greedy answers stand in the place of the true ones.
    """
    trainer = trainer_of(config)
    model, layout, batch = trainer.model.eval(), trainer.run_data.layout, trainer.run_data.test
    answers = trainer.run_data.answers
    new = int((batch.total - batch.question).max())

    @functools.cache
    def questions(right: bool) -> EncodedBatch:
        return with_own_answers(model, layout, batch, new) if right else batch

    def answer(right: bool) -> None:
        with training_precision(config.train.precision, model):
            evaluate(model, layout, questions(right), answers, max_new_tokens=new)

    return {
        "all right": lambda step: answer(right=True),
        "all wrong": lambda step: answer(right=False),
        "count": lambda: (count_parameters(model), len(batch)),
    }


def with_own_answers(model: Any, layout: Layout, batch: EncodedBatch, new: int) -> EncodedBatch:
    """As many examples whose references are what the model writes after their questions.

    Where rounding makes decoding and a pass over the whole sequence differ, another example stands
    in an example's place.

    Args:
        new: tokens that it writes.
    """
    ids = torch.full((len(batch), int(batch.question.max()) + new), layout.pad)
    written = generate(model, layout, batch, max_new_tokens=new).cpu()
    for row, (own, question) in enumerate(zip(written, batch.question.tolist(), strict=True)):
        ids[row, :question] = batch.ids[row, :question]
        ids[row, question : question + len(own)] = own
    total = batch.question + written.shape[1]
    own_batch = EncodedBatch(ids, batch.question, torch.zeros_like(batch.chain), total)
    passing = reproduced(model, own_batch, 0).nonzero()[:, 0]
    return own_batch[passing[torch.arange(len(batch)) % len(passing)]]


def reference_answers(config: RunConfig) -> dict[str, Callable]:
    """The same, as public code does it: in batches of 32 for ICoT-SI, one by one for ICoT-KD."""
    torch.set_num_threads(config.train.threads)
    run_data, device = RunData(config), best_device()
    model = reference_model(config, run_data).eval()
    layout, batch = run_data.layout, run_data.test
    new = int((batch.total - batch.question).max())
    ids, mask, _ = left_padded_questions(batch, layout.pad)
    ids, mask = ids.to(device), mask.to(device)

    def answer(count: int, size: int) -> None:
        for first in range(0, count, size):
            rows = slice(first, first + size)
            model.generate(
                input_ids=ids[rows],
                attention_mask=mask[rows],
                do_sample=False,
                min_new_tokens=new,
                max_new_tokens=new,
                pad_token_id=layout.pad,
            )

    return {
        "batched": lambda step: answer(len(batch), 32),
        "one by one": lambda step: answer(FEW, 1),
    }
