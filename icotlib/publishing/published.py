"""Reading the published tables in `figures/`.

Some are older than today's names: columns and ids are renamed here, until they are made again. What
these call ICoT-SI with a random schedule is one model for all k.
"""

import json
from pathlib import Path

import pandas as pd

from icotlib import paths
from icotlib.config import RunConfig
from icotlib.system.spreadsheets import as_meant

#: Columns and method ids of the published tables -> today's.
COLUMNS = {
    "tokens_removed": "removed",
    "chain_tokens": "chain_length",
    "place": "position",
}
METHODS = {"mind_reading": "kd_student", "emulation": "kd_emulator"}

#: Methods that were a schedule of another method -> what they are now.
SPLIT = {("icot_si", "random"): "one_model"}


def read(name: str, *numbers: str) -> pd.DataFrame:
    """A published table by its name: these columns as numbers, all others as text."""
    table = _of_today(pd.read_csv(_file(name, None), keep_default_na=False))
    return table.assign(**{column: pd.to_numeric(table[column]) for column in numbers})


def read_numbers(name: str, folder: Path | None = None) -> pd.DataFrame:
    """A published table as its figure takes it: columns of numbers are numbers, empty cells NaN."""
    table = pd.read_csv(_file(name, folder))
    texts = table.select_dtypes(["object", "string"]).columns
    return _of_today(table.fillna(dict.fromkeys(texts, "")))


def _file(name: str, folder: Path | None) -> Path:
    return (folder or paths.FIGURES) / f"{name}.csv"


def _of_today(table: pd.DataFrame) -> pd.DataFrame:
    """A published table with today's names of columns and methods."""
    table = as_meant(table).rename(columns=COLUMNS)
    if "method" in table:
        table["method"] = table["method"].replace(METHODS)
    if {"method", "schedule"} <= set(table.columns):
        for (method, schedule), now in SPLIT.items():
            table.loc[(table.method == method) & (table.schedule == schedule), "method"] = now
    if "removed" in table and "unit" not in table:
        table["unit"] = "tokens"
    return table


def words(name: str, folder: Path | None = None) -> list[str]:
    """What a published table says, in the sentences of its study."""
    path = (folder or paths.FIGURES) / f"{name}.json"
    return list(json.loads(path.read_text(encoding="utf-8")).get("words", []))


def rows_of(table: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """The rows of a published results table, over seeds, that a config stands for."""
    model = config.model
    sizes = f"{model.architecture}-{model.layers}x{model.width}"
    return table[
        (table.method == config.method)
        & (table.variant == config.label)
        & (table.task == config.task)
        & (table.preset == config.preset)
        & (table.model == sizes)
    ]
