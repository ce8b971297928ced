"""No CoT with an auxiliary loss on running sums."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from icotlib.config import RunConfig
from icotlib.data.run_data import RunData
from icotlib.errors import ConfigError
from icotlib.evaluation.stage_model import StageModel
from icotlib.methods.running_sums import (
    HEAD,
    RunningSums,
    RunningSumsHead,
    answer_positions,
    running_sum_moments,
    running_sums,
)
from icotlib.runs import Run
from icotlib.tasks import get_task
from icotlib.training.trainer import train
from tests.helpers import TINY_SIZES

#: 3719 * 84 = 312396: c_0 = 9*4, c_1 = 1*4 + 9*8 + 3, c_2 = 7*4 + 1*8 + 7, and so on.
SUMS = [36, 79, 43, 72, 31, 3]


def config_of(**more) -> RunConfig:
    return RunConfig().override(TINY_SIZES | {"method": "running_sums"} | more)


def method_of(config: RunConfig) -> RunningSums:
    torch.manual_seed(0)
    return RunningSums(config, RunData(config), Accelerator(cpu=True))


def test_the_sums_of_a_question_are_those_of_written_multiplication():
    task = get_task("mult-4x2")
    assert running_sums(task, task.parse_question("3719 * 84")).tolist() == [SUMS]
    # The last digit of each is that of the answer.
    assert [c % 10 for c in SUMS] == [int(digit) for digit in reversed("312396")]


@pytest.mark.parametrize("name", ["mult-4x2", "mult-3x3-any", "mult-1x2"])
def test_questions_are_read_back_from_their_symbols(name):
    task = get_task(name)
    questions = task.sample(np.random.default_rng(1), 50)
    asked = task.render(questions, np.random.default_rng(2)).question
    np.testing.assert_array_equal(task.entries(asked), questions)
    with pytest.raises(ConfigError, match="does not read its questions back"):
        get_task("parity-8").entries(asked)


def test_each_sum_is_asked_where_its_digit_is_predicted():
    config = config_of(**{"data.task": "mult-4x2", "data.train_examples": 40})
    method = method_of(config)
    batch = method.run_data.batches(0)
    (part,) = method.parts(0, batch, torch.Generator())
    at = answer_positions(part.inputs, 6)
    predicted = part.inputs.labels.gather(1, at)
    tokens = method.run_data.layout.tokenizer.convert_ids_to_tokens(predicted.flatten().tolist())
    digits = np.array(tokens, dtype=int).reshape(predicted.shape)
    mean, spread = running_sum_moments(method.task)
    sums = (method.sums.numpy() * spread + mean).round().astype(int)
    np.testing.assert_array_equal(sums % 10, digits)


def test_the_loss_is_the_mean_squared_error_of_scaled_sums():
    plain, with_sums = (
        method_of(config_of(**{"auxiliary.weight": weight})) for weight in (0.0, 0.5)
    )
    batch = plain.run_data.batches(0)
    cross, both = (
        sum(part.loss.item() for part in method.micro_batches(0, batch, torch.Generator()))
        for method in (plain, with_sums)
    )
    error = (with_sums.sums**2).mean().item()  # the head begins at zero
    assert both - cross == pytest.approx(0.5 * error, rel=1e-4)
    assert error == pytest.approx(1, abs=0.5)


def test_the_control_asks_for_the_sums_of_another_question():
    own, shuffled = (
        method_of(config_of(**{"auxiliary.target": target})) for target in ("own", "shuffled")
    )
    batch = own.run_data.batches(0)
    for method in (own, shuffled):
        list(method.micro_batches(0, batch, torch.Generator()))
    torch.testing.assert_close(shuffled.sums, own.sums.roll(1, dims=0))
    assert not torch.equal(shuffled.sums, own.sums)


def test_the_layer_below_the_reading_learns_from_the_sums_and_the_one_above_does_not():
    method = method_of(config_of(**{"auxiliary.layer": 1, "auxiliary.weight": 1000.0}))
    torch.nn.init.normal_(method.head.weight)
    lowest, highest = method.model.transformer.h
    found = []
    for weight in (1000.0, 0.0):
        object.__setattr__(method.config.auxiliary, "weight", weight)
        method.model.zero_grad()
        for part in method.micro_batches(0, method.run_data.batches(0), torch.Generator()):
            part.loss.backward()
        found.append([x.mlp.c_fc.weight.grad.clone() for x in (lowest, highest)])
    (low, high), (low_plain, high_plain) = found
    assert not torch.allclose(low, low_plain)
    torch.testing.assert_close(high, high_plain)


def test_a_head_gives_one_number_for_each_place():
    head = RunningSumsHead(3, np.array([[10.0, 20.0], [2.0, 5.0]]))
    assert head.scaled(torch.tensor([[14, 10]])).tolist() == [[2.0, -2.0]]
    with torch.no_grad():
        head.weight[:, :, 0] = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
        head.bias += 1
    assert head(torch.tensor([[[2.0, 3, 4], [5, 6, 7]]])).tolist() == [[3.0, 7.0]]


# --- runs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(tmp_path_factory.mktemp("running_sums")))
        yield train(config_of())


def test_the_head_is_dropped(trained):
    model = StageModel.of(trained)
    assert not hasattr(model.model, HEAD)
    assert sum(x.numel() for x in model.model.parameters()) == trained.totals["parameters"]
    assert model.evaluate().accuracy == trained.stages.accuracy.iloc[-1]


def test_without_weight_it_is_no_cot(runs_folder):
    changes = {"auxiliary.weight": 0.0}
    ours = train(config_of(**changes))
    theirs = train(RunConfig().override(TINY_SIZES | {"method": "no_cot"}))
    assert ours.metrics.loss.tolist() == theirs.metrics.loss.tolist()
    assert ours.totals["parameters"] == theirs.totals["parameters"]


def test_a_stopped_run_ends_with_the_numbers_of_an_uninterrupted_one(
    trained, tmp_path, monkeypatch
):
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path))
    asked = iter([False] * 5 + [True])
    with pytest.raises(Exception, match="stopped at step 6"):
        train(config_of(), lambda: next(asked))
    run = train(config_of())
    weights = "model/model.safetensors"
    assert (run.folder / weights).read_bytes() == (trained.folder / weights).read_bytes()


def test_gradients_do_not_depend_on_groups_or_accumulation(runs_folder):
    losses = []
    for parts in (1, 4):
        cut = {"train.accumulation": parts, "optim.name": "adamw"}
        losses.append(train(config_of(**cut)).metrics.loss.tolist())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data.task": "parity-8"}, "a generated task with running sums"),
        ({"auxiliary.layer": 3}, "must be at most model.layers"),
        ({"model.pretrained": "some/model"}, "set model.pretrained=null"),
    ],
)
def test_what_it_cannot_learn_from_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        config_of(**changes)
