"""`icot site`: README, notebooks, guide and log as web pages."""

import argparse

from icotlib import paths
from icotlib.cli.options import to_path, whole
from icotlib.experiments.base import PRESETS
from icotlib.settings import LARGEST_SEED

EXAMPLES = """\
examples:
  icot site
        the executed notebooks and the guide, in site/
  icot site --preset smoke --out pages
        those of another preset, in a folder of yours
  icot site --links
        check addresses outside the site too, over the network

Open site/index.html in a browser; the pages need no server and no network.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--preset", default="fast", choices=PRESETS, help="preset of the executed notebooks (fast)"
    )
    parser.add_argument(
        "--seed", type=whole(0, LARGEST_SEED), default=0, help="seed of the executed notebooks (0)"
    )
    parser.add_argument(
        "--out", type=to_path, default=paths.PROJECT / "site", help="folder to write"
    )
    parser.add_argument("--links", action="store_true", help="check links to other sites too")


def run(options: argparse.Namespace) -> None:
    paths.check_checkout("icot site")
    from icotlib.publishing.site import build  # Sphinx: not for --help

    shown = build(options.out, options.preset, options.seed, options.links)
    listed = ", ".join(name[:2] for name in shown) or "none"
    print(f"written to {options.out}; executed notebooks of {options.preset}: {listed}")
