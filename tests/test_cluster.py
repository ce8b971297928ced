"""Jobs on Dask: in order, each once, through killed workers, restarts and interrupts."""

import http.server
import json
import multiprocessing
import os
import platform
import resource
import signal
import subprocess
import sys
import threading
import time

import dask
import pandas as pd
import psutil
import pytest
import torch
from dask.utils import parse_timedelta
from distributed import Client

from icotlib import experiments, paths
from icotlib.cli import main
from icotlib.config import RunConfig, to_dict
from icotlib.errors import ClusterError, RunError, RunWarning, StoppedError
from icotlib.running import cluster, jobs, progress, worker
from icotlib.running.forking import start_method
from icotlib.running.jobs import ensure, run_jobs
from icotlib.runs import Run
from icotlib.system.processes import environment
from icotlib.training.trainer import train
from tests.clusters import job, log, new_pages
from tests.helpers import TINY, wait_until


@pytest.fixture(scope="module")
def two_workers():
    """A running cluster of two workers, as `--cluster` names one."""
    with cluster.own_cluster(2, dashboard=False) as made:
        yield made.scheduler_address


@pytest.fixture
def shared(two_workers, runs_folder, monkeypatch):
    """An empty folder of runs, and the cluster of two workers."""
    monkeypatch.setenv("ICOT_CLUSTER", two_workers)
    return runs_folder


@pytest.fixture(scope="module")
def slow():
    """A run of some seconds, which writes no checkpoint by itself before it is asked to stop."""
    return RunConfig().override(TINY | {"train.steps": 400, "train.eval_every": 400})


def same_numbers(run, other):
    """Whether two runs ended with the same metrics, test results and weights."""
    timing = ["seconds"]
    pd.testing.assert_frame_equal(
        run.metrics.drop(columns=timing), other.metrics.drop(columns=timing)
    )
    pd.testing.assert_frame_equal(
        run.stages.drop(columns="train_seconds"), other.stages.drop(columns="train_seconds")
    )
    weights = "model/model.safetensors"
    assert (run.folder / weights).read_bytes() == (other.folder / weights).read_bytes()


@pytest.fixture(scope="module")
def undisturbed(slow, tmp_path_factory):
    """The slow run, trained in this process into a folder of its own."""
    with environment(ICOT_RUNS=str(tmp_path_factory.mktemp("undisturbed"))):
        return train(slow)


# --- order and failures ------------------------------------------------------------------------


def test_a_free_worker_takes_the_first_job_that_can_begin(runs_folder, tmp_path):
    """Jobs that others need must not wait behind those that come later in the list."""
    listed = [
        job(tmp_path, "teacher"),
        job(tmp_path, "student", "teacher"),
        job(tmp_path, "coupled", "student"),
        job(tmp_path, "notebook", "coupled", "stepwise"),
        job(tmp_path, "stepwise"),
        job(tmp_path, "data"),
    ]
    outcomes = run_jobs(listed, workers=1)
    assert log(tmp_path) == ["teacher", "student", "coupled", "stepwise", "notebook", "data"]
    assert {outcome.job.name: outcome.result for outcome in outcomes}["data"] == "DATA"


def test_a_long_job_keeps_no_other_from_a_free_worker(shared, tmp_path):
    end = tmp_path / "end"
    listed = [
        job(tmp_path, "long", until=str(end)),
        *(job(tmp_path, f"short-{number}") for number in range(8)),
        job(tmp_path, "last", *(f"short-{number}" for number in range(8)), error=None),
    ]

    def on_end(outcome):
        if outcome.job.name == "last":
            end.touch()  # the long job is still running: eight others went past it

    run_jobs(listed, on_end=on_end)
    assert end.exists()


def test_a_failure_stops_only_the_jobs_that_need_it(shared, tmp_path):
    listed = [
        job(tmp_path, "teacher", error="on purpose"),
        job(tmp_path, "independent"),
        job(tmp_path, "student", "teacher"),
        job(tmp_path, "coupled", "student"),
    ]
    ended = {}
    outcomes = run_jobs(listed, on_end=lambda outcome: ended.update({outcome.job.name: outcome}))
    assert sorted(log(tmp_path)) == ["independent", "teacher"]
    assert ended["independent"].result == "INDEPENDENT"
    assert ended["student"].kept_by == "teacher"
    assert ended["coupled"].kept_by == "student"
    with pytest.raises(ValueError, match="on purpose"):
        jobs.raise_failures(outcomes)


def test_evaluations_are_watched_in_a_live_session_only(shared, tiny, monkeypatch):
    for live, seed in (("1", 0), ("0", 1)):
        monkeypatch.setenv("ICOT_LIVE", live)
        watched = []
        ensure(tiny.override(seed=seed), watch=watched.append)
        assert bool(watched) == (live == "1")


# --- several clients ---------------------------------------------------------------------------


def test_two_clients_that_ask_for_one_run_train_it_once(shared, slow):
    threads = [threading.Thread(target=ensure, args=(slow,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Run.of(slow).history.event.tolist() == ["started", "finished"]


def test_a_run_goes_on_while_another_client_wants_it(shared, slow):
    """The first client is interrupted; the second still waits."""
    interrupted = threading.Event()
    first = threading.Thread(target=ask_until, args=(slow, interrupted))
    second = threading.Thread(target=ensure, args=(slow,))
    first.start()
    wait_until(lambda: Run.of(slow).progress.get("step", 0) > 0)
    second.start()
    with Client(os.environ[cluster.CLUSTER]) as client:
        wait_until(lambda: client.run_on_scheduler(most_that_want, Run.of(slow).name) == 2)
    assert not Run.of(slow).done
    interrupted.set()
    first.join()
    second.join()
    assert Run.of(slow).history.event.tolist() == ["started", "finished"]


def most_that_want(name, dask_scheduler):
    """The clients that wait for a run."""
    tasks = [task for key, task in dask_scheduler.tasks.items() if name in str(key)]
    return max((len(task.who_wants) for task in tasks), default=0)


def ask_until(config, event):
    """Ask for a run, and give up once the event is set."""
    bars = progress.ProgressBars([config])
    with cluster.connect(1) as connection:
        asked = jobs._Jobs(connection, jobs.trainings([config]))
        asked.submit()
        event.wait()
        asked.stop(bars)


def test_a_run_that_no_client_wants_writes_a_checkpoint(shared, slow, undisturbed):
    interrupted = threading.Event()
    client = threading.Thread(target=ask_until, args=(slow, interrupted))
    client.start()
    run = Run.of(slow)
    wait_until(lambda: run.progress.get("step", 0) > 0)
    interrupted.set()
    client.join()
    wait_until(lambda: not run.in_training)
    assert run.history.event.tolist() == ["started", "stopped"]
    ensure(slow)
    assert run.history.event.tolist() == ["started", "stopped", "resumed", "finished"]
    same_numbers(run, undisturbed)


# --- stops and kills ---------------------------------------------------------------------------


def test_a_stopped_run_goes_on_to_the_same_numbers(shared, slow, undisturbed):
    run = Run.of(slow)
    failed = []
    client = threading.Thread(target=lambda: failed.append(error_of(slow)))
    client.start()
    wait_until(lambda: run.progress.get("step", 0) > 0)
    run.request_stop()
    client.join()
    assert isinstance(failed[0], StoppedError)
    assert "stopped at step" in str(failed[0])
    reached = run.history.step.iloc[-1]
    assert 0 < reached < slow.train.steps
    ensure(slow)
    assert run.history.step.tolist() == [0, reached, reached, slow.train.steps]
    same_numbers(run, undisturbed)


def test_the_command_stops_what_is_in_training_and_nothing_else(shared, slow, tiny, capsys):
    finished, config = train(tiny), slow.override(seed=1)
    run = Run.of(config)
    assert main(["stop", "one_model"]) == 1
    assert "no run is in training" in capsys.readouterr().err
    client = threading.Thread(target=error_of, args=(config,))
    client.start()
    wait_until(lambda: run.progress.get("step", 0) > 0)
    assert main(["stop", "one_model"]) == 0
    client.join()
    assert capsys.readouterr().out.count(" is asked to stop") == 1
    assert run.history.event.tolist() == ["started", "stopped"]
    assert not finished.stop_requested


def test_a_stopped_run_is_trained_for_another_client_though_the_first_goes_on(shared, slow, tiny):
    """The first client has other runs, and keeps what it has asked for."""
    long = tiny.override({"train.steps": 100_000, "train.eval_every": 100_000})
    run, ended = Run.of(slow), []
    with cluster.connect(1) as connection:
        asked = jobs._Jobs(connection, jobs.trainings([slow, long]))
        asked.submit()
        wait_until(lambda: run.progress.get("step", 0) > 0)
        run.request_stop()
        wait_until(lambda: ended.extend(asked.ended()) or bool(ended))
        assert isinstance(ended[0].error, StoppedError)
        ensure(slow)
        asked.stop(progress.ProgressBars([]))
    assert run.done


def error_of(config):
    try:
        ensure(config)
    except Exception as error:
        return error
    return None


def test_a_killed_worker_is_replaced_and_its_run_goes_on(shared, tiny, tmp_path, monkeypatch):
    config = tiny.override({"train.steps": 400, "train.eval_every": 100})
    run = Run.of(config)
    client = threading.Thread(target=ensure, args=(config,))
    client.start()
    wait_until(lambda: any((run.folder / "checkpoint").glob("step-*")))
    os.kill(int(run.history.process.iloc[0]), signal.SIGKILL)
    client.join()
    assert run.history.event.tolist() == ["started", "resumed", "finished"]
    assert run.history.process.nunique() == 2
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "undisturbed"))
    same_numbers(run, train(config))


def test_a_job_whose_worker_dies_is_given_to_another(runs_folder, tmp_path):
    outcomes = run_jobs([job(tmp_path, "dies", kill="once"), job(tmp_path, "other")], workers=1)
    assert not any(outcome.failed for outcome in outcomes)
    assert log(tmp_path).count("dies") == 2


def test_a_job_that_kills_every_worker_is_given_up(runs_folder, tmp_path):
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        listed = [job(tmp_path, "dies", kill="always"), job(tmp_path, "other")]
        outcomes = run_jobs(listed, workers=1)
    assert [outcome.job.name for outcome in outcomes if outcome.failed] == ["dies"]
    with pytest.raises(RunError, match="every process that did dies was killed from outside"):
        jobs.raise_failures(outcomes)
    assert log(tmp_path).count("dies") == 2


ASK = """
import json, sys
from icotlib.config import from_dict
from icotlib.running.jobs import ensure

if __name__ == "__main__":
    ensure(from_dict(json.loads(sys.argv[1])))
"""


@pytest.fixture
def ask(tmp_path):
    """Start a process that asks for a run, with workers of its own."""
    (tmp_path / "ask.py").write_text(ASK)

    def start(config):
        command = [sys.executable, str(tmp_path / "ask.py"), json.dumps(to_dict(config))]
        return subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)

    return start


def test_workers_end_with_the_process_that_asked(runs_folder, slow, ask):
    """Otherwise the runs of a killed notebook would go on training unnoticed."""
    config = slow.override({"train.steps": 100_000, "train.eval_every": 100_000})
    run = Run.of(config)
    process = ask(config)
    wait_until(lambda: run.progress.get("step", 0) > 0)
    process.kill()
    process.communicate()
    wait_until(lambda: not run.in_training)
    reached = run.progress["step"]
    time.sleep(0.5)
    assert run.progress["step"] == reached < 100_000


@pytest.mark.parametrize(
    ("kill", "kind"),
    [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM), (os.killpg, signal.SIGTERM)],
)
def test_an_interrupt_writes_a_checkpoint(
    runs_folder, slow, ask, undisturbed, two_workers, monkeypatch, kill, kind
):
    """As Ctrl-C in a terminal, which reaches the workers too; and SIGTERM, as `kill` sends it, or
    `timeout` and schedulers, to the whole group."""
    run = Run.of(slow)
    process = ask(slow)
    wait_until(lambda: run.progress.get("step", 0) > 0)
    kill(process.pid, kind)
    _, said = process.communicate()
    assert b"Interrupted: runs in training were stopped at a checkpoint" in said
    assert run.history.event.tolist() == ["started", "stopped"]
    monkeypatch.setenv("ICOT_CLUSTER", two_workers)
    ensure(slow)
    same_numbers(run, undisturbed)


def test_the_process_that_workers_are_copies_of_outlives_a_signal_to_the_group():
    """Dask would take its copies for ended, and end them before they had written a checkpoint."""
    if start_method() != "forkserver":
        pytest.skip("workers are no copies here: each imports for itself")
    assert handler_in_a_copy() == signal.SIG_DFL
    children = psutil.Process().children()
    [server] = [one for one in children if any("forkserver" in word for word in one.cmdline())]
    for kind in (signal.SIGTERM, signal.SIGHUP):
        server.send_signal(kind)
    assert handler_in_a_copy() == signal.SIG_DFL
    assert server in psutil.Process().children()


def handler_in_a_copy():
    """What a copy does on SIGTERM."""
    context = multiprocessing.get_context("forkserver")
    handlers = context.SimpleQueue()
    asked = context.Process(target=tell, args=(handlers,))
    asked.start()
    asked.join()
    return handlers.get()


def tell(handlers):
    handlers.put(signal.getsignal(signal.SIGTERM))


def test_workers_are_waited_for_when_they_are_nobodys_children(runs_folder, slow, monkeypatch):
    """As after a signal to the whole group, which ends the process that they are copies of."""
    run = Run.of(slow)
    with cluster.connect(1) as connection:
        asked = jobs._Jobs(connection, jobs.trainings([slow]))
        asked.submit()
        wait_until(lambda: asked.ended(0.1) or run.progress.get("step", 0) > 0)
        monkeypatch.setattr(jobs.psutil.Process, "children", lambda self, recursive: [])
        assert asked.stop(progress.ProgressBars([slow])) == []
    assert run.history.event.tolist() == ["started", "stopped"]


# --- clusters that cannot be used --------------------------------------------------------------


def test_a_worker_that_does_not_see_the_folder_of_runs_says_so(shared, tiny, monkeypatch):
    setup = worker.Setup.here()
    hidden = worker.Setup("/nowhere/runs", setup.folder_id)
    monkeypatch.setattr(worker.Setup, "here", lambda: hidden)
    with pytest.raises(ClusterError, match=r"does not see the folder of runs.*/nowhere/runs"):
        ensure(tiny)


def test_a_worker_refuses_files_that_are_not_the_clients(tmp_path, monkeypatch):
    file = tmp_path / "method.py"
    file.write_text("X = 1")
    monkeypatch.setattr(worker, "_imported", {})
    monkeypatch.setenv("ICOT_IMPORT", str(file))
    [(path, text_hash)] = worker.Setup.here().imports
    worker._import(path, text_hash)
    with pytest.raises(ClusterError, match="does not have this file, or another text"):
        worker._import(path, "another")
    file.write_text("X = 2")
    [(path, text_hash)] = worker.Setup.here().imports
    with pytest.raises(ClusterError, match="restart the workers"):
        worker._import(path, text_hash)
    file.unlink()
    with pytest.raises(ClusterError, match="does not have this file"):
        worker._import(path, text_hash)


def test_a_cluster_without_workers_is_said(runs_folder, monkeypatch):
    monkeypatch.setattr(cluster, "ALONE", 0.0)
    said = []
    with cluster.own_cluster(0, dashboard=False) as empty:
        monkeypatch.setenv("ICOT_CLUSTER", empty.scheduler_address)
        with cluster.connect(1) as connection:
            for _ in range(3):
                time.sleep(0.01)
                connection.look_for_workers(said.append)
    assert len(said) == 1
    assert "has no worker: waiting" in said[0]


def test_a_run_knows_the_command_of_its_client(shared, tiny, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/icot", "train", "icot_si"])
    ensure(tiny)
    assert Run.of(tiny).provenance["command"] == "icot train icot_si"


def test_the_command_shows_what_a_worker_warns_of_about_a_run(shared, capsys):
    assert main(["train", "icot_si", "--preset", "smoke", "--set", "train.steps=20"]) == 0
    shown = capsys.readouterr().err.splitlines()
    (said,) = [line for line in shown if "tokens removed" in line]
    assert said.startswith("icot: icot_si-linear-mult-1x2-")  # without the place in the code


def test_a_notebook_warns_of_it_without_a_path_of_this_machine(shared):
    config = experiments.icot_si("smoke", 1, {"train.steps": 20})
    with pytest.warns(RunWarning, match="it ends with 2 of 6 tokens removed") as caught:
        ensure(config)
    assert [one.filename for one in caught if one.category is RunWarning] == ["worker"]


def test_a_folder_of_runs_under_another_path_is_recognised(runs_folder, tmp_path, monkeypatch):
    setup = worker.Setup.here()
    (tmp_path / "mounted").symlink_to(runs_folder)
    monkeypatch.setenv("ICOT_RUNS", str(tmp_path / "mounted"))
    elsewhere = worker.Setup("/mnt/of/the/client", setup.folder_id)
    assert worker.shared_folder(elsewhere) == paths.runs_root()
    stranger = worker.Setup("/mnt/of/the/client", "another")
    with pytest.raises(ClusterError):
        worker.shared_folder(stranger)


def test_a_scheduler_that_does_not_answer_is_named(runs_folder, tiny, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 0.1)
    monkeypatch.setenv("ICOT_CLUSTER", "tcp://127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"tcp://127.0.0.1:1.*dask scheduler"):
        ensure(tiny)
    monkeypatch.setenv("ICOT_CLUSTER", "no address")
    with pytest.raises(ClusterError, match="no address"):
        ensure(tiny)
    monkeypatch.setattr(cluster, "HANDSHAKE", 1)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        for protocol, said in (
            ("tcp", "8787 is the port of Dask"),
            ("tls", "tls.*certificates"),
        ):
            monkeypatch.setenv("ICOT_CLUSTER", f"{protocol}://127.0.0.1:{other.server_port}")
            with pytest.raises(ClusterError, match=said):
                ensure(tiny)
        other.shutdown()


def test_a_full_disk_is_named(tmp_path):
    full = OSError(28, "No space left on device")
    assert worker._is_full(full, tmp_path)
    assert worker._is_full(RuntimeError("write failed: No space left on device"), tmp_path)
    assert not worker._is_full(ValueError("on purpose"), tmp_path)


def test_each_gpu_has_a_worker(monkeypatch):
    monkeypatch.delenv("ICOT_JOBS", raising=False)
    monkeypatch.setattr(cluster.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cluster.torch.cuda, "device_count", lambda: 2)
    assert cluster.default_workers(threads=4) == 2
    assert [cluster._gpu(number)["CUDA_VISIBLE_DEVICES"] for number in (0, 1)] == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")  # a share of the machine's GPUs
    assert [cluster._gpu(number)["CUDA_VISIBLE_DEVICES"] for number in (0, 1)] == ["5", "3"]


def test_a_killed_worker_may_take_minutes_to_start_again():
    """Dask gives one up for good after 15 seconds, which imports alone can take."""
    with cluster.own_cluster(0, dashboard=False):
        given_up = dask.config.get("distributed.deploy.lost-worker-timeout")
        assert parse_timedelta(given_up) > 600


def test_outside_a_worker_nothing_asks_for_a_stop():
    assert not worker.stop_requested()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to keep memory")
def test_the_thread_that_trains_in_a_worker_keeps_its_memory():
    with cluster.connect(1) as connection:
        pages = connection.client.submit(new_pages, 10).result()
    assert pages < 40 * 2**20 * 4 / resource.getpagesize()  # less than one of the ten rounds


#: Starts clusters with a variable that changes from one to the next, and says what workers see.
CLUSTERS = """
import json, os, torch
from distributed import Client
from icotlib.running.cluster import own_cluster
from icotlib.running.forking import start_method
from icotlib.system.processes import environment

def seen():
    server = open(f"/proc/{os.getppid()}/environ").read().split(chr(0))
    kept = "MALLOC_ARENA_MAX=1" in server
    return [os.getppid(), os.environ.get("ICOT_MARK"), torch.get_num_threads(), kept]

if __name__ == "__main__":
    torch.cuda.is_available = lambda: False
    start_method()  # as the planner of a form does, before any cluster
    found = [os.getpid()]
    for mark in ("first", "second", None):
        with (
            environment(ICOT_MARK=mark),
            own_cluster(1, dashboard=False) as made,
            Client(made, set_as_default=False) as client,
        ):
            found += client.run(seen).values()
    print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every worker imports for itself")
def test_workers_of_all_calls_are_copies_of_one_process(tmp_path):
    """glibc and OpenMP read variables when that process begins, so that no copy can set them."""
    (tmp_path / "clusters.py").write_text(CLUSTERS)
    said = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX", "ICOT_MARK")
    with environment(**dict.fromkeys(said)):
        words = [sys.executable, str(tmp_path / "clusters.py")]
        made = subprocess.run(words, capture_output=True, text=True, check=True)
    asked, *seen = json.loads(made.stdout)
    parents, marks, threads, kept = zip(*seen, strict=True)
    assert len(set(parents)) == 1
    assert asked not in parents
    assert marks == ("first", "second", None)
    assert set(threads) == {1}
    assert set(kept) == {True}


def test_a_worker_with_a_gpu_imports_for_itself(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert start_method() == "spawn"
