"""Stepwise internalization, pinned by examples worked by hand."""

import math

import pytest
import torch

from icotlib.config import RemovalConfig
from icotlib.data.inputs import IGNORE, remove
from icotlib.data.layout import EncodedBatch
from icotlib.errors import ConfigError
from icotlib.methods.stepwise.schedules import make_schedule, smoothing_offsets

# Two examples: question of 2 and sep, chain of 3; question of 1 and sep, chain of 1.
#   a b <sep> x y z <sep> #### 7 <eos>        a=1 b=2 sep=9 x,y,z=3,4,5 mark=8 seven=7 eos=6
#   a <sep> x <sep> #### 7 <eos>
BATCH = EncodedBatch(
    ids=torch.tensor([[1, 2, 9, 3, 4, 5, 9, 8, 7, 6], [1, 9, 3, 9, 8, 7, 6, 0, 0, 0]]),
    question=torch.tensor([3, 2]),
    chain=torch.tensor([3, 1]),
    total=torch.tensor([10, 7]),
)
_ = IGNORE


def schedule(longest=10, **settings):
    defaults = {"keep_positions": False, "warmup_steps": 0}
    return make_schedule(RemovalConfig(**(defaults | settings)), longest)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- taking tokens out -------------------------------------------------------------------------


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


def test_the_tail_is_what_follows_the_chain():
    inputs = remove(BATCH, torch.tensor([2, 0]))
    answers = [
        labels[tail].tolist() for labels, tail in zip(inputs.labels, inputs.answer_mask, strict=True)
    ]
    assert answers == [[9, 8, 7, 6], [9, 8, 7, 6]]


def test_keep_covers_every_place_that_carries_loss_and_no_more_than_needed():
    inputs = remove(BATCH, torch.tensor([0, 0]))
    assert (inputs.labels[:, : -inputs.logits_to_keep] == IGNORE).all()
    assert (inputs.labels[:, -inputs.logits_to_keep] != IGNORE).any()


# --- schedules ---------------------------------------------------------------------------------


def removed_by_step(steps, **settings):
    """s after `advance` at each step."""
    made, seen = schedule(**settings), []
    for step in range(steps):
        made.advance(step)
        seen.append(made.removed)
    return seen


def test_linear_removes_floor_of_pace_t_over_epoch():
    seen = removed_by_step(60, schedule="linear", pace=8, steps_per_epoch=100)
    assert seen == [math.floor(8 * step / 100) for step in range(60)]
    assert [seen.index(s) for s in (1, 2, 3, 4)] == [13, 25, 38, 50]


def test_linear_counts_from_the_end_of_the_warm_up_and_stops_at_the_chain():
    settings = {"longest": 3, "pace": 1, "steps_per_epoch": 1, "warmup_steps": 5}
    seen = removed_by_step(12, schedule="linear", **settings)
    assert seen == [0] * 6 + [1, 2] + [3] * 4


def test_remove_all_at_a_threshold():
    linear = schedule(schedule="linear", pace=1, steps_per_epoch=1, remove_all_at=4)
    grew = [linear.advance(step) for step in range(7)]
    assert grew == [False, True, True, True, True, False, False]
    assert linear.removed == 10


def test_geometric_chunks_double():
    seen = removed_by_step(10, schedule="geometric", steps_per_chunk=2, longest=10)
    assert seen == [0, 0, 1, 1, 3, 3, 7, 7, 10, 10]


def test_adaptive_waits_for_the_running_mean():
    adaptive = schedule(schedule="adaptive", threshold=0.5, window=2, max_steps_per_stage=99)
    here = torch.ones(4, dtype=torch.bool)
    half, most = torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([1, 1, 1, 0]).bool()
    for step, seen in enumerate([most, half, half]):
        adaptive.observe(step, seen, here)
        assert adaptive.advance(step + 1) == (step == 1)  # means 0.625 and then 0.5 of a new stage
    assert adaptive.removed == 1
    adaptive.observe(3, most, here)
    assert adaptive.advance(4)


def test_adaptive_looks_only_at_examples_of_this_stage():
    adaptive = schedule(schedule="adaptive", threshold=0.5, window=1)
    seen, here = torch.tensor([True, True, False]), torch.tensor([False, False, True])
    adaptive.observe(0, seen, here)
    assert not adaptive.advance(1)


def test_adaptive_has_a_cap_in_steps():
    adaptive = schedule(schedule="adaptive", window=50, max_steps_per_stage=3)
    wrong, here = torch.zeros(2, dtype=torch.bool), torch.ones(2, dtype=torch.bool)
    grew = []
    for step in range(7):
        grew.append(adaptive.advance(step))
        adaptive.observe(step, wrong, here)
    assert grew == [False, False, False, True, False, False, True]


def test_adaptive_state_survives_a_checkpoint():
    one = schedule(schedule="adaptive", window=3)
    here = torch.ones(2, dtype=torch.bool)
    one.observe(0, here, here)
    other = schedule(schedule="adaptive", window=3)
    other.load_state_dict(one.state_dict())
    for step in (1, 2):
        for each in (one, other):
            each.observe(step, here, here)
    assert other.advance(3)
    assert one.state_dict()["recent"] == [1.0, 1.0, 1.0]


def test_replay_shows_earlier_stages_uniformly():
    adaptive = schedule(schedule="adaptive", replay=0.5)
    adaptive.removed = 4
    k = adaptive.draw(0, torch.full((40_000,), 10), generator())
    share = torch.bincount(k, minlength=5) / len(k)
    assert share.tolist() == pytest.approx([0.125] * 4 + [0.5], abs=0.01)


def test_smoothing_offsets_follow_the_papers_distribution():
    offsets = smoothing_offsets(200_000, 4.0, generator())
    share = torch.bincount(offsets, minlength=3)[:3] / len(offsets)
    z = 1 / (1 - math.exp(-4))
    expected = [math.exp(-4 * o) / z for o in range(3)]
    assert expected[0] == pytest.approx(0.982, abs=0.001)
    assert share.tolist() == pytest.approx(expected, abs=0.001)


def test_smoothing_acts_while_nothing_is_removed_but_never_in_the_warm_up():
    linear = schedule(schedule="linear", smoothing=0.5, warmup_steps=10, steps_per_epoch=10**6)
    chain = torch.full((1000,), 10)
    assert linear.draw(9, chain, generator()).sum() == 0
    assert linear.draw(10, chain, generator()).sum() > 0
    assert linear.removed == 0


def test_random_draws_all_or_uniform_within_each_chain():
    random = schedule(schedule="random", all_fraction=0.5)
    k = random.draw(0, torch.full((60_000,), 2), generator())
    share = torch.bincount(k) / len(k)
    assert share.tolist() == pytest.approx([1 / 6, 1 / 6, 4 / 6], abs=0.01)
    short = random.draw(0, torch.tensor([0, 1] * 100), generator())
    assert short.max() == 1
    assert short[::2].max() == 0


def test_explicit_and_no_cot_are_the_two_ends():
    chain = torch.tensor([3, 5])
    assert schedule(schedule="none").draw(0, chain, generator()).tolist() == [0, 0]
    assert schedule(schedule="all").draw(0, chain, generator()).tolist() == [3, 5]


def test_kept_positions_on_the_right_are_refused():
    with pytest.raises(ConfigError, match="keep_positions needs side='left'"):
        RemovalConfig(side="right", keep_positions=True)
