"""Implicit chain of thought: train it, take the steps away, look inside.

Notebooks `import icotlib as icot`; what they need is here. Each name is loaded from its module at
its first use, so that the command line answers at once.
"""

import importlib
from typing import Any

_HOMES = {
    "config": ["RunConfig"],
    "data.corpus": ["load_corpus"],
    "data.files": ["read_examples", "write_examples"],
    "reporting.widgets": ["Ask", "dial", "live_plot"],
    "evaluation.generation": ["generate", "teacher_forced_match"],
    "evaluation.scoring": ["evaluate"],
    "running.jobs": ["ensure"],
    "running.progress": ["is_live"],
    "data.run_data": ["build_layout"],
    "models.build": ["build_model"],
    "models.loading": ["load_model"],
    "models.toy": ["new_model"],
    "running.planning": ["plan"],
    "tasks.word_problems": ["write_problems"],
    "reporting.publish": ["publish"],
    "data.inputs": ["remove"],
    "methods.stepwise.schedules": ["make_schedule"],
    "reporting.results": ["final_rows", "learning_table", "results_table", "summary"],
    "evaluation.ood": ["shift_table"],
    "runs": ["Run", "all_runs", "find_run"],
    "reporting.hub": ["export"],
    "reporting.speed": ["measure_speed", "record_speed"],
    "data.forms": ["Columns"],
    "data.prepare": ["prepare_cached"],
    "tasks": ["Task", "get_task", "register"],
    "data.layout": ["Layout", "symbol_tokenizer"],
    "evaluation.stage_model": ["load_run"],
    "training.trainer": ["train"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = {
    "figures": "icotlib.reporting.figures",
    "interp": "icotlib.interp",
    "experiments": "icotlib.experiments",
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
