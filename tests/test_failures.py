"""What goes wrong outside the library: disks, files, variables, interrupts, closed pipes."""

import argparse
import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from icotlib import cli, paths
from icotlib.cli import COMMANDS, main
from icotlib.cli.options import to_path
from icotlib.errors import ConfigError, IcotError, RunError, TrainingError
from icotlib.running import jobs, notebooks
from icotlib.running.cluster import default_workers
from icotlib.running.progress import is_live
from icotlib.system.failures import explained
from icotlib.system.processes import cores, interrupts_delayed

HEAVY = ("torch", "transformers", "nbformat", "datasets", "pandas", "distributed", "matplotlib")


def icot(*words: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "icotlib", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=paths.PROJECT, **(pipes | options))


# --- errors of the machine ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/r/x"), "no space is left .* /r/x"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/r/x"), "your share of the disk"),
        (OSError(errno.EFBIG, "File too large", "/r/x"), "larger than a file may be"),
        (OSError(errno.EROFS, "Read-only file system", "/r/x"), "can only be read; name a folder"),
        (PermissionError(errno.EACCES, "Permission denied", "/r/x"), "/r/x may not be read or"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/r/x"), "/r/x is missing"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/r/x"), "a part of this path is a"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", b"/r/x"), "/r/x is a folder where a f"),
        (FileExistsError(errno.EEXIST, "File exists", "/r/x"), "is there already"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/r/x"), "name is too long"),
        (OSError(errno.EMFILE, "Too many open files", "/r/x"), "ulimit -n"),
        (OSError(errno.EIO, "Input/output error", "/r/x"), "the disk of /r/x reports errors"),
        # What safetensors, torch and pyarrow raise, by their own classes.
        (Exception("I/O error: No space left on device (os error 28)"), "no space is left"),
        (
            RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed"),
            "whole",
        ),
        (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64"), "whole"),
        (MemoryError(), "memory is full"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."), "memory is"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "train.accumulation"),
    ],
)
def test_an_error_of_the_machine_is_a_sentence_with_a_remedy(error, sentence, monkeypatch, capsys):
    text = explained(error)
    assert re.search(sentence, text)
    assert "\n" not in text
    wrapped = RuntimeError("a library's own words")
    wrapped.__cause__ = error
    assert explained(wrapped) == text

    def fail(options):
        raise error

    monkeypatch.setattr("icotlib.cli.show.run", fail)
    assert main(["show", "x"]) == 1
    said = capsys.readouterr().err
    assert said == f"icot: {text}\n"


@pytest.mark.parametrize("error", [ValueError("a defect"), KeyError("x"), RuntimeError("shape")])
def test_a_defect_keeps_its_traceback(error, monkeypatch):
    assert explained(error) is None

    def fail(options):
        raise error

    monkeypatch.setattr("icotlib.cli.show.run", fail)
    with pytest.raises(type(error)):
        main(["show", "x"])


def test_a_full_disk_in_a_real_process_is_one_line(tmp_path):
    """The largest file of the process is so small that every larger write fails as on a full
    disk."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
        "from icotlib.cli import main; "
        "sys.exit(main(['data', 'mult-2x2', '--out', sys.argv[1], '--train', '400', "
        "'--valid', '20', '--test', '20']))"
    )
    command = [sys.executable, "-B", "-c", code, str(tmp_path / "out")]
    done = subprocess.run(command, cwd=paths.PROJECT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("icot: ")


def test_a_file_in_place_of_the_folder_of_runs_is_named(tmp_path, monkeypatch, capsys):
    file = tmp_path / "file"
    file.write_text("x")
    for value in (file, file / "below"):
        monkeypatch.setenv("ICOT_RUNS", str(value))
        words = ["train", "no_cot", "--preset", "smoke"]
        assert main(words) == 1
        said = capsys.readouterr().err.strip()
        assert str(value) in said
        assert "\n" not in said


def test_a_working_directory_that_was_deleted_is_said(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    with contextlib.chdir(gone):
        gone.rmdir()
        with pytest.raises(OSError, match="No such file") as raised:
            Path("x").resolve()
        assert explained(raised.value).startswith("the working directory was deleted")


# --- variables ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["two", "0", "-1", "1.5", "1e3", "99999999", "4;", "nan"])
@pytest.mark.parametrize(
    ("name", "read"), [("ICOT_JOBS", lambda: default_workers(1)), ("ICOT_CORES", cores)]
)
def test_a_variable_that_is_no_number_is_named(name, read, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{name} must be a whole number from 1 to 4,096, got"):
        read()
    monkeypatch.setenv(name, " 3 ")
    assert read() == 3
    monkeypatch.setenv(name, "")
    assert read() >= 1


@pytest.mark.parametrize("value", ["maybe", "2", "-", "00", "yes!"])
def test_a_switch_that_is_neither_on_nor_off_is_named(value, monkeypatch):
    monkeypatch.setenv("ICOT_LIVE", value)
    with pytest.raises(ConfigError, match="ICOT_LIVE must be 0 or 1"):
        is_live()
    for on, state in (("1", True), ("0", False), ("no", False)):
        monkeypatch.setenv("ICOT_LIVE", on)
        assert is_live() is state


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ICOT_RUNS", "~nobody-here/x", "ICOT_RUNS=~nobody-here/x leads to no folder"),
        ("ICOT_RUNS", __file__, "is a file; name a folder"),
        ("ICOT_TRACK", "tensorbord", "knows no tracker 'tensorbord'"),
        ("ICOT_JOBS", "two", "ICOT_JOBS must be"),
        ("ICOT_CLUSTER", "nonsense", "no Dask scheduler answers at 'nonsense'"),
        ("ICOT_CLUSTER", "tcp://x", "no Dask scheduler answers at 'tcp://x'"),
    ],
)
def test_nonsense_in_a_variable_is_one_line_before_anything_starts(
    name, value, message, runs_folder, monkeypatch, capsys
):
    monkeypatch.setenv(name, value)
    assert main(["train", "no_cot", "--preset", "smoke"]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not list(runs_folder.glob("*/config.json"))


# --- a closed pipe, an interrupt ---------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["train", "--list"]])
def test_a_reader_that_has_gone_ends_a_command_quietly(words):
    reading, writing = os.pipe()
    os.close(reading)
    process = icot(*words, stdout=writing)
    os.close(writing)
    assert process.communicate()[1] == ""
    # argparse itself drops what it cannot print of a help text
    assert process.returncode == 141 or ("--help" in words and process.returncode == 0)


def test_below_a_cell_an_error_is_one_line_that_says_what_to_do():
    """IPython asks exceptions for what to show in place of a traceback."""
    shell = InteractiveShell()
    shown = []
    shell._showtraceback = lambda kind, error, lines: shown.append(lines)
    for error in ("Interrupted('runs go on')", "DataError('no file')"):
        shell.run_cell(f"from icotlib import errors\nraise errors.{error}")
    assert shown == [["Interrupted: runs go on"], ["DataError: no file"]]


def test_an_interrupt_while_libraries_are_loaded_is_one_line():
    process = icot("train", "icot_si", "--preset", "smoke", "--plan")
    maps = Path(f"/proc/{process.pid}/maps")
    if not maps.exists():
        process.kill()
        pytest.skip("only Linux tells which libraries a process has loaded")
    while process.poll() is None and "libtorch" not in maps.read_text():
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1].strip()
    assert said.splitlines()[-1].startswith("icot: stopped")
    assert "Traceback" not in said
    assert process.returncode == 130


def test_an_interrupt_that_a_library_has_wrapped_is_an_interrupt(monkeypatch, capsys):
    def fail(options):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ImportError("numpy failed to import") from None

    monkeypatch.setattr("icotlib.cli.show.run", fail)
    assert cli.main(["show", "x"]) == 130
    assert capsys.readouterr().err.strip().startswith("icot: stopped")


# --- several failures, a dead kernel -----------------------------------------------------------


def outcome(name: str, error: BaseException | None, kept_by: str | None = None) -> jobs.Outcome:
    return jobs.Outcome(jobs.Job(name, print, {}), error=error, kept_by=kept_by)


def test_two_failures_are_both_named():
    first, second = TrainingError("no longer finite"), TrainingError("another cause")
    with pytest.raises(TrainingError, match="no longer finite") as raised:
        jobs.raise_failures([outcome("a", first), outcome("b", None), outcome("c", first, "a")])
    assert raised.value is first
    with pytest.raises(TrainingError, match="2 of 3 jobs failed") as raised:
        jobs.raise_failures([outcome("a", first), outcome("b", second), outcome("c", None)])
    for part in ("a: no longer finite", "b: another cause"):
        assert part in str(raised.value)
    full = OSError(errno.ENOSPC, "No space left on device", "/r/x")
    with pytest.raises(RunError, match=r"no space is left on the disk of /r/x") as raised:
        jobs.raise_failures([outcome("a", first), outcome("b", full)])
    assert "a: no longer finite" in str(raised.value)


def test_an_error_of_the_machine_in_a_worker_is_a_run_error():
    full = OSError(errno.ENOSPC, "No space left on device", "/r/x")
    with pytest.raises(RunError, match="no space is left on the disk of /r/x"):
        jobs.raise_failures([outcome("a", full)])


@pytest.mark.parametrize("kind", ["dead", "missing"])
def test_a_kernel_that_ends_or_is_missing_is_said(kind, runs_folder, monkeypatch):
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import DeadKernelError

    error = DeadKernelError("Kernel died") if kind == "dead" else NoSuchKernel("python3")

    def fail(*args, **options):
        raise error

    monkeypatch.setattr(papermill, "execute_notebook", fail)
    sentence = "its kernel ended before" if kind == "dead" else "knows no kernel python3"
    with pytest.raises(IcotError, match=sentence):
        notebooks.execute(notebooks.find_notebook("01"), preset="smoke")


def test_an_executed_copy_stays_until_another_one_is_whole(runs_folder, tmp_path, monkeypatch):
    import papermill
    from papermill.exceptions import PapermillExecutionError

    output, notebook = tmp_path / "01_task.ipynb", notebooks.find_notebook("01")
    output.write_text("whole")
    ends = [KeyboardInterrupt(), PapermillExecutionError(0, 1, "x", "KeyError", "a", []), None]

    def execute(path, to, **options):
        Path(to).write_text("begun")
        if (error := ends.pop(0)) is not None:
            raise error

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    with pytest.raises(KeyboardInterrupt):
        notebooks.execute(notebook, output, preset="smoke")
    assert [path.name for path in tmp_path.iterdir()] == ["01_task.ipynb"]
    with pytest.raises(IcotError, match=r"KeyError: a\.\nIts copy shows where: .*failed-01_task"):
        notebooks.execute(notebook, output, preset="smoke")
    assert output.read_text() == "whole"
    assert (tmp_path / "failed-01_task.ipynb").read_text() == "begun"
    notebooks.execute(notebook, output, preset="smoke", say=lambda line: None)
    assert output.read_text() == "begun"
    assert len(list(tmp_path.iterdir())) == 1


# --- start-up ----------------------------------------------------------------------------------


#: Asks for help on each command that is named, and first for that of all.
HELP = f"""
import contextlib, sys
from icotlib.cli import main
for words in ([], *([name] for name in sys.argv[1:])):
    with contextlib.suppress(SystemExit):
        main([*words, "--help"])
    loaded = set(sys.modules) & set({HEAVY!r})
    assert not loaded, (words, loaded)
"""


def test_help_loads_no_heavy_library():
    command = [sys.executable, "-c", HELP, *COMMANDS]
    done = subprocess.run(command, cwd=paths.PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: ") == 1 + len(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_shows_how_to_call_it(name):
    text = cli.command_parser(name).format_help()
    assert f"icot {name} " in text.partition("options:")[2] or name == "notebook"


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_until_what_is_half_made_is_whole(kind):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    whole = []

    def make():
        with interrupts_delayed():
            os.kill(os.getpid(), kind)
            whole.append(kind)

    with pytest.raises(KeyboardInterrupt):
        make()
    assert whole == [kind]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_home_folder_is_meant_where_the_shell_left_its_sign():
    assert to_path("~/x") == Path.home() / "x"
    with pytest.raises(argparse.ArgumentTypeError, match="was a variable not set"):
        to_path(" ")
