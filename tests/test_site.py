"""The site: built from two small pages, linked, searchable and without a network."""

import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml

from icotlib import paths
from icotlib.cli import main
from icotlib.errors import ConfigError, IcotError
from icotlib.publishing import site
from icotlib.running.notebooks import notebooks

MISSING = [name for name in site.NEEDED if importlib.util.find_spec(name) is None]
BUILDS = pytest.mark.skipif(
    bool(MISSING), reason=f"the optional group `site` is not installed: {', '.join(MISSING)}"
)
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)


def small_notebook(path: Path) -> None:
    """A notebook with a formula, a figure that says what it shows, a dead widget and a log."""
    output = nbformat.v4.new_output
    cell = nbformat.v4.new_code_cell("draw()", execution_count=1)
    figure = {"image/png": {"alt": "accuracy 98% at 12"}}
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "Box()"}
    cell.outputs = [
        output("display_data", {"image/png": PIXEL}, metadata=figure),
        output("display_data", widget),
        output("stream", name="stderr", text="a red warning"),
    ]
    words = nbformat.v4.new_markdown_cell("# Numbers\n\n$c_k = a_i$, see [the start](index.md).")
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.v4.new_notebook(cells=[words, cell])
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    nbformat.write(notebook, path)


@pytest.fixture
def pages(tmp_path) -> Path:
    """Two pages, linked both ways."""
    folder = tmp_path / "pages"
    small_notebook(folder / "numbers.ipynb")
    site._copy_notebook(folder / "numbers.ipynb", folder / "numbers.ipynb")
    start = "# Start\n\n[numbers](numbers.ipynb)\n\n```{toctree}\nnumbers\n```\n"
    (folder / "index.md").write_text(start)
    return folder


@BUILDS
def test_two_pages_become_a_site_that_needs_no_network(pages, tmp_path):
    out = tmp_path / "site"
    site.build(out, sources=pages)
    start, numbers = (
        (out / name).read_text(encoding="utf-8") for name in ("index.html", "numbers.html")
    )
    assert 'href="numbers.html"' in start
    assert 'href="index.html"' in numbers
    assert 'alt="accuracy 98% at 12"' in numbers
    assert "a red warning" not in numbers
    assert "Box()" not in numbers
    assert (out / "_static" / "tex-svg.js").stat().st_size > 10**6
    assert "numbers" in (out / "searchindex.js").read_text()
    for page in (start, numbers):
        loaded = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"([^\"]+)\"", page)
        assert loaded
        for address in loaded:
            assert not address.startswith(("http:", "https:", "//")), address
            assert (out / address.partition("?")[0].partition("#")[0]).exists(), address
    site.build(out, sources=pages)  # what is a site is replaced
    assert (out / "index.html").is_file()


@BUILDS
def test_a_link_that_leads_nowhere_is_named(pages, tmp_path):
    with (pages / "index.md").open("a") as file:
        file.write("\n[gone](nowhere.md) and [lost](numbers.ipynb#no-such-heading)\n")
    with pytest.raises(IcotError, match=r"index\.md:\d+.*'nowhere\.md'"):
        site.build(tmp_path / "site", sources=pages)
    assert not (tmp_path / "site").exists()


@BUILDS
def test_a_folder_with_something_else_is_not_replaced(pages, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="holds something else than a site"):
        site.build(tmp_path / "mine", sources=pages)
    assert (tmp_path / "mine" / "thesis.tex").is_file()


def test_without_its_packages_the_site_says_how_to_get_them(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(site, "NEEDED", ("a_package_that_nobody_has",))
    assert main(["site", "--out", str(tmp_path / "site")]) == 1
    assert "make site, or pip install" in capsys.readouterr().err


@pytest.mark.parametrize("broken", [False, True])
def test_addresses_outside_the_site_are_asked_where_they_are_to_be(
    broken, tmp_path, runs_folder, monkeypatch, capsys
):
    built = []

    def sphinx(command, **options):
        """Writes what Sphinx would; an address is gone."""
        builder, out = command[command.index("-b") + 1], Path(command[-1])
        built.append(builder)
        out.mkdir()
        for name in ("index.html", "searchindex.js"):
            (out / name).touch()
        if builder == "linkcheck":
            (out / "output.txt").write_text("LOG.md:7: [broken] https://gone.example\n" * broken)
        return SimpleNamespace(returncode=int(builder == "linkcheck" and broken), stderr="")

    monkeypatch.setattr(site, "NEEDED", ())
    monkeypatch.setattr(site, "subprocess", SimpleNamespace(run=sphinx))
    command = ["site", "--out", str(tmp_path / "site")]
    assert main([*command, "--links"]) == int(broken)
    assert built == (["linkcheck"] if broken else ["linkcheck", "html"])
    assert ("LOG.md:7: [broken] https://gone.example" in capsys.readouterr().err) == broken
    assert (tmp_path / "site").exists() == (not broken)
    built.clear()
    assert main(command) == 0
    assert built == ["html"]


# --- what is shown -----------------------------------------------------------------------------


def test_executed_copies_are_shown_where_there_are_any(tmp_path):
    executed = tmp_path / "executed"
    for name, ended in (("02_baselines", None), ("06_stepwise", "2026-01-01T00:00:00")):
        path = executed / f"{name}.ipynb"
        small_notebook(path)
        notebook = nbformat.read(path, 4)
        notebook.metadata["papermill"] = {"end_time": ended, "exception": None}
        nbformat.write(notebook, path)
    assert site.collect(tmp_path / "pages", executed) == ["06_stepwise"]
    folder = tmp_path / "pages" / "notebooks"
    assert {path.name for path in folder.glob("*.ipynb")} == {path.name for path in notebooks()}
    shown = json.loads((folder / "06_stepwise.ipynb").read_text())
    kinds = [output["output_type"] for output in shown["cells"][1]["outputs"]]
    assert kinds == ["display_data", "stream"]
    assert "widgets" not in shown["metadata"]
    assert json.loads((folder / "01_task_and_data.ipynb").read_text())["cells"]


def test_every_page_is_in_the_table_of_contents_and_every_file_it_shows_is_there(tmp_path):
    site.collect(tmp_path, tmp_path / "none")
    start = (tmp_path / "index.md").read_text()
    listed = re.findall(r"^(?:notebooks|data)/\S+$|^LOG$", start, re.MULTILINE)
    pages = [*tmp_path.rglob("*.md"), *tmp_path.rglob("*.ipynb")]
    names = {page.relative_to(tmp_path).with_suffix("").as_posix() for page in pages}
    assert set(listed) == names - {"index"}
    guide = (tmp_path / "notebooks" / "guide" / "index.md").read_text()
    assert "[`06_stepwise`](../06_stepwise.ipynb)" in guide
    for page in tmp_path.rglob("*.md"):
        for target in re.findall(r"\]\(([^)\s#]+)", page.read_text()):
            if not re.match(r"\w+:", target):
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_workflow_publishes_what_make_site_builds():
    workflow = yaml.safe_load((paths.PROJECT / ".github/workflows/site.yml").read_text())
    (job,) = workflow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == ["make series", "make site"]
    (upload,) = (step for step in job["steps"] if "upload-pages" in step.get("uses", ""))
    ignored = (paths.PROJECT / ".gitignore").read_text().splitlines()
    assert f"/{upload['with']['path']}/" in ignored
