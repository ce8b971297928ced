"""Implicit chain of thought: train it, take the steps away, look inside.

Notebooks `import icotlib as icot`; what they need is here. Each name is loaded from its module at
its first use, so that the command line answers at once.
"""

import importlib
from typing import Any

_HOMES = {
    "config": ["RunConfig"],
    "data": ["load_corpus", "read_examples", "write_examples"],
    "display": ["Ask", "dial", "live_plot"],
    "evaluation": ["evaluate", "generate", "teacher_forced_match"],
    "launch": ["ensure", "is_live"],
    "models": ["build_layout", "build_model", "load_model", "new_model"],
    "planning": ["plan"],
    "problems": ["write_problems"],
    "publishing": ["publish"],
    "removal": ["make_schedule", "remove"],
    "results": ["final_rows", "learning_table", "results_table", "summary"],
    "shifts": ["shift_table"],
    "runs": ["Run", "all_runs", "find_run"],
    "sharing": ["export"],
    "speed": ["measure_speed", "record_speed"],
    "sources": ["Columns", "bring"],
    "tasks": ["Task", "get_task", "register"],
    "tokens": ["Layout", "symbol_tokenizer"],
    "training": ["load_run", "train"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = ["figures", "inside", "presets"]

__all__ = sorted([*_HOME, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"icotlib.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"icotlib.{_HOME[name]}"), name)
    raise AttributeError(f"module 'icotlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
