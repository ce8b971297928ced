"""Notebooks in JupyterLab, in a real browser: Debian's chromium, driven by Playwright.

The fixtures `lab_root`, `lab` and `browser` (tests/conftest.py) start both.
"""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from icotlib import paths
from tests.helpers import wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = [
    name
    for name in ("playwright", "axe_playwright_python")
    if importlib.util.find_spec(name) is None
]
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or bool(MISSING),
    reason=f"not on this machine: {', '.join([*MISSING, *([] if CHROMIUM else ['chromium'])])}",
)
if not MISSING:
    from axe_playwright_python.sync_playwright import Axe
    from playwright import sync_api as playwright

#: Milliseconds to wait for what a page shows.
PATIENCE = 300_000

#: Where screenshots are kept to be looked at; nowhere unless it is set.
SCREENSHOTS = os.environ.get("ICOT_SCREENSHOTS")

#: Settings of JupyterLab: no question about news, and outputs that are drawn where nobody looks.
LAB_SETTINGS = {
    "config/labconfig/page_config.json": {
        "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}
    },
    "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {
        "windowingMode": "none"
    },
}


@contextlib.contextmanager
def started_lab(root: Path, runs: Path) -> Iterator[str]:
    """The address of a JupyterLab with settings of its own.

    Args:
        root: what it shows, and where it keeps its settings.
        runs: the folder of runs.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, settings in LAB_SETTINGS.items():
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(json.dumps(settings))
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(root / "config"),
        "JUPYTERLAB_SETTINGS_DIR": str(root / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(root / "workspaces"),
        "IPYTHONDIR": str(root / "ipython"),
        "ICOT_RUNS": str(runs),
        "PYTHONPATH": str(paths.PROJECT),
    }
    environment.pop("ICOT_LIVE", None)
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += ["--expose-app-in-browser", f"--ServerApp.port={port}", f"--notebook-dir={root}"]
    with (root / "lab.log").open("w") as log:
        words = [*command, "--IdentityProvider.token="]
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{address}/api/status"))
        yield address
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def started_browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


class Page:
    """A notebook that is open in JupyterLab."""

    def __init__(self, browser, address: str, notebook: Path, width: int = 1280):
        self.notebook = notebook
        self.page = browser.new_page(viewport={"width": width, "height": 800})
        self.page.set_default_timeout(PATIENCE)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._listen)
        self.page.goto(f"{address}/lab/tree/{notebook.name}?reset")
        self.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        self.page.get_by_text("| Idle").first.wait_for()  # its kernel

    def _listen(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url')})")

    def run_cell(self, number: int) -> None:
        """Run a cell from the keyboard."""
        self.page.locator(".jp-CodeCell .cm-content").nth(number).click()
        self.page.keyboard.press("Shift+Enter")

    def press(self, label: str) -> None:
        """Press a button from the keyboard, once it can be pressed."""
        button = self.page.get_by_role("button", name=label, exact=True)
        playwright.expect(button).to_be_enabled(timeout=PATIENCE)
        button.focus()
        self.page.keyboard.press("Enter")

    def field(self, label: str) -> object:
        """A field of an instrument, by its whole label."""
        return self.page.locator(".jp-OutputArea").get_by_label(label, exact=True)

    def sees(self, text: str | re.Pattern) -> None:
        """Wait until a text is announced."""
        found = self.page.get_by_role("status").filter(has_text=text)
        found.first.wait_for(timeout=PATIENCE)

    def picture(self, name: str) -> None:
        if SCREENSHOTS:
            self.page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")

    def run_all(self) -> list[dict[str, Any]]:
        """Run every cell, save, and end the kernel; the code cells as they are then."""
        for command in ("notebook:run-all-cells", "docmanager:save"):
            self.page.evaluate(f"window.jupyterapp.commands.execute('{command}')")
        cells = nbformat.read(self.notebook, as_version=4).cells
        self.page.evaluate("window.jupyterapp.commands.execute('kernelmenu:shutdown')")
        return [cell for cell in cells if cell.cell_type == "code"]

    def close(self) -> None:
        """Close the page, on which no script has failed and axe-core finds nothing serious."""
        found = Axe().run(self.page, ".jp-OutputArea-output").response["violations"]
        self.page.close()
        assert not self.errors, self.errors
        serious = {
            one["help"]: [node["html"] for node in one["nodes"]]
            for one in found
            if one["impact"] in ("serious", "critical")
        }
        assert not serious, json.dumps(serious, indent=1)


def write_notebook(path: Path, *cells: str, **metadata: object) -> Path:
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}} | metadata,
        ),
        path,
    )
    return path
