"""The benchmark: what takes turns does the same work, and every number is measured."""

import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from icotlib.cli import main
from icotlib.errors import ConfigError, RunError
from icotlib.reporting import benchmark
from icotlib.runs import Run
from icotlib.system import memory
from icotlib.system.isolated import IsolatedProcess
from icotlib.training.trainer import Trainer


@pytest.mark.parametrize("method", ["explicit_cot", "no_cot"])
def test_the_reference_loop_computes_our_loss(method, tmp_path):
    config = benchmark.configs("smoke")[method].override({"removal.keep_positions": False})
    ours = Trainer(config, Run(tmp_path / "run"))
    reference = benchmark.Reference(config)
    reference.model.load_state_dict(ours.model.state_dict())
    bare = benchmark.Bare(ours, 1)
    inputs = bare.batches[0]
    with torch.no_grad():
        parts = [
            benchmark.token_loss(benchmark.logits_of(ours.model, part), part) / learned
            for part, learned in inputs
        ]
    ours.step(0)
    loss = reference.step(0)
    assert ours.losses[0].item() == pytest.approx(loss, rel=1e-4)
    assert sum(parts).item() == pytest.approx(loss, rel=1e-4)


def test_every_number_is_measured(tmp_path, capsys):
    command = ["benchmark", "--size", "smoke", "--rounds", "1", "--steps", "1"]
    command += ["--precision", "fp32", "int8", "--out", str(tmp_path / "table.csv")]
    pd.DataFrame([{"what": "measured before"}]).to_csv(tmp_path / "table.csv", index=False)
    assert main(command) == 0
    assert "one by one" in capsys.readouterr().out

    table = pd.read_csv(tmp_path / "table.csv")
    assert table.what[0] == "measured before"
    table = table[1:]
    assert len(table) == 14
    training = table[table.what == "training"]
    assert set(training.method) == set(benchmark.METHODS)
    numbers = ["ours", "reference", "ratio", "bare", "to_bare", "tokens_per_second", "peak_mib"]
    assert (training[numbers] > 0).all(axis=None)
    assert (training.utilisation > 0).all()
    assert set(training.precision) == {"fp32", "int8"}
    assert np.allclose(table.ratio, table.ours / table.reference)


def filling(mib):
    """A contestant that fills so much memory; `fail` raises an error."""

    def fill(step):
        torch.ones(mib * 2**18)

    def fail():
        raise ConfigError("nobody can")

    return {"fill": fill, "fail": fail, "end": lambda: os._exit(1)}


def test_contestants_apart_have_a_peak_of_their_own():
    with IsolatedProcess() as one, IsolatedProcess() as other:
        one.enter(filling, 200)
        other.enter(filling, 20)
        peaks = [contestant.turn("fill", 1)[1] for contestant in (one, other)]
        assert 150 < peaks[0] - peaks[1] < 250
        one.enter(filling, 20)  # those before are forgotten, and so is their memory
        assert one.turn("fill", 1)[1] < peaks[0] - 100


def test_what_goes_wrong_apart_is_told_and_nobody_stays():
    with IsolatedProcess() as one:
        one.enter(filling, 1)
        with pytest.raises(ConfigError, match="nobody can"):
            one.ask("fail")
        one.turn("fill", 1)
        processes = list(one.pool._processes.values())
        with pytest.raises(RunError, match="was ended from outside"):
            one.ask("end")
    for process in processes:
        process.join(10)
        assert not process.is_alive()


def test_memory_is_kept_for_a_while_and_given_back():
    """A tensor freed within stays with the process; afterwards it goes back to the system."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("keeping memory is done on glibc alone")
    status = Path("/proc/self/statm")
    with memory.retaining_freed_memory():
        torch.ones(100 * 2**18)  # 100 MiB
        kept = int(status.read_text().split()[1]) * 4 / 1024
    after = int(status.read_text().split()[1]) * 4 / 1024
    assert kept - after > 50
