"""README and guide: pages whose blocks are drawn from tables.

A block stands between `<!-- NAME -->` and `<!-- end NAME -->`; the modules of `icotlib.publishing`
that are called after blocks say what is in it. `icot publish` rewrites all blocks, and a test
compares them with what they should say.
"""

import contextlib
import re
from pathlib import Path

from icotlib import paths
from icotlib.publishing import (  # noqa: F401  (they register blocks)
    deviation_blocks,
    distillation_blocks,
    four_digits_blocks,
    inside_blocks,
    latent_blocks,
    speed_blocks,
    study_blocks,
)
from icotlib.publishing.blocks import BLOCKS

_BLOCK = re.compile(r"<!-- (\w+) -->\n(.*?)\n?<!-- end \1 -->", re.DOTALL)


def pages() -> list[Path]:
    """README and the pages of the guide."""
    return [paths.PROJECT / "README.md", *sorted((paths.NOTEBOOKS / "guide").glob("*.md"))]


def blocks_of(page: Path) -> dict[str, str]:
    """The blocks of a page, by name, as they stand there."""
    return dict(_BLOCK.findall(page.read_text(encoding="utf-8")))


def update_pages() -> None:
    """Rewrite every block of every page."""
    for page in pages():

        def redraw(match: re.Match[str]) -> str:
            name, text = match[1], match[2]
            with contextlib.suppress(FileNotFoundError):  # a table that is not published yet
                text = BLOCKS[name]() if name in BLOCKS else text
            return f"<!-- {name} -->\n{text}\n<!-- end {name} -->"

        before = page.read_text(encoding="utf-8")
        page.write_text(_BLOCK.sub(redraw, before), encoding="utf-8")
