"""TODO."""

from typing import Any

from icotlib.data.corpus import Corpus, load_corpus
from icotlib.data.layout import Layout
from icotlib.models.loading import load_stage
from icotlib.runs import Run


def load_run(run: Run, removed: int | None = None) -> tuple[Any, Layout, Corpus]:
    """A run's model (final, or at the end of a removal stage), its layout and its corpus."""
    return *load_stage(run, removed), load_corpus(run.config.data)
