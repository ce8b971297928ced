"""The site: README, notebooks, guide and log as web pages that need no network.

Notebooks are shown as they were executed; one that was not is shown without output. Sphinx,
MyST-NB and the Sphinx Book Theme make the pages (`pip install 'icotlib[site]'`).
"""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from icotlib import paths
from icotlib.errors import ConfigError, IcotError
from icotlib.running.copies import executed_folder, is_executed
from icotlib.running.notebooks import notebooks

#: What the site is made with: the packages of the optional group `site`, as Python imports them.
NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme", "sphinx-mathjax-offline")

#: Link targets of Markdown: `[words](target)` and `![words](target)`.
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)((?:#[^)\s]*)?\))")

#: The name of a notebook in a table, which the site makes a link.
_NOTEBOOK = re.compile(r"^\| `(\d\d_\w+)` \|", re.MULTILINE)

SETTINGS: dict[str, Any] = {
    "project": "icotlib",
    "html_title": "icotlib: implicit chain of thought",
    "author": "the icotlib maintainers",
    "copyright": "the icotlib maintainers",
    "extensions": ["myst_nb"],
    "root_doc": "index",
    "html_theme": "sphinx_book_theme",
    "html_theme_options": {"use_download_button": False, "use_fullscreen_button": False,
                           "home_page_in_toc": True, "show_toc_level": 2},
    "html_show_sourcelink": False,
    "html_copy_source": False,
    "html_static_path": ["_static"],
    "html_css_files": ["site.css"],
    "html_context": {"default_mode": "auto"},
    "nb_execution_mode": "off",
    "nb_merge_streams": True,
    "nb_output_stderr": "remove",
    "myst_enable_extensions": ["dollarmath", "amsmath"],
    "myst_heading_anchors": 4,
    "mathjax_path": "tex-svg.js",
    "mathjax3_config": {"options": {"enableMenu": False}},
    "suppress_warnings": ["mystnb.unknown_mime_type", "myst.header"],
    "linkcheck_timeout": 20,
    "linkcheck_retries": 2,
}  # fmt: skip

#: Pages stay readable on a phone: what is wide scrolls in itself, and long words break.
STYLE = """\
article table, article .math-wrapper, article .cell_output { display: block; max-width: 100%;
  overflow-x: auto; }
article .cell_output table, article .cell_output details { font-size: 0.85rem; }
article img { max-width: 100%; height: auto; background: white; }
article h1, article p, article li { overflow-wrap: anywhere; }
article p code .pre, article li code .pre { white-space: normal; }
article td code .pre { white-space: nowrap; }
article th, article td { overflow-wrap: normal; word-break: normal; hyphens: none; }
article th p, article td p { overflow-wrap: normal; }
article td { min-width: 4em; }
"""


def build(
    out: Path,
    preset: str = "fast",
    seed: int = 0,
    links: bool = False,
    sources: Path | None = None,
) -> list[str]:
    """Build the site into a folder; what is in it is replaced.

    Args:
        preset, seed: of the executed copies to show.
        links: ask every address outside the site whether it is there, which needs a network.
        sources: a folder of pages to build instead of the project's, with an `index.md`.

    Returns the names of the notebooks that are shown as executed. Raises `ConfigError` if a package
    is missing or the folder holds something else than a site, `IcotError` naming the page if
    a link leads nowhere or a page cannot be built.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the site needs {', '.join(missing)}, which are not installed: make site, or "
            "pip install -c constraints.txt -e '.[site]'"
        )
    out = out.expanduser().resolve()
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not _is_site(out))):
        raise ConfigError(f"{out} holds something else than a site; name another folder (--out)")
    with tempfile.TemporaryDirectory() as work:
        source, made = Path(work) / "source", Path(work) / "site"
        if sources is not None:
            shutil.copytree(sources, source)
            shown: list[str] = []
        else:
            shown = collect(source, executed_folder(preset, seed))
        _add_assets(source)
        if links:
            _sphinx(source, Path(work) / "links", "linkcheck")
        _sphinx(source, made, "html")
        (made / ".nojekyll").touch()  # or GitHub leaves out folders that begin with _
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(made, out, ignore=shutil.ignore_patterns(".doctrees", ".buildinfo*"))
    return shown


def _is_site(folder: Path) -> bool:
    return (folder / "searchindex.js").is_file() and (folder / "index.html").is_file()


# --- pages -------------------------------------------------------------------------------------


def collect(folder: Path, executed: Path) -> list[str]:
    """Copy everything that the site shows into a folder, laid out as the project is.

    Args:
        executed: the folder of executed notebooks, of which those count that came to their end.

    Returns the names of the notebooks that are shown as executed.
    """
    guide = sorted((paths.NOTEBOOKS / "guide").glob("*.md"))
    shown = []
    for original in notebooks():
        copy = executed / original.name
        if whole := is_executed(copy):
            shown.append(original.stem)
        _copy_notebook(copy if whole else original, folder / "notebooks" / original.name)
    for page in [*guide, paths.PROJECT / "LOG.md", paths.DATA / "README.md"]:
        _copy_page(page, folder / page.relative_to(paths.PROJECT), folder)
    readme = _copy_page(paths.PROJECT / "README.md", folder / "index.md", folder)
    contents = [
        _contents("Notebooks", [f"notebooks/{path.stem}" for path in notebooks()]),
        _contents("Guide", [f"notebooks/guide/{page.stem}" for page in _index_first(guide)]),
        _contents("More", ["LOG", "data/README"]),
    ]
    (folder / "index.md").write_text("\n\n".join([readme, *contents]), encoding="utf-8")
    return shown


def _index_first(pages: Iterable[Path]) -> list[Path]:
    return sorted(pages, key=lambda page: (page.stem != "index", page.stem))


def _contents(caption: str, pages: Iterable[str]) -> str:
    listed = "\n".join(pages)
    return f"```{{toctree}}\n:caption: {caption}\n:hidden:\n\n{listed}\n```"


def _copy_page(page: Path, to: Path, folder: Path) -> str:
    """Copy a Markdown page, and the files that it shows or links to; returns its text.

    The README is the first page of the site, and names of notebooks in tables become links.
    """
    text = page.read_text(encoding="utf-8")

    def relinked(match: re.Match[str]) -> str:
        start, target, end = match.groups()
        if re.match(r"\w+:", target):
            return match[0]
        path = (page.parent / target).resolve()
        if path == paths.PROJECT / "README.md":
            return f"{start}{target.removesuffix('README.md')}index.md{end}"
        # Pages and notebooks have their own place: a link must not bring one unexecuted.
        is_file = path.is_file() and path.suffix not in (".md", ".ipynb")
        if is_file and path.is_relative_to(paths.PROJECT):
            copy = folder / path.relative_to(paths.PROJECT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        return match[0]

    text = _LINK.sub(relinked, text)
    above = "notebooks/" if page.parent == paths.PROJECT else "../"
    text = _NOTEBOOK.sub(rf"| [`\1`]({above}\1.ipynb) |", text)
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(text, encoding="utf-8")
    return text


def _copy_notebook(path: Path, to: Path) -> None:
    """Copy a notebook, its figures with their descriptions, and without widgets.

    They do not work on a page: their output keeps its text, or is left out where the text says
    nothing but the widget's type.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["metadata"].pop("widgets", None)
    for cell in notebook["cells"]:
        if "outputs" in cell:
            cell["outputs"] = [one for one in cell["outputs"] if _shows_something(one)]
            if described := " ".join(filter(None, map(_description, cell["outputs"]))):
                cell["metadata"]["mystnb"] = {"image": {"alt": described}}
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(notebook), encoding="utf-8")


def _shows_something(output: dict[str, Any]) -> bool:
    """Whether an output is left without its widget, which is taken out."""
    data = output.get("data", {})
    if data.pop("application/vnd.jupyter.widget-view+json", None) is not None:
        data.pop("text/plain", None)
    return "data" not in output or bool(data)


def _description(output: dict[str, Any]) -> str:
    """What is seen in an image, where the output says it (`figures.alt_text`)."""
    return str(output.get("metadata", {}).get("image/png", {}).get("alt", ""))


# --- Sphinx ------------------------------------------------------------------------------------


def _add_assets(source: Path) -> None:
    """What pages load: the style, and MathJax, in which formulas are drawn without a network."""
    static = source / "_static"
    static.mkdir(exist_ok=True)
    (static / "site.css").write_text(STYLE)
    spec = importlib.util.find_spec("sphinx-mathjax-offline")
    if spec is not None and spec.origin is not None:
        mathjax = Path(spec.origin).parent / "static" / "mathjax" / "tex-svg.js"
        shutil.copyfile(mathjax, static / mathjax.name)


def _sphinx(source: Path, out: Path, builder: str) -> None:
    """Run one of Sphinx's builders, in a process of its own: it can run but once in one.

    Raises `IcotError` with what it complains of.
    """
    settings = "\n".join(f"{name} = {value!r}" for name, value in SETTINGS.items())
    (source / "conf.py").write_text(settings + "\n")
    complaints = out.with_name(f"{out.name}.txt")
    options = ["-q", "-b", builder, "-d", f"{out}.doctrees", "-w", str(complaints)]
    command = [sys.executable, "-m", "sphinx", *options, str(source), str(out)]
    ended = subprocess.run(command, capture_output=True, text=True)
    found = complaints.read_text(encoding="utf-8") if complaints.is_file() else ""
    found = found.replace(f"{source.resolve()}/", "").strip()
    if builder == "linkcheck" and (out / "output.txt").is_file():
        found = (out / "output.txt").read_text(encoding="utf-8").strip() if ended.returncode else ""
    if found:
        raise IcotError(f"these pages have errors:\n{found}")
    if ended.returncode:
        raise IcotError(f"the site cannot be built:\n{ended.stderr.strip()}")
