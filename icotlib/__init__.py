"""Implicit chain of thought: train it, remove the steps, look inside.

`import icotlib as icot` has what notebooks need. Each name is loaded from its module at its first
use, so that the command line answers at once.
"""

import atexit
import gc
import importlib
from typing import Any

# The libraries make half a million objects that stay. To search them for garbage after every 700
# new ones takes a fifth of the time to load them, and once more at the end a second.
if 0 < gc.get_threshold()[0] < 10_000:
    gc.set_threshold(10_000, *gc.get_threshold()[1:])
atexit.register(gc.freeze)

_HOMES = {
    "config": ["RunConfig"],
    "data.corpus": ["examples_of", "load_corpus"],
    "data.files": ["read_examples", "write_examples"],
    "data.forms": ["Columns"],
    "data.inputs": ["remove"],
    "data.layout": ["Layout"],
    "data.prepare": ["prepare_cached"],
    "data.run_data": ["RunData", "build_layout"],
    "data.symbols": ["symbol_tokenizer"],
    "evaluation.asking": ["example_of"],
    "evaluation.generation": ["generate", "teacher_forced_match"],
    "evaluation.on_file": ["evaluate_file"],
    "evaluation.ood": ["shift_table"],
    "evaluation.scoring": ["evaluate"],
    "evaluation.stage_model": ["StageModel", "load"],
    "interp.explorer": ["cell"],
    "methods.base": ["Method"],
    "models.build": ["build_model"],
    "models.loading": ["load_model"],
    "models.toy": ["new_model"],
    "registry": ["import_file"],
    "sharing.archive": ["export_runs", "import_runs"],
    "reporting.comparison": ["compare"],
    "widgets.dial": ["answers_by_stage", "dial"],
    "widgets.explorer": ["explorer"],
    "widgets.figure_desk": ["figure_desk"],
    "sharing.hub": ["export"],
    "reporting.on_file": ["over_seeds_on_file"],
    "reporting.overview": ["differences", "runs_table"],
    "reporting.readable": ["table"],
    "sharing.push": ["push"],
    "publishing.publish": ["publish"],
    "reporting.results": ["final_rows", "learning_table", "results_table"],
    "widgets.run_browser": ["run_browser"],
    "widgets.settings_form": ["settings_form", "settings_table"],
    "sharing.ship": ["ship"],
    "reporting.speed": ["measure_speed", "record_speed"],
    "reporting.summary": ["summary"],
    "reporting.tables": ["write_table"],
    "widgets.panel": ["training_panel"],
    "widgets.live": ["live_plot", "live_table"],
    "running.background": ["Training"],
    "running.jobs": ["ensure"],
    "planning.outlook": ["outlook"],
    "running.parameters": ["check_parameters"],
    "planning.plan": ["plan"],
    "running.progress": ["is_live"],
    "running.sweeps": ["Sweep", "sweep"],
    "runs": ["Run", "all_runs", "find_run", "shipped"],
    "studies.base": ["study"],
    "tasks.base": ["Task", "get_task"],
    "tasks.questions": ["QuestionSet", "draw_questions"],
    "tasks.word_problems": ["write_problems"],
    "training.trainer": ["train"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = {
    "experiments": "icotlib.experiments",
    "figures": "icotlib.reporting.figures",
    "interp": "icotlib.interp",
}

__all__ = sorted([*_HOME, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name in _HOME:
        return getattr(importlib.import_module(f"icotlib.{_HOME[name]}"), name)
    raise AttributeError(f"module 'icotlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
