"""Schedules: how much of the chain is removed at each step, worked by hand."""

import json
import math

import pytest
import torch
from accelerate import Accelerator

from icotlib.config import RunConfig
from icotlib.data.run_data import RunData
from icotlib.errors import ConfigError
from icotlib.experiments import run_config
from icotlib.methods.micro_batches import BatchAccuracy
from icotlib.methods.one_model import EveryStage, FixedStage, OneModelSettings
from icotlib.methods.schedule import BLOCK, FullRemoval, NoRemoval
from icotlib.methods.stepwise.method import StepwiseInternalization
from icotlib.methods.stepwise.schedules import SCHEDULES, make_schedule, smoothing_offsets


def schedule(name, longest=10, **settings):
    defaults = {"keep_positions": False, "warmup_steps": 0}
    return make_schedule(SCHEDULES[name].settings(**(defaults | settings)), longest)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def removed_by_step(steps, name, **settings):
    """s after `advance` at each step."""
    made, seen = schedule(name, **settings), []
    for step in range(steps):
        made.advance(step)
        seen.append(made.removed)
    return seen


def test_linear_removes_floor_of_pace_t_over_epoch():
    seen = removed_by_step(60, "linear", pace=8, steps_per_epoch=100)
    assert seen == [math.floor(8 * step / 100) for step in range(60)]
    assert [seen.index(s) for s in (1, 2, 3, 4)] == [13, 25, 38, 50]


def test_linear_counts_from_the_end_of_the_warm_up_and_stops_at_the_chain():
    settings = {"longest": 3, "pace": 1, "steps_per_epoch": 1, "warmup_steps": 5}
    seen = removed_by_step(12, "linear", **settings)
    assert seen == [0] * 6 + [1, 2] + [3] * 4


def test_remove_all_at_a_threshold():
    linear = schedule("linear", pace=1, steps_per_epoch=1, remove_all_at=4)
    grew = [linear.advance(step) for step in range(7)]
    assert grew == [False, True, True, True, True, False, False]
    assert linear.removed == 10
    after_warm_up = {"pace": 1, "steps_per_epoch": 1, "remove_all_at": 0, "warmup_steps": 3}
    assert removed_by_step(5, "linear", **after_warm_up) == [0, 0, 0, 10, 10]


def test_schedules_that_accuracy_drives_remove_all_at_a_threshold():
    settings = {"stage_steps": BLOCK, "good": 0.5, "collapsed": 0.1, "remove_all_at": 2}
    seen, _ = rolling_back([0.9] * 3, warmup_steps=BLOCK, longest=7, **settings)
    assert seen == [0, 1, 7]
    adaptive = schedule("adaptive", longest=7, remove_all_at=2, max_steps_per_stage=BLOCK)
    right, here = torch.zeros(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)
    stages = []
    for step in range(3 * BLOCK):
        adaptive.advance(step)
        stages.append(adaptive.removed)
        adaptive.note(step, right, here)
    assert stages == [0] * BLOCK + [1] * BLOCK + [7] * BLOCK


def test_geometric_chunks_double():
    seen = removed_by_step(10, "geometric", steps_per_chunk=2, longest=10)
    assert seen == [0, 0, 1, 1, 3, 3, 7, 7, 10, 10]


def test_adaptive_waits_for_the_running_mean():
    adaptive = schedule("adaptive", threshold=0.5, window=2, max_steps_per_stage=99)
    here = torch.ones(4, dtype=torch.bool)
    half, most = torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([1, 1, 1, 0]).bool()
    for step, seen in enumerate([most, half, half]):
        adaptive.update(step, seen, here)
        assert adaptive.advance(step + 1) == (step == 1)  # means 0.625 and then 0.5 of a new stage
    assert adaptive.removed == 1
    adaptive.update(3, most, here)
    assert adaptive.advance(4)


@pytest.mark.parametrize("measure", ["answer", "all"])
def test_adaptive_judges_answers_or_all_that_is_learned(measure, runs_folder):
    """Behind true chain tokens the answer is soon right, long before the chain is."""
    changes = {"removal.schedule": "adaptive", "removal.measure": measure, "removal.window": 1}
    changes |= {"removal.max_steps_per_stage": 99, "removal.threshold": 0.5}
    config = run_config("icot_si", "smoke", 0, changes)
    method = StepwiseInternalization(config, RunData(config), Accelerator(cpu=True))
    method.schedule.removed = 1
    here, wrong = torch.ones(10, dtype=torch.bool), torch.zeros(10, dtype=torch.bool)
    for step in range(20, 20 + BLOCK):
        method.seen.append(BatchAccuracy(step, exact=wrong, answer=here, at_eval_stage=here))
    method.sync_metrics()
    assert method.schedule.advance(20 + BLOCK) == (measure == "answer")


def test_adaptive_looks_only_at_examples_of_this_stage():
    adaptive = schedule("adaptive", threshold=0.5, window=1)
    seen, here = torch.tensor([True, True, False]), torch.tensor([False, False, True])
    adaptive.update(0, seen, here)
    assert not adaptive.advance(1)


def test_adaptive_has_a_cap_in_steps():
    adaptive = schedule("adaptive", window=50, max_steps_per_stage=3)
    wrong, here = torch.zeros(2, dtype=torch.bool), torch.ones(2, dtype=torch.bool)
    grew = []
    for step in range(7):
        grew.append(adaptive.advance(step))
        adaptive.update(step, wrong, here)
    assert grew == [False, False, False, True, False, False, True]


def test_adaptive_state_survives_a_checkpoint():
    one = schedule("adaptive", window=3)
    here = torch.ones(2, dtype=torch.bool)
    one.update(0, here, here)
    other = schedule("adaptive", window=3)
    other.load_state_dict(one.state_dict())
    for step in (1, 2):
        for each in (one, other):
            each.update(step, here, here)
    assert other.advance(3)
    assert one.state_dict()["recent"] == [1.0, 1.0, 1.0]


def test_a_schedule_learns_of_whole_blocks_whenever_they_are_read():
    one = schedule("adaptive", window=12)
    here = torch.ones(2, dtype=torch.bool)
    for step in range(15):
        one.note(step, here, here)
    assert one.steps_here == 10
    other = schedule("adaptive", window=12)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for step in range(15, 20):
        other.note(step, here, here)
    assert (other.steps_here, other.recent, other.noted) == (20, [1.0] * 12, [])
    assert other.advance(20)


def rolling_back(matches, **settings):
    """s at the start of every block, and where the schedule goes back to, given the match of each
    block."""
    made, seen, back = schedule("rollback", **{"window": BLOCK, **settings}), [], []
    here = torch.ones(100, dtype=torch.bool)
    for block, match in enumerate(matches):
        made.advance(block * BLOCK)
        seen.append(made.removed)
        back.append(made.back_to)
        right = torch.arange(100) < round(100 * match)
        for step in range(block * BLOCK, (block + 1) * BLOCK):
            assert step == block * BLOCK or not made.advance(step)
            made.note(step, right, here)
    return seen, back


def test_rollback_returns_to_the_last_good_stage_and_goes_on_more_slowly():
    settings = {"stage_steps": BLOCK, "good": 0.5, "collapsed": 0.1, "slower": 2.0}
    matches = [0.9, 0.8, 0.3, 0.0, 0.9, 0.9, 0.9]
    seen, back = rolling_back(matches, warmup_steps=BLOCK, **settings)
    # The stage of two removed is neither good nor collapsed, that of three collapses.
    assert seen == [0, 1, 2, 3, 2, 2, 3]
    assert back == [None, None, None, None, 1, None, None]


def test_rollback_goes_on_after_its_last_return_and_gives_the_last_stage_the_rest():
    settings = {"stage_steps": BLOCK, "good": 0.5, "collapsed": 0.1, "slower": 1.0, "returns": 1}
    seen, back = rolling_back([0.9, 0.0, 0.0, 0.0, 0.0, 0.0], longest=3, **settings)
    assert seen == [0, 1, 1, 2, 3, 3]
    assert [one for one in back if one is not None] == [0]


def test_rollback_without_a_good_stage_only_removes():
    seen, back = rolling_back([0.0] * 4, stage_steps=BLOCK, good=0.5, collapsed=0.1)
    assert (seen, back) == ([0, 1, 2, 3], [None] * 4)


@pytest.mark.parametrize("name", ["linear", "rollback"])
def test_in_the_last_stage_nothing_is_left_of_a_longer_chain(name):
    """Validation and test may hold no chain as long as the longest that is trained on."""
    made = schedule(name, longest=3)
    chain = torch.tensor([2, 3, 5])
    made.removed = 2
    assert made.sample(0, chain, generator()).tolist() == [2, 2, 2]
    made.removed = 3
    assert made.sample(0, chain, generator()).tolist() == [3, 3, 5]


def test_rollback_state_survives_a_checkpoint():
    one = schedule("rollback", stage_steps=BLOCK, good=0.5, slower=3.0)
    one.kept, one.kept_at, one.returned, one.began, one.removed = 2, 20, 1, 40, 4
    one.recent = [0.0, 0.02]
    other = schedule("rollback", stage_steps=BLOCK, good=0.5, slower=3.0)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for each in (one, other):
        assert not each.advance(60)  # thirty steps have not passed
        assert not each.advance(70)
        assert (each.back_to, each.kept_at, each.removed) == (2, 20, 3)
        assert (each.length, each.returned) == (90.0, 2)


def test_replay_shows_earlier_stages_uniformly():
    adaptive = schedule("adaptive", replay=0.5)
    adaptive.removed = 4
    k = adaptive.sample(0, torch.full((40_000,), 10), generator())
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
    linear = schedule("linear", smoothing=0.5, warmup_steps=10, steps_per_epoch=10**6)
    chain = torch.full((1000,), 10)
    assert linear.sample(9, chain, generator()).sum() == 0
    assert linear.sample(10, chain, generator()).sum() > 0
    assert linear.removed == 0


def every_stage(longest=10):
    return EveryStage(OneModelSettings(warmup_steps=1, all_fraction=0.5), longest)


def test_one_model_loses_all_or_uniformly_within_the_longest_chain():
    schedule = every_stage()
    assert schedule.sample(0, torch.full((9,), 2), generator()).sum() == 0  # the warm-up
    k = schedule.sample(1, torch.full((60_000,), 2), generator())
    share = torch.bincount(k) / len(k)  # of the longest chain, so that k tells nothing of its own
    assert share.tolist() == pytest.approx([*[1 / 22] * 10, 12 / 22], abs=0.01)


def test_a_specialist_loses_the_same_tokens_everywhere():
    specialist = FixedStage(OneModelSettings(warmup_steps=2, stage=4), 10)
    chain = torch.tensor([3, 10])
    removed = []
    for step in range(4):
        specialist.advance(step)
        removed.append(specialist.sample(step, chain, generator()).tolist())
    assert removed == [[0, 0], [0, 0], [4, 4], [4, 4]]
    assert (specialist.eval_stage, specialist.test_stages()) == (4, [4])
    at_once = FixedStage(OneModelSettings(warmup_steps=0, stage=10), 10)
    assert at_once.sample(0, chain, generator()).tolist() == [10, 10]  # the whole chain
    with pytest.raises(ConfigError, match=r"removal\.stage=99: the longest chain .* has 10"):
        FixedStage(OneModelSettings(stage=99), 10)
    config = RunConfig().override({"method": "one_model", "removal.stage": 4})
    assert type(config.spec.make_schedule(config, 10)) is FixedStage


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep_positions": False}, "needs removal.keep_positions=true"),
        ({"keep_positions": False, "side": "right"}, "from the left alone"),
        ({"keep_positions": False, "step_end": "."}, "icot_si removes steps"),
        ({"step_end": "."}, "icot_si removes steps"),
    ],
)
def test_one_model_for_all_stages_must_be_told_the_stage(settings, message):
    with pytest.raises(ConfigError, match=message):
        OneModelSettings(**settings)
    if not settings.get("keep_positions", True):
        OneModelSettings(stage=3, **settings)  # a specialist need not be told


def test_explicit_and_no_cot_are_the_two_ends():
    chain = torch.tensor([3, 5])
    assert NoRemoval(5).sample(0, chain, generator()).tolist() == [0, 0]
    assert FullRemoval(5).sample(0, chain, generator()).tolist() == [5, 5]
    explicit, bare = (RunConfig().override(method=name) for name in ("explicit_cot", "no_cot"))
    assert type(explicit.spec.make_schedule(explicit, 5)) is NoRemoval
    assert type(bare.spec.make_schedule(bare, 5)) is FullRemoval
    assert (NoRemoval(5).eval_stage, NoRemoval(5).test_stages()) == (0, [0])
    assert (FullRemoval(5).eval_stage, FullRemoval(5).test_stages()) == (5, [5])


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_config_makes_the_schedule_it_names(name):
    config = RunConfig().override({"removal.schedule": name})
    made = config.spec.make_schedule(config, 7)
    assert type(made) is SCHEDULES[name]
    assert made.longest == 7
    assert config.spec.schedule_name(config) == made.name == name


@pytest.mark.parametrize(
    ("name", "settings", "steps"),
    [
        ("linear", {"pace": 8, "steps_per_epoch": 100}, 60),
        ("linear", {"pace": 3, "steps_per_epoch": 2, "warmup_steps": 5}, 12),
        ("linear", {"pace": 1, "steps_per_epoch": 1, "remove_all_at": 4}, 9),
        ("geometric", {"steps_per_chunk": 2}, 10),
        ("geometric", {"steps_per_chunk": 3, "warmup_steps": 4}, 20),
    ],
)
def test_planned_stages_are_those_that_a_run_goes_through(name, settings, steps):
    seen = removed_by_step(steps, name, **settings)
    first = [0, *(step for step in range(1, steps) if seen[step] != seen[step - 1])]
    planned = schedule(name, **settings).stages(steps)
    assert planned == [(step, seen[step]) for step in first]


@pytest.mark.parametrize("made", [schedule("adaptive"), schedule("rollback"), every_stage()])
def test_what_steps_alone_do_not_decide_is_not_planned(made):
    assert made.stages(50) == []
    assert made.test_stages() == list(range(11))


def test_a_run_that_is_too_short_for_its_chain_says_how_long_it_must_be():
    made = schedule("linear", warmup_steps=5, steps_per_epoch=10, pace=1.0)
    assert made.left_by(105, "tokens") == (
        "it ends with 9 of 10 tokens removed: all are from train.steps=106 on"
    )
    assert made.left_by(106, "tokens") == ""
    assert made.stages(106)[-1] == (105, 10)
    assert schedule("adaptive").left_by(3, "tokens") == ""  # accuracy decides
    slow = schedule("linear", steps_per_epoch=10**9, pace=1.0)
    assert slow.left_by(50, "steps") == "it ends with 0 of 10 steps removed"


def test_some_examples_must_be_at_the_stage_that_is_judged():
    with pytest.raises(ConfigError, match=r"removal\.replay must be at most 0\.99, got 1"):
        schedule("adaptive", replay=1.0)


def test_a_schedule_refuses_settings_out_of_range():
    with pytest.raises(ConfigError, match=r"removal\.threshold must be at most 1, got 2"):
        schedule("adaptive", threshold=2)
    with pytest.raises(ConfigError, match=r"removal\.smoothing must be at least 1e-06, got 0"):
        schedule("linear", smoothing=0)
