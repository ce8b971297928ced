"""How an example becomes model input: which chain tokens are removed, worked by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from icotlib.config import RunConfig
from icotlib.data.chains import with_chains
from icotlib.data.inputs import IGNORE, InputFormat, remove
from icotlib.data.layout import EncodedBatch, Layout
from icotlib.data.symbols import symbol_tokenizer
from icotlib.errors import ConfigError
from icotlib.methods.causal_lm import CausalLMMethod
from icotlib.tasks import get_task

# Two examples: question of 2 and sep, chain of 3; question of 1 and sep, chain of 1.
#   a b <sep> x y z <sep> #### 7 <eos>        a=1 b=2 sep=9 x,y,z=3,4,5 ####=8 seven=7 eos=6
#   a <sep> x <sep> #### 7 <eos>
BATCH = EncodedBatch(
    ids=torch.tensor([[1, 2, 9, 3, 4, 5, 9, 8, 7, 6], [1, 9, 3, 9, 8, 7, 6, 0, 0, 0]]),
    question=torch.tensor([3, 2]),
    chain=torch.tensor([3, 1]),
    total=torch.tensor([10, 7]),
)
_ = IGNORE


# --- chains in the place of a question's own ------------------------------------------------------


def test_each_question_gets_the_chain_and_the_steps_of_the_one_before():
    batch = replace(BATCH, step_ends=torch.tensor([[2, 3], [1, 1]]))
    found = with_chains(batch, "shuffled", 9)
    rows = [row[:total] for row, total in zip(found.ids.tolist(), found.total, strict=True)]
    assert rows == [[1, 2, 9, 3, 9, 8, 7, 6], [1, 9, 3, 4, 5, 9, 8, 7, 6]]
    assert found.chain.tolist() == [1, 3]
    assert found.step_ends.tolist() == [[1, 1], [2, 3]]
    again = with_chains(found, "shuffled", 9)  # of two questions, each gets its own back
    assert (again.chain == BATCH.chain).all()
    assert all(
        (a == b)[:t].all() for a, b, t in zip(again.ids, BATCH.ids, BATCH.total, strict=True)
    )


def test_fillers_are_as_many_as_the_chain_has_tokens():
    found = with_chains(BATCH, "filler", 9)
    assert found.ids.tolist() == [[1, 2, 9, 9, 9, 9, 9, 8, 7, 6], [1, 9, 9, 9, 8, 7, 6, 0, 0, 0]]
    assert (found.chain == BATCH.chain).all()


def test_one_question_has_no_other_chain():
    with pytest.raises(ConfigError, match=r"set train\.batch_size"):
        with_chains(BATCH[:1], "shuffled", 9)


# --- removing chain tokens ---------------------------------------------------------------------


def test_nothing_removed_is_the_sequence_itself():
    inputs = remove(BATCH, torch.tensor([0, 0]))
    assert inputs.ids.tolist()[0] == [1, 2, 9, 3, 4, 5, 9, 8, 7]
    assert inputs.labels.tolist() == [
        [_, _, 3, 4, 5, 9, 8, 7, 6],
        [_, 3, 9, 8, 7, 6, _, _, _],
    ]
    assert inputs.positions is None


def test_left_removal_takes_the_first_tokens_of_each_example():
    inputs = remove(BATCH, torch.tensor([2, 0]))
    assert inputs.ids.tolist() == [[1, 2, 9, 5, 9, 8, 7], [1, 9, 3, 9, 8, 7, 6]]
    assert inputs.labels.tolist() == [[_, _, 5, 9, 8, 7, 6], [_, 3, 9, 8, 7, 6, _]]


def test_right_removal_takes_the_last_tokens():
    inputs = remove(BATCH, torch.tensor([2, 0]), side="right")
    assert inputs.ids.tolist()[0] == [1, 2, 9, 3, 9, 8, 7]
    assert inputs.labels.tolist()[0] == [_, _, 3, 9, 8, 7, 6]


def test_a_chain_shorter_than_what_is_removed_loses_all_it_has():
    inputs = remove(BATCH, torch.tensor([3, 3]))
    assert inputs.ids.tolist() == [[1, 2, 9, 9, 8, 7], [1, 9, 9, 8, 7, 6]]
    assert inputs.labels.tolist() == [[_, _, 9, 8, 7, 6], [_, 9, 8, 7, 6, _]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_model_always_writes_the_second_separator_itself(side):
    inputs = remove(BATCH, torch.tensor([9, 9]), side)
    assert inputs.labels[0, 2] == inputs.labels[1, 1] == 9


def test_kept_positions_shift_the_separator_and_all_that_follows():
    inputs = remove(BATCH, torch.tensor([2, 1]), keep_positions=True)
    assert inputs.ids.tolist()[0] == [1, 2, 9, 5, 9, 8, 7]
    assert inputs.positions.tolist()[0] == [0, 1, 4, 5, 6, 7, 8]
    assert inputs.positions.tolist()[1][:5] == [0, 2, 3, 4, 5]
    whole = remove(BATCH, torch.tensor([0, 0]), keep_positions=True)
    where = {int(t): int(p) for t, p in zip(whole.ids[0, 3:], whole.positions[0, 3:], strict=True)}
    for token, position in zip(inputs.ids[0, 3:], inputs.positions[0, 3:], strict=True):
        assert where[int(token)] == int(position)


def test_positions_shift_by_the_stage_and_not_by_what_the_chain_holds():
    """Otherwise the separator's position would tell how long the true chain is."""
    inputs = remove(BATCH, torch.tensor([4, 4]), keep_positions=True)  # chains of 3 and 1
    assert inputs.ids.tolist() == [[1, 2, 9, 9, 8, 7], [1, 9, 9, 8, 7, 6]]
    assert inputs.positions.tolist() == [[0, 1, 6, 7, 8, 9], [0, 5, 6, 7, 8, 9]]
    held = remove(BATCH, torch.tensor([3, 1]), keep_positions=True, shift=torch.tensor([4, 4]))
    assert torch.equal(held.positions, inputs.positions)
    form = InputFormat(keep_positions=True)
    assert torch.equal(form.inputs(BATCH, torch.tensor([3, 1]), 4).positions, inputs.positions)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "no_cot"},
        {"method": "one_model", "removal.warmup_steps": 0},
        {"method": "icot_si", "removal.warmup_steps": 0, "removal.pace": 1000.0,
         "removal.steps_per_epoch": 1, "removal.smoothing": 0.1},
    ],
)  # fmt: skip
def test_in_training_separators_of_removed_chains_stand_where_those_of_the_longest_do(changes):
    """Examples without any of their chain, long or short: the first position after the question."""
    config = RunConfig().override({"data.task": "twopeople-1to5"} | changes)
    layout = Layout(symbol_tokenizer(get_task("twopeople-1to5").symbols))
    task, longest = get_task("twopeople-1to5"), get_task("twopeople-1to5").widths[1]
    rows = task.sample(np.random.default_rng(0), 64)
    batch = layout.encode_symbols(task.render(rows), task)
    assert len(batch.chain.unique()) > 1
    schedule = config.spec.make_schedule(config, longest)
    schedule.advance(1)
    method = SimpleNamespace(
        schedule=schedule,
        format=config.input_format,
        device="cpu",
        saw_removal=lambda batch, k: None,
        row_groups=lambda lengths: [torch.arange(len(lengths))],
    )
    (part,) = CausalLMMethod.parts(method, 1, batch, torch.Generator().manual_seed(0))
    first = batch.question - 1
    shift = part.inputs.positions.gather(1, first[:, None])[:, 0] - first
    left = (part.inputs.labels != IGNORE).sum(dim=1) - (batch.total - batch.question - batch.chain)
    whole = shift == longest
    assert whole.any()
    assert (left[whole] == 0).all()
    assert len(batch.chain[whole].unique()) > 1
    if changes["method"] == "one_model":  # a stage is drawn, whatever the chain holds
        assert (left == (batch.chain - shift).clamp(min=0)).all()
        assert ((shift > batch.chain) & ~whole).any()
    else:
        assert whole.all()


def test_the_answer_mask_is_what_follows_the_chain():
    inputs = remove(BATCH, torch.tensor([2, 0]))
    answers = [
        labels[mask].tolist()
        for labels, mask in zip(inputs.labels, inputs.answer_mask, strict=True)
    ]
    assert answers == [[9, 8, 7, 6], [9, 8, 7, 6]]


def test_logits_to_keep_covers_every_position_that_carries_loss_and_no_more_than_needed():
    inputs = remove(BATCH, torch.tensor([0, 0]))
    assert (inputs.labels[:, : -inputs.logits_to_keep] == IGNORE).all()
    assert (inputs.labels[:, -inputs.logits_to_keep] != IGNORE).any()


def test_rows_of_a_batch_are_the_same_input():
    for keep_positions in (False, True):
        inputs = remove(BATCH, torch.tensor([2, 1]), keep_positions=keep_positions)
        second = inputs.rows(slice(1, 2))
        for name in ("ids", "labels", "answer_mask"):
            assert getattr(second, name).tolist() == getattr(inputs, name)[1:].tolist()
        assert second.logits_to_keep == inputs.logits_to_keep
        assert (second.positions is None) == (not keep_positions)
    assert second.positions.tolist() == inputs.positions[1:].tolist()


# --- formats -----------------------------------------------------------------------------------

STEPS = EncodedBatch(  # chains of 3 + 2 tokens and of 2 + 1, in steps
    ids=torch.tensor([[1, 9, 2, 2, 3, 4, 3, 9, 8, 7, 6], [1, 9, 2, 3, 4, 9, 8, 7, 6, 0, 0]]),
    question=torch.tensor([2, 2]),
    chain=torch.tensor([5, 3]),
    total=torch.tensor([11, 9]),
    step_ends=torch.tensor([[3, 5], [2, 3]]),
)


def test_a_format_without_chain_is_question_and_answer():
    form = InputFormat(chain=False)
    arranged = form.arrange(BATCH)
    assert arranged.total.tolist() == [6, 5]
    assert arranged.ids[0].tolist() == [1, 2, 9, 8, 7, 6]
    assert arranged.ids[1, :5].tolist() == [1, 9, 8, 7, 6]
    tokens = form.tokens_removed(arranged, 3)
    assert tokens.tolist() == [0, 0]  # nothing is left to remove
    inputs = form.inputs(arranged, tokens)
    assert inputs.labels.tolist() == [[_, _, 8, 7, 6], [_, 8, 7, 6, _]]
    assert inputs.positions is None


def test_a_format_removes_from_its_side_and_keeps_positions():
    for form in (InputFormat(), InputFormat(side="right"), InputFormat(keep_positions=True)):
        assert form.arrange(BATCH) is BATCH
        tokens = form.tokens_removed(BATCH, 2)
        assert tokens.tolist() == [2, 1]  # no more than a chain has
        ours, plain = (
            form.inputs(BATCH, tokens),
            remove(BATCH, torch.tensor([2, 1]), form.side, form.keep_positions),
        )
        assert torch.equal(ours.ids, plain.ids)
        assert torch.equal(ours.labels, plain.labels)
        assert (ours.positions is None) == (not form.keep_positions)
        assert ours.positions is None or torch.equal(ours.positions, plain.positions)
    by_example = InputFormat().tokens_removed(BATCH, torch.tensor([0, 1]))
    assert by_example.tolist() == [0, 1]


def test_a_format_of_steps_removes_whole_steps():
    assert InputFormat().unit == "tokens"
    left, right = (InputFormat(side=side, step_end=">>") for side in ("left", "right"))
    assert left.unit == "steps"
    assert left.tokens_removed(STEPS, 1).tolist() == [3, 2]
    assert right.tokens_removed(STEPS, 1).tolist() == [2, 1]
    assert left.tokens_removed(STEPS, 2).tolist() == [5, 3]
    inputs = left.inputs(STEPS, left.tokens_removed(STEPS, 1))
    assert inputs.ids[0].tolist() == [1, 9, 4, 3, 9, 8, 7]


@pytest.mark.parametrize(
    ("changes", "form"),
    [
        ({"method": "explicit_cot"}, InputFormat(keep_positions=True)),
        ({"method": "no_cot"}, InputFormat(keep_positions=True)),
        ({"method": "no_cot", "removal.keep_positions": False}, InputFormat()),
        (
            {
                "method": "no_cot",
                "removal.layout": "no_chain",
                "removal.keep_positions": False,
            },
            InputFormat(chain=False),
        ),
        # Where no chain ever stood, there are no positions to keep.
        ({"method": "no_cot", "removal.layout": "no_chain"}, InputFormat(chain=False)),
        ({}, InputFormat(keep_positions=True)),
        (
            {
                "removal.side": "right",
                "removal.keep_positions": False,
                "removal.step_end": ">>",
            },
            InputFormat(side="right", step_end=">>"),
        ),
    ],
)
def test_the_format_follows_from_the_settings(changes, form):
    assert RunConfig().override(changes).input_format == form


def test_the_phases_of_distillation_have_no_chain():
    teacher = RunConfig().override(method="explicit_cot")
    for method in ("kd_student", "kd_emulator", "icot_kd"):
        config = RunConfig().override({"method": method, "phases": {"teacher": teacher}})
        assert config.input_format == InputFormat(chain=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"removal.side": "right"}, r"removal\.keep_positions needs removal\.side=left"),
        ({"removal.step_end": ">>"}, r"removal\.keep_positions needs removal\.step_end=null"),
    ],
)
def test_positions_that_would_be_unknown_or_leak_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig().override(changes)
    RunConfig().override(changes | {"removal.keep_positions": False})
