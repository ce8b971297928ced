"""One process at a time holds a lease, and whoever waits gets it when the holder is gone."""

import itertools
import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from icotlib.errors import RunError, StoppedError
from icotlib.running.background import Training
from icotlib.runs import Run
from icotlib.system import leases
from icotlib.training.trainer import train
from tests.helpers import wait_until

HOLD = """
import sys, time
from pathlib import Path
from icotlib.system import leases

with leases.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""

COUNT = """
import sys
from pathlib import Path
from icotlib.system import leases

leases.LOOK = 0.001
counter = Path(sys.argv[2])
for _ in range(40):
    with leases.hold(Path(sys.argv[1])):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "locks" / "run"


@pytest.fixture
def impatient(monkeypatch):
    """Other machines' leases are stale after a moment."""
    monkeypatch.setattr(leases, "BEAT", 0.05)
    monkeypatch.setattr(leases, "STALE", 0.5)
    monkeypatch.setattr(leases, "LOOK", 0.01)


def elsewhere(path, token="theirs", beats=0):
    """A lease that a process of another machine holds."""
    path.parent.mkdir(exist_ok=True)
    holder = {"token": token, "beats": beats, "machine": "another", "pid": 1, "started": 0}
    path.write_text(json.dumps(holder))


def test_processes_take_turns(path, tmp_path):
    """Lost updates of a counter would show two holders at a time."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    command = [sys.executable, "-c", COUNT, str(path), str(counter)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert counter.read_text() == "120"
    assert list(path.parent.iterdir()) == []


def test_the_lease_of_a_killed_process_is_taken_over_at_once(path):
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert leases.is_held(path)
        process.kill()
        process.wait()
    assert not leases.is_held(path)
    with leases.hold(
        path, waiting=lambda: pytest.fail("waited for a holder that is gone")
    ) as lease:
        lease.check()


def test_a_lease_of_another_machine_is_taken_over_once_it_stands_still(path, impatient):
    elsewhere(path)
    beats = itertools.count(1)
    last = 60  # looks, which take longer than a lease may stand still

    def beat():
        if (now := next(beats)) <= last:
            elsewhere(path, beats=now)

    with leases.hold(path, waiting=beat) as lease:
        assert next(beats) > last  # never taken while its holder counts
        lease.check()


def test_a_holder_that_was_taken_for_dead_notices(path, impatient):
    with leases.hold(path) as lease:
        elsewhere(path, token="taken over")
        with pytest.raises(RunError, match="another process has taken over run"):
            lease.check()
        assert not lease.beat()
    assert json.loads(path.read_text())["token"] == "taken over"  # and does not remove it


def test_a_slow_process_does_not_break_the_lease_of_a_faster_one(path):
    """Both have seen the same dead holder; the faster one holds a new lease by now."""
    elsewhere(path, token="faster")
    leases._break(path, {"token": "dead"})
    assert json.loads(path.read_text())["token"] == "faster"


def test_who_waits_can_give_up(path):
    elsewhere(path)

    def give_up():
        raise TimeoutError

    with pytest.raises(TimeoutError), leases.hold(path, give_up):
        pytest.fail("held twice")


def test_a_clock_that_is_set_ends_no_lease(path, monkeypatch):
    """Times of processes are told from that of the boot, which moves with the clock."""
    with leases.hold(path):
        real = psutil.Process.create_time
        monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) + 3600)
        assert leases.is_held(path)


def test_a_process_that_is_only_hidden_is_not_gone(path, monkeypatch):
    """Some systems hide the processes of other users."""
    holder = leases.this_process()

    def hidden(pid):
        raise psutil.NoSuchProcess(pid)

    def refuse(pid, signal):
        raise PermissionError

    path.parent.mkdir()
    path.write_text(json.dumps(holder | {"token": "theirs"}))
    here = leases.this_process()
    monkeypatch.setattr(leases, "this_process", lambda: here)
    monkeypatch.setattr(psutil, "Process", hidden)
    monkeypatch.setattr(os, "kill", refuse)
    assert leases.is_held(path)


def test_a_lease_that_was_taken_meanwhile_is_not_discarded(path):
    with leases.hold(path) as lease:
        leases.discard(path, seconds=3600)
        lease.check()
    elsewhere(path)
    leases.discard(path, seconds=3600)
    assert path.exists()
    leases.discard(path, seconds=0)
    assert not path.exists()


def test_a_lease_that_a_power_cut_left_is_not_at_work(path):
    elsewhere(path)
    assert leases.is_beating(path)
    silent = time.time() - leases.SILENT - 1
    os.utime(path, (silent, silent))
    assert not leases.is_beating(path)
    assert leases.is_held(path)  # it is for whoever waits to take over
    path.unlink()
    assert not leases.is_beating(path)


def test_a_run_whose_machine_lost_power_is_not_in_training(runs_folder, tiny):
    run = Run.of(tiny)
    path = runs_folder / ".locks" / run.name
    path.parent.mkdir(parents=True)
    elsewhere(path)
    assert run.in_training
    assert Training(tiny).active
    silent = time.time() - leases.SILENT - 1
    os.utime(path, (silent, silent))
    assert not run.in_training
    assert not Training(tiny).active


@pytest.mark.parametrize("asked", ["by its caller", "in the run's folder"])
def test_who_waits_for_a_run_ends_when_it_is_asked_to_stop(asked, runs_folder, tiny, impatient):
    run = Run.of(tiny)
    path = runs_folder / ".locks" / run.name
    path.parent.mkdir(parents=True)
    elsewhere(path)
    if asked == "in the run's folder":
        run.request_stop()

    def stored():
        files = [one for one in runs_folder.rglob("*") if one.is_file()]
        return {one: (one.read_bytes(), one.stat().st_mtime_ns) for one in files}

    before, begun = stored(), run.folder.exists()
    with pytest.raises(StoppedError, match=f"{run.name}: stopped while another process trains it"):
        train(tiny, should_stop=lambda: asked == "by its caller")
    assert stored() == before  # the holder is still asked to stop
    assert run.folder.exists() == begun


def test_a_machine_is_known_by_its_boot_where_the_system_numbers_it(tmp_path, monkeypatch):
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(leases, "BOOT_ID", boot)
    machine = leases._machine.__wrapped__
    monkeypatch.setattr(psutil, "boot_time", lambda: 41.6)
    assert " 42" in machine()
    boot.write_text("4b5c\n")
    assert " 4b5c" in machine()
    assert " 42" not in machine()


def test_leases_need_no_hard_links(path, monkeypatch):
    def refuse(*_):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", refuse)
    with leases.hold(path) as lease:
        lease.check()
        assert not leases._create(leases.Lease(path))
        leases._break(path, {"token": "dead"})  # which another process has taken over before
        lease.check()
    assert not path.exists()


def test_a_lease_is_told_from_those_of_other_processes(path):
    with leases.hold(path):
        assert leases.is_held_here(path, [os.getpid()])
        assert not leases.is_held_here(path, [os.getpid() + 1])
    assert not leases.is_held_here(path, [os.getpid()])


def test_a_lease_counts_while_it_is_held(path, impatient):
    with leases.hold(path):
        first = json.loads(path.read_text())["beats"]
        wait_until(lambda: json.loads(path.read_text())["beats"] > first)
