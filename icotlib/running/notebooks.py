"""The notebooks of the workbook: executing them by papermill, and training the runs they need."""

import contextlib
import dataclasses
import json
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icotlib import experiments, paths
from icotlib.config import RunConfig, parse_overrides
from icotlib.errors import ConfigError, DataError, IcotError, did_you_mean
from icotlib.running import parameters as parameter_cells
from icotlib.running.copies import executed_folder
from icotlib.system.terminal import HELP
from icotlib.system.wording import counted

if TYPE_CHECKING:
    from icotlib.running.jobs import Job, Outcome

#: Numbers of the notebooks that `make workbook` leaves out: their runs take longer than all others
#: together.
STUDY_NOTEBOOKS = ("09", "10", "15", "16", "17", "18", "19", "20", "21", "22", "23")

#: Those about stepwise internalization alone: data, baselines, method, removal curve, results.
STEPWISE_NOTEBOOKS = ("01", "02", "06", "08", "99")

#: Those that execute longest at `fast`: they start before others whose runs are finished.
LONG_NOTEBOOKS = ("08", "11", "12", "14")

#: The one that trains a run on the user's own data.
OWN_DATA_NOTEBOOK = "14"

#: The one that collects the results of all runs, so that it is executed last.
RESULTS_NOTEBOOK = "99"


def notebooks(studies: bool = True) -> list[Path]:
    """The notebooks in the order of their numbers, with or without the studies."""
    every = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    return [path for path in every if studies or not path.stem.startswith(STUDY_NOTEBOOKS)]


def find_notebook(name: str) -> Path:
    """The notebook of the workbook whose name begins with this, or else contains it.

    Raises `ConfigError` if that is not exactly one, and for another file.
    """
    if name.endswith(".ipynb"):
        given, own = Path(name), paths.NOTEBOOKS / Path(name).name
        if not own.is_file() or (given.name != name and given.resolve() != own):
            yours = f"papermill executes your own: papermill {name} copy.ipynb -p seed 1"
            raise ConfigError(f"{name} is no notebook of the workbook; {yours}")
        return own
    matches = [path for path in notebooks() if path.stem.startswith(name)]
    matches = matches or [path for path in notebooks() if name in path.stem]
    if len(matches) != 1:
        known = [path.stem for path in notebooks()]
        names = [path.stem for path in matches] or known
        what = "several notebooks" if matches else "no notebook"
        raise ConfigError(f"{name!r} names {what}: {', '.join(names)}.{did_you_mean(name, known)}")
    return matches[0]


def parameters(notebook: Path) -> dict[str, str]:
    """The parameters of a notebook, each with its comment."""
    return parameter_cells.documented(_parameters_cell(notebook))


def parameter_types(notebook: Path) -> dict[str, type]:
    """The parameters of a notebook, each with its type."""
    return parameter_cells.types(_parameters_cell(notebook))


def _parameters_cell(notebook: Path) -> str:
    tagged = (c for c in _cells(notebook) if "parameters" in c["metadata"].get("tags", []))
    return "".join(next(tagged)["source"])


def title(notebook: Path) -> str:
    """The first heading of a notebook."""
    return "".join(_cells(notebook)[0]["source"]).splitlines()[0].lstrip("# ")


def _cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells of a notebook as JSON; nbformat would take a second to load.

    Raises `DataError` naming the file if it is no notebook.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        return [cell | {"metadata": cell.get("metadata", {})} for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{notebook}: is no notebook of format 4 ({error})") from None


def execute(
    notebook: Path,
    output: Path | None = None,
    say: Callable[[str], None] = print,
    **values: Any,
) -> Path:
    """Execute a notebook with parameters; returns the executed copy.

    An earlier copy stays until this one is whole.

    Args:
        output: the copy; by default in `executed_folder`.
        say: called with a line of text at the end.
        values: parameters, by name.

    Raises `ConfigError` for a parameter that the notebook does not have, `IcotError` if a cell
    fails, or if its kernel does not start or ends; it names a copy that shows how far it came.
    """
    import papermill

    from icotlib.system.processes import BESIDE_OTHERS, environment  # torch: not for help texts

    parameter_cells.check(values, parameter_types(notebook), notebook.stem)
    output = output or executed_folder(**values) / notebook.name
    output.parent.mkdir(parents=True, exist_ok=True)
    part = paths.part_of(output, ".part.ipynb")  # papermill writes to no other ending
    failed = output.with_name(f"failed-{output.name}")
    start = time.perf_counter()
    with _failures_explained(notebook, part, failed), environment(**BESIDE_OTHERS):
        papermill.execute_notebook(
            str(notebook),
            str(part),
            parameters=values,
            kernel_name="python3",
            progress_bar=False,
            cwd=str(paths.WORK),
            extra_arguments=["--log-level=CRITICAL"],
        )
        part.replace(output)
        failed.unlink(missing_ok=True)
    say(f"{notebook.stem}  done in {time.perf_counter() - start:.0f} s  ->  {output}")
    return output


@contextlib.contextmanager
def _failures_explained(notebook: Path, part: Path, failed: Path) -> Iterator[None]:
    """Errors of papermill and of kernels as `IcotError`; what was written until then becomes the
    copy `failed`, and nothing is left of it after an interrupt."""
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        yield
    except PapermillExecutionError as error:
        _keep(part, failed)
        raise IcotError(
            f"{notebook.name} failed: {error.ename}: {error.evalue.rstrip('.')}.\n"
            f"Its copy shows where: {failed}"
        ) from None
    except NoSuchKernel:
        raise IcotError(
            f"{notebook.name}: Jupyter knows no kernel python3; install one for this Python with "
            "`python -m ipykernel install --user`"
        ) from None
    except (DeadKernelError, RuntimeError) as error:
        # A kernel that does not answer is a RuntimeError: "Kernel didn't respond", "kernel died".
        if not isinstance(error, DeadKernelError) and "kernel" not in str(error).lower():
            raise
        _keep(part, failed)
        raise IcotError(
            f"{notebook.name}: its kernel ended before the notebook did, killed from outside or "
            "for lack of memory (fewer --jobs need less). Ask for the same again: finished runs "
            f"stay. Its copy shows how far it came: {failed}"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _keep(part: Path, failed: Path) -> None:
    """Keep what a notebook that failed has written, if it has come so far."""
    if part.is_file():
        part.replace(failed)


def run_all(
    preset: str = "fast",
    seed: int = 0,
    overrides: Any = None,
    names: Sequence[str] = (),
    jobs: int | None = None,
    studies: bool = False,
    series: bool = False,
    say: Callable[[str], None] | None = None,
    values: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Train every run that notebooks need, and execute the notebooks; returns their copies.

    Args:
        names: notebooks to execute, by number or name; all by default.
        jobs: runs and notebooks side by side; by default as `icotlib.running.jobs.ensure` has it.
        studies: include the studies, which take longer than everything else.
        series: only the notebooks about stepwise internalization, and their runs.
        say: called with lines of text about what has ended; by default `tqdm.write`, which does
            not break progress bars.
        values: further parameters, by name, for the notebooks that have them.

    Raises `ConfigError` for a setting in `overrides` that none of these notebooks reads.
    """
    configs, executions = asked_for(preset, seed, overrides, names, studies, series, values)
    if say is None:
        from tqdm import tqdm

        say = tqdm.write
    return _train_and_execute(configs, executions, jobs, say)


def asked_for(
    preset: str,
    seed: int,
    overrides: Any = None,
    names: Sequence[str] = (),
    studies: bool = False,
    series: bool = False,
    values: Mapping[str, Any] | None = None,
) -> tuple[list[RunConfig], dict[Path, dict[str, Any]]]:
    """The runs that notebooks need, and the arguments of `execute` for each notebook.

    Args and errors as in `run_all`.
    """
    overrides = parse_overrides(overrides)
    names_or_series = names or (STEPWISE_NOTEBOOKS if series else ())
    chosen = [find_notebook(name) for name in names_or_series] or notebooks(studies)
    executions = _executions(chosen, preset, seed, overrides, values or {})
    if names:
        return [run for path, own in executions.items() for run in needed(path, **own)], executions
    workbook = experiments.series if series else experiments.workbook
    configs = workbook(preset, seed, overrides)
    if studies:
        configs = configs + experiments.all_studies(preset, seed, overrides)
    return configs, executions


def _executions(
    chosen: Sequence[Path],
    preset: str,
    seed: int,
    overrides: dict[str, Any],
    values: Mapping[str, Any],
) -> dict[Path, dict[str, Any]]:
    """The arguments of `execute` for each notebook: it gets the overrides that its runs read, and
    the parameters that it has.

    Raises `ConfigError` for an override that no run of any of them reads.
    """
    read = overrides_read([path.stem for path in chosen], preset, overrides)
    folder = executed_folder(preset, seed, {**overrides, **values})  # one for all of them
    common = {"folder": folder.name, "preset": preset, "seed": seed}
    own = {
        path: {name: x for name, x in values.items() if name in parameters(path)} for path in chosen
    }
    return {path: {**common, **own[path], "overrides": read[path.stem]} for path in chosen}


def overrides_read(
    names: Sequence[str], preset: str, overrides: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """For each of some notebooks, by name, those of the overrides that its runs read.

    Raises `ConfigError` for an override that no run of any of them reads.
    """
    read = {name: experiments.overrides_for(name, preset, overrides) for name in names}
    unread = [name for name in overrides if not any(name in own for own in read.values())]
    if unread:
        raise ConfigError(f"no run of {', '.join(names)} reads {', '.join(unread)}")
    return read


def _train_and_execute(
    configs: Sequence[RunConfig],
    executions: dict[Path, dict[str, Any]],
    workers: int | None,
    say: Callable[[str], None],
) -> list[Path]:
    """Train missing runs, and execute each notebook once its runs are finished; their copies."""
    from icotlib.running import jobs  # torch: not for help texts

    trainings = jobs.trainings(configs)
    if trainings:
        seed, preset = configs[0].seed, configs[0].preset
        say(f"training {counted(len(trainings), 'runs')} at preset {preset}, seed {seed}")
    paths_in_order = sorted(executions, key=lambda path: not path.stem.startswith(LONG_NOTEBOOKS))
    executing = [execution(path, **executions[path]) for path in paths_in_order]
    last = [job for job in executing if job.arguments["notebook"].startswith(RESULTS_NOTEBOOK)]
    others = [job for job in executing if job not in last]
    everything = tuple(job.name for job in [*trainings, *others])
    last = [dataclasses.replace(job, needs=everything) for job in last]

    def on_end(outcome: "Outcome") -> None:
        if outcome.kept_by:
            say(f"{outcome.job.name}  not started, because {outcome.kept_by} failed")
        elif outcome.failed:
            say(f"{outcome.job.name}  failed; independent jobs continue")
        elif not outcome.job.trains:
            say("\n".join(outcome.result))

    jobs.raise_failures(jobs.run_jobs([*trainings, *others, *last], workers, on_end=on_end))
    return [paths.executed_root() / own["folder"] / path.name for path, own in executions.items()]


def needed(
    notebook: Path, preset: str, seed: int, overrides: dict[str, Any], **_: Any
) -> tuple[RunConfig, ...]:
    """The runs that an execution needs."""
    return experiments.needed(notebook.stem, preset, seed, overrides)


def execution(notebook: Path, folder: str, **values: Any) -> "Job":
    """The job that executes a notebook once the runs that it needs are finished.

    Args:
        folder: of the executed copy, below `paths.executed_root()`.
        values: parameters: preset, seed and overrides, and others that the notebook has.
    """
    from icotlib.running.jobs import Job  # torch: not for help texts
    from icotlib.runs import unfinished

    names = (config.run_name for config in unfinished(needed(notebook, **values)))
    arguments = {"notebook": notebook.stem, "folder": folder, "values": values}
    return Job(f"{notebook.stem}-{folder}", execute_in, arguments, tuple(names))


def execute_in(notebook: str, folder: str, values: dict[str, Any]) -> list[str]:
    """Execute a notebook in a worker, which has files of its own; the lines to print."""
    lines: list[str] = []
    path = find_notebook(notebook)
    execute(path, paths.executed_root() / folder / path.name, say=lines.append, **values)
    return lines


def manual() -> str:
    """Each notebook with its name and title, in lines of help."""
    indent = " " * 31
    entries = (f"  {path.stem:28} {title(path)}" for path in notebooks())
    return "\n".join(textwrap.fill(one, HELP, subsequent_indent=indent) for one in entries)
