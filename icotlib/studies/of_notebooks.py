"""The runs that notebooks of studies train, which they ask for themselves."""

from typing import Any

from icotlib.config import RunConfig
from icotlib.studies.base import get_study

#: The studies that a notebook asks for, by the number that its name begins with.
STUDIES_OF = {
    "15": ("main",),
    "16": ("routing", "anytime"),
    "18": ("methods", "contents"),
    "19": ("auxiliary",),
    "20": ("inside", "das"),
    "21": ("four_digits",),
}


def runs_of_studies(
    notebook: str, preset: str, seed: int, overrides: Any = None, **_: Any
) -> list[RunConfig]:
    """The runs of the studies that a notebook asks for; none of other notebooks.

    Args:
        notebook: its name; preset, seed, overrides: its parameters.
    """
    studies = map(get_study, STUDIES_OF.get(notebook[:2], ()))
    every = (study.members(preset, overrides=overrides, shift=seed) for study in studies)
    return [member.config for members in every for member in members]
