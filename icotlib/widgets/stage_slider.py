"""The slider of the dial, which a screen reader can name and read out at every position."""

from collections.abc import Sequence

import anywidget
import traitlets

from icotlib import paths


class StageSlider(anywidget.AnyWidget):
    """A slider over named positions. The one of ipywidgets has no name for a screen reader.

    Args:
        options: each position in words, and the number that it stands for.
        description: the slider's name.
    """

    _esm = paths.STAGE_SLIDER.with_suffix(".js")
    _css = paths.STAGE_SLIDER.with_suffix(".css")

    description = traitlets.Unicode().tag(sync=True)
    #: The positions in words, and the one at which it stands.
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)

    def __init__(self, options: Sequence[tuple[str, int]], description: str):
        #: Each position in words, and the number that it stands for.
        self.options = tuple(options)
        super().__init__(description=description, labels=[label for label, _ in options])

    @property
    def label(self) -> str:
        """The position at which it stands, in words."""
        return self.options[self.index][0]

    @property
    def value(self) -> int:
        """The number that the position stands for."""
        return self.options[self.index][1]

    @value.setter
    def value(self, value: int) -> None:
        self.index = [number for _, number in self.options].index(value)
