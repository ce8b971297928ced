"""The benchmark: what takes turns does the same work, and every number is measured."""

import numpy as np
import pandas as pd
import pytest
import torch

from icotlib import benchmark
from icotlib.cli import main
from icotlib.runs import Run
from icotlib.training import Trainer


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
