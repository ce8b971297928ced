"""One run in two processes: the numbers of one process, also after it was killed.

The processes are connected by gloo, as `accelerate launch` connects those of machines without GPUs.
"""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from icotlib import experiments
from icotlib.config import RunConfig, TrainConfig, to_dict
from icotlib.errors import ConfigError, StoppedError
from icotlib.methods.micro_batches import length_groups
from icotlib.runs import Run
from icotlib.training import devices
from icotlib.training.trainer import Trainer, train
from tests.helpers import TINY, TINY_SIZES
from tests.test_training import TIMING, wait_for

FP32 = {"train.precision": "fp32"}
#: Kept positions, groups by length, accumulation, and stages that accuracy alone decides on.
ADAPTIVE = {
    "data.task": "parity-4",
    "data.valid_examples": 4,
    "data.test_examples": 4,
    "method": "icot_si",
    "removal.schedule": "adaptive",
    "removal.threshold": 0.45,
    "removal.window": 3,
    "removal.smoothing": 1.0,
    "removal.reset_optimizer": True,
    "optim.name": "adamw",
    "optim.lr": 1e-2,
    "train.accumulation": 3,
    "train.steps": 60,
    "train.batch_size": 24,
    "train.eval_every": 20,
}
#: Teacher and student, in parts of a batch.
CODI = {
    "method": "codi",
    "latent.places": 3,
    "optim.name": "adamw",
    "train.accumulation": 3,
}
#: Columns that time decides, and one of text whose median is a column too.
APART = [*TIMING, "explained_by_layer"]
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}

WORKER = """
import json, sys, warnings
warnings.filterwarnings("ignore")
from icotlib.config import from_dict
from icotlib.errors import ConfigError
from icotlib.methods.base import Method
from icotlib.methods.micro_batches import length_groups
from icotlib.training import devices
from icotlib.training.trainer import train

shared = Method.row_groups
Method.row_groups = lambda self, lengths: iter(length_groups(lengths, self.config.train))
try:
    train(from_dict(json.loads(sys.argv[1])))
except ConfigError as error:
    print(error, flush=True)
Method.row_groups = shared
for values in json.loads(sys.argv[2]):
    train(from_dict(values))
"""


def launch(arguments: list[str], runs: Path, **environment: str) -> list[subprocess.Popen]:
    """Two processes of python with these arguments, with what a launcher tells them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ICOT_RUNS": str(runs)}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | shared | environment | {"RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]


def worker(configs: list[RunConfig], refused: RunConfig) -> list[str]:
    """Arguments of python that trains these runs.

    Args:
        refused: tried first, by a method whose micro-batches hold the whole batch.
    """
    return ["-c", WORKER, json.dumps(to_dict(refused)), json.dumps(list(map(to_dict, configs)))]


def end(processes: list[subprocess.Popen]) -> list[str]:
    """What each process has printed, once all have ended well."""
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return printed


def assert_equal_within_rounding(one: Run, other: Run) -> None:
    """Tables and weights of two runs of one config; only the time differs."""
    for left, right in ((one.metrics, other.metrics), (one.stages, other.stages)):
        left, right = (x.drop(columns=APART, errors="ignore") for x in (left, right))
        pd.testing.assert_frame_equal(left, right, rtol=1e-4, atol=1e-6)
    files = sorted(path.relative_to(one.folder) for path in one.folder.rglob("*.safetensors"))
    assert files == sorted(path.relative_to(other.folder) for path in other.folder.rglob("*.safe*"))
    for name in files:
        weights, others = load_file(one.folder / name), load_file(other.folder / name)
        assert weights.keys() == others.keys()
        for key, tensor in weights.items():
            # Adam divides a gradient by its size, also one that is nothing but rounding: that of
            # the keys' biases. Single other weights differ more on some machines (one of 1,024 by
            # 0.0035 on a CPU with AMX).
            torch.testing.assert_close(tensor, others[key], rtol=1e-2, atol=5e-3)
            near = torch.isclose(tensor, others[key], rtol=1e-2, atol=2e-3)
            assert near.float().mean() > 0.99


class KilledError(Exception):
    """Ends training in the middle, without a checkpoint."""


def begin(config: RunConfig, patch: pytest.MonkeyPatch, until: int) -> None:
    """Train in this process, until just after a step."""
    step = Trainer.step

    def stop(self, number):
        if number == until:
            raise KilledError
        step(self, number)

    with patch.context() as inner, contextlib.suppress(KilledError):
        inner.setattr(Trainer, "step", stop)
        train(config)


def alone(config: RunConfig, tmp_path: Path, patch: pytest.MonkeyPatch) -> Run:
    """The run of one process."""
    patch.setenv("ICOT_RUNS", str(tmp_path / "alone"))
    return train(config)


#: All phases of distillation, with a supervised mixture.
KD = FP32 | {
    "train.steps": 6,
    "train.eval_every": 3,
    "data.test_examples": 10,
    "emulator.distill.mixture_supervision": 1.0,
    "emulator.distill.mixture": 0,
    "coupled.distill.mixture": 0,
}


def test_ddp_equals_one_process_and_resumes_with_another_number(tmp_path, monkeypatch):
    together = tmp_path / "together"
    adaptive = RunConfig().override(TINY | FP32 | ADAPTIVE)
    long = {"train.steps": 60, "train.eval_every": 10, "method": "explicit_cot"}
    killed = RunConfig().override(TINY_SIZES | FP32 | long)
    codi = RunConfig().override(TINY_SIZES | FP32 | CODI)
    begun = adaptive.override({"seed": 1, "train.stage_weights": "last"})
    coupled = experiments.icot_kd("smoke", overrides=KD)

    monkeypatch.setenv("ICOT_RUNS", str(together))
    steps = itertools.count(1)
    with pytest.raises(StoppedError):  # between two readings of the losses
        train(begun, should_stop=lambda: next(steps) == 33)
    assert Run.of(begun).history.step.tolist() == [0, 33]
    arguments = worker(
        [adaptive, coupled, codi, begun, killed], refused=adaptive.override({"seed": 2})
    )
    processes = launch(arguments, together)
    reached = Run.of(killed).folder / "checkpoint" / "step-00000020"
    wait_for(reached.exists, lambda: processes[0].poll() is None)
    for process in processes:
        process.send_signal(signal.SIGKILL)
        assert "icot_si' trains in one process only" in process.communicate()[0]
    assert not Run.of(killed).done
    train(killed)

    every = [adaptive, begun, killed, codi, coupled, *coupled.phases.values()]
    runs = [Run.of(config) for config in every]
    assert len(runs[0].stages) > 2
    for config, run in zip(every, runs, strict=True):
        assert_equal_within_rounding(run, alone(config, tmp_path, monkeypatch))


def test_the_command_trains_by_fsdp_in_the_processes_it_is_launched_in(tmp_path, monkeypatch):
    """All phases of distillation, of which one process has begun the first."""
    together = tmp_path / "together"
    settings = KD | {"optim.name": "adamw"}
    coupled = experiments.icot_kd("smoke", overrides=settings)
    monkeypatch.setenv("ICOT_RUNS", str(together))
    begin(coupled.phases["teacher"], monkeypatch, until=4)
    assert not Run.of(coupled.phases["teacher"]).done
    options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    command = ["-m", "icotlib", "train", "icot_kd", "--preset", "smoke", *options]
    main, other = end(launch(command, together, **FSDP))
    assert main.count("step 6/6") == 4
    assert "finished: " in main
    assert other == ""
    every = [*coupled.phases.values(), coupled]
    runs = [Run.of(config) for config in every]
    for config, run in zip(every, runs, strict=True):
        assert_equal_within_rounding(run, alone(config, tmp_path, monkeypatch))


def test_fsdp_refuses_what_needs_whole_matrices():
    sharded = SimpleNamespace(
        distributed_type=DistributedType.FSDP, is_fsdp2=True, device=torch.device("cpu")
    )
    with pytest.raises(ConfigError, match=r"set optim\.name=adamw"):
        devices.check(sharded, RunConfig())
    adamw = RunConfig().override({"optim.name": "adamw"})
    devices.check(sharded, adamw)
    sharded.is_fsdp2 = False
    with pytest.raises(ConfigError, match="--fsdp_version 2"):
        devices.check(sharded, adamw)


def test_gradients_are_those_of_the_config_whatever_the_environment_says(tiny, monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    weight = torch.nn.Parameter(torch.ones(()))
    devices.make_accelerator(tiny).backward(2 * weight)
    assert weight.grad == 2


def test_a_cpu_refuses_fp16():
    one = SimpleNamespace(distributed_type=DistributedType.NO, device=torch.device("cpu"))
    half = RunConfig().override({"train.precision": "fp16"})
    with pytest.raises(ConfigError, match=r"train\.precision=fp32, or bf16"):
        devices.check(one, half)
    one.device = torch.device("cuda")
    devices.check(one, half)


def test_processes_share_every_group_in_as_many_parts():
    lengths = torch.tensor([5, 1, 9, 2, 7, 3, 8, 4, 6, 5])
    for parts, processes, wanted in ((1, 2, 2), (4, 2, 4), (3, 4, 2)):
        config = TrainConfig(length_groups=2, accumulation=parts)
        shares = [length_groups(lengths, config, n, processes) for n in range(processes)]
        assert {len(share) for share in shares} == {wanted}
        rows = torch.cat([part for share in shares for part in share])
        assert sorted(rows.tolist()) == list(range(10))
        largest = max(len(part) for part in length_groups(lengths, config))
        assert max(len(part) for share in shares for part in share) <= largest
    with pytest.raises(ConfigError, match=r"6 processes cannot share a group of 5.*batch_size"):
        length_groups(lengths, TrainConfig(length_groups=2), 0, 6)
