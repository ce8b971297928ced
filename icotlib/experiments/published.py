"""Every published number that is a run here: `icot train METHOD/TASK/MODEL`."""

from icotlib.errors import ConfigError, did_you_mean
from icotlib.experiments.papers import PAPER_RESULTS, PaperResult
from icotlib.experiments.relatives import RELATIVE_RESULTS

#: Results of the two papers, and of Coconut's and CODI's.
PUBLISHED_RESULTS: dict[str, PaperResult] = {**PAPER_RESULTS, **RELATIVE_RESULTS}


def get_paper_result(name: str) -> PaperResult:
    """The result of a name. Raises `ConfigError` if there is none, with the nearest name."""
    if name not in PUBLISHED_RESULTS:
        raise ConfigError(
            f"no paper has a result {name!r}; `icot train --list` shows all."
            f"{did_you_mean(name, PUBLISHED_RESULTS)}"
        )
    return PUBLISHED_RESULTS[name]
