"""How far the final test of a run is, for whoever watches it."""

import time
from collections.abc import Callable

#: Seconds between two reports.
INTERVAL = 1.0


class FinalTest:
    """Reports stages and answers that are done."""

    def __init__(self, report: Callable[..., None], examples: int):
        """
        Args:
            report: as `Trainer._report`.
            examples: of all stages together.
        """
        self.report, self.examples = report, examples
        self.stages, self.answered = 0, 0
        self._tell()

    def add_answers(self, examples: int) -> None:
        """So many more examples are answered."""
        self.answered += examples
        if time.monotonic() - self.told > INTERVAL:
            self._tell()

    def end_stage(self) -> None:
        self.stages += 1
        self._tell()

    def _tell(self) -> None:
        self.told = time.monotonic()
        self.report(testing=self.stages, answered=self.answered, to_answer=self.examples)
