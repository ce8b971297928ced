"""Scripts that start processes, each of which imports the script once more."""

import subprocess
import sys
import textwrap

import pytest

#: A script that starts processes in a function, and ends with a call of it.
SCRIPT = """\
from icotlib.system.guard import check_guard


def main():
    check_guard()
    print("started")


"""

GUARDED = """\
if "__main__" == __name__:
    print("first")
    main()
"""


def outcome(script, *arguments, cwd):
    (cwd / "script.py").write_text(script)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("call", ["main()", "for _ in range(2):\n    main()"])
def test_a_script_that_would_start_itself_again_is_told_how_to_be_written(tmp_path, call):
    done = outcome(SCRIPT + call, "script.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "started" not in done.stdout
    line = SCRIPT.count("\n") + 1 + call.count("\n")
    assert f"script.py, line {line}: training starts processes" in done.stderr
    assert textwrap.indent('if __name__ == "__main__":', " " * 4) in done.stderr


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        (SCRIPT + GUARDED, ["script.py"]),
        (SCRIPT + GUARDED, ["-m", "script"]),
        (SCRIPT, ["-c", "import script; script.main()"]),  # as a notebook does
    ],
)
def test_others_start_processes(tmp_path, script, arguments):
    done = outcome(script, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "started" in done.stdout
