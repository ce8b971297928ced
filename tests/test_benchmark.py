"""The benchmark: the loops that are compared do the same work, and every number is measured."""

import os
import platform
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from icotlib.benchmarks import speed
from icotlib.benchmarks.loops import Bare, Reference, our_answers
from icotlib.cli import main
from icotlib.errors import ConfigError, RunError
from icotlib.evaluation import scoring
from icotlib.evaluation.generation import logits_of
from icotlib.methods.micro_batches import token_loss
from icotlib.runs import Run
from icotlib.system import memory
from icotlib.system.devices import best_device
from icotlib.system.isolated import IsolatedProcess
from icotlib.tasks import get_task
from icotlib.training.trainer import Trainer
from tests.candidates import filling


@pytest.mark.parametrize("method", ["explicit_cot", "no_cot"])
def test_the_reference_loop_computes_our_loss(method, tmp_path):
    config = speed.configs("smoke")[method]
    if method == "no_cot":  # the reference counts positions from zero
        config = config.override({"removal.keep_positions": False})
    ours = Trainer(config, Run(tmp_path / "run"))
    reference = Reference(config)
    reference.model.load_state_dict(ours.model.state_dict())
    with torch.no_grad():
        bare = [
            token_loss(logits_of(ours.model, part.inputs), part.inputs) / part.learned
            for part in Bare(ours, 1).batches[0]
        ]
    ours.step(0)
    reference.model.eval()  # no dropout
    loss = reference.step(0)
    assert ours.losses.unread[0].item() == pytest.approx(loss, rel=1e-4)
    assert sum(bare).item() == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("right", [True, False])
def test_the_final_test_is_measured_of_a_right_and_of_a_wrong_model(right, tmp_path, monkeypatch):
    """Where the model is right nothing is decoded, and where it is wrong little is checked."""
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path))
    checked, decoded = [], []
    reproduced, generate = scoring.reproduced, scoring.generate

    def checking(model, batch, *more, **named):
        checked.append(len(batch))
        return reproduced(model, batch, *more, **named)

    def decoding(model, layout, batch, *more):
        decoded.append((len(batch), more[2]))
        return generate(model, layout, batch, *more)

    monkeypatch.setattr(scoring, "reproduced", checking)
    monkeypatch.setattr(scoring, "generate", decoding)
    loops = our_answers(speed.configs("smoke")["explicit_cot"])
    loops["all right" if right else "all wrong"](0)
    _, examples = loops["count"]()
    assert examples == 64
    assert checked == ([16, 48] if right else [16])
    assert decoded == ([] if right else [(64, 12)])


def test_a_benchmark_can_have_gpt2s_vocabulary():
    config = speed.configs("gpt2")["explicit_cot"]
    assert config.model.options == {"vocab_size": 50_257}


def test_every_number_is_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed, "WARM_UP", 0)
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
    assert set(training.method) == set(speed.MEASURED)
    assert set(training.precision) == {"fp32", "int8"}
    assert np.allclose(table.ratio, table.ours / table.reference)
    assert np.allclose(training.to_bare, training.ours / training.bare)
    assert training.utilisation.between(0, 1, inclusive="neither").all()
    # On a CPU the whole process, which has imported torch and transformers, and little besides.
    peaks, least = table[["peak_mib", "reference_peak_mib"]], 100 * (best_device().type == "cpu")
    assert ((peaks > least) & (peaks < 10_000)).all(axis=None)
    per_example = (training.tokens_per_second / training.ours).groupby(training.method).mean()
    question, chain, answer = get_task("mult-1x2").widths
    explicit = question + chain + answer + len(["<sep>", "<sep>", "####", "<eos>"])
    assert per_example.explicit_cot == pytest.approx(explicit)
    assert per_example.no_cot == pytest.approx(explicit - chain)
    assert explicit - chain < per_example.one_model < explicit


def test_isolated_processes_have_a_peak_of_their_own():
    with IsolatedProcess() as one, IsolatedProcess() as other:
        one.enter(filling, 200)
        other.enter(filling, 20)
        peaks = [process.time_steps("fill", 1)[1] for process in (one, other)]
        assert 150 < peaks[0] - peaks[1] < 250
        one.enter(filling, 20)  # earlier candidates are forgotten, and so is their memory
        assert one.time_steps("fill", 1)[1] < peaks[0] - 100


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_isolated_process_reports_errors_and_ends_with_its_block():
    with IsolatedProcess() as one:
        one.enter(filling, 1)
        with pytest.raises(ConfigError, match="always fails"):
            one.ask("fail")
        one.time_steps("fill", 1)
        pid = one.ask("pid")
        assert is_alive(pid)
    assert not is_alive(pid)
    with IsolatedProcess() as one:
        one.enter(filling, 1)
        pid = one.ask("pid")
        with pytest.raises(RunError, match="was killed from outside, perhaps for lack of memory"):
            one.ask("end")
    assert not is_alive(pid)


def test_freed_memory_is_retained_for_a_while_and_released():
    """A tensor freed within stays with the process; afterwards it goes back to the system."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("freed memory is retained on glibc alone")
    status = Path("/proc/self/statm")
    with memory.retaining_freed_memory():
        torch.ones(100 * 2**18)  # 100 MiB
        retained = int(status.read_text().split()[1]) * 4 / 1024
    after = int(status.read_text().split()[1]) * 4 / 1024
    assert retained - after > 50


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "train.steps=3"], "--set say which run to train: add --plan NAME"),
        (["--seed", "0"], "--seed say which run to train"),
        (["--plan", "icot_si", "--costs"], "leave out --costs"),
        (["--plan", "icot_si", "--size", "fast", "--rounds", "2"], "leave out --size, --rounds"),
        (["--costs", "--precision", "fp32", "bf16"], "--costs measures at one precision"),
        (["--out", "."], "is a folder"),
        (["--costs", "--out", "file.csv"], "cannot be a folder"),
        (["--out", "file.csv/table.csv"], "cannot be a folder"),
    ],
)
def test_what_a_benchmark_could_not_do_is_refused_before_it_measures(
    words, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.csv").write_text("")
    for module, name in (("speed", "benchmark"), ("costs", "costs")):
        monkeypatch.setattr(f"icotlib.benchmarks.{module}.{name}", lambda *given: 1 / 0)
    assert main(["benchmark", *words]) == 1
    assert said in capsys.readouterr().err


def test_the_folder_of_a_table_is_made_before_anything_is_measured(tmp_path, monkeypatch):
    made = pd.DataFrame([{"what": "training", "device": "a", "commit": "b"}])

    def measured(*given):
        assert (tmp_path / "new" / "deep").is_dir()
        return made

    monkeypatch.setattr("icotlib.benchmarks.speed.benchmark", measured)
    file = tmp_path / "new" / "deep" / "t.csv"
    for _ in range(2):
        assert main(["benchmark", "--out", str(file)]) == 0
    assert pd.read_csv(file).what.tolist() == ["training"] * 2


def test_a_record_that_could_not_be_kept_is_not_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("icotlib.running.jobs.ensure", lambda *given: 1 / 0)
    assert main(["record", "--out", str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err
