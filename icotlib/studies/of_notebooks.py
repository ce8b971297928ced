"""The runs that notebooks of studies train, which they ask for themselves."""

from typing import Any

from icotlib.config import RunConfig
from icotlib.studies.base import Study, get_study, study_names


def studies_of(notebook: str) -> list[Study]:
    """The studies that a notebook asks for.

    Args:
        notebook: its name, which begins with its number.
    """
    every = map(get_study, study_names())
    return [study for study in every if study.notebook and notebook.startswith(study.notebook)]


def runs_of_studies(
    notebook: str, preset: str, seed: int, overrides: Any = None, **_: Any
) -> list[RunConfig]:
    """The runs of the studies that a notebook asks for; none of other notebooks.

    Args:
        notebook: its name; preset, seed, overrides: its parameters.
    """
    found = studies_of(notebook)
    every = (study.members(preset, overrides=overrides, shift=seed) for study in found)
    return [member.config for members in every for member in members]
