"""Every notebook in JupyterLab, in a real browser: all of its cells run there, at smoke."""

import pytest

import icotlib as icot
from icotlib import experiments
from icotlib.running import notebooks
from tests.browsing import Page, needs_browser

pytestmark = needs_browser


@pytest.fixture(scope="module")
def runs(lab_root):
    """The runs of the workbook at smoke, which the notebooks then find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICOT_RUNS", str(lab_root / "runs"))
        icot.ensure(experiments.workbook("smoke"))


@pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda path: path.stem)
def test_every_cell_runs_where_a_person_runs_it(path, lab, lab_root, runs, browser):
    at_smoke = path.read_text(encoding="utf-8").replace(
        'preset: str = \\"fast\\"', 'preset: str = \\"smoke\\"'
    )
    (lab_root / path.name).write_text(at_smoke, encoding="utf-8")
    shown = Page(browser, lab, lab_root / path.name, width=900)
    cells = shown.run_all()
    shown.picture(path.stem)
    assert all(cell.execution_count for cell in cells if cell.source)
    assert not [out for cell in cells for out in cell.outputs if out.output_type == "error"]
    assert 'preset: str = "smoke"' in "".join(cell.source for cell in cells)
    shown.close()
