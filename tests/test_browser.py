"""The interactive figures in JupyterLab, in a real browser: a control is moved, and the picture changes."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from minisora.course.cells import code_cells, pairs
from minisora.course.run import SECONDS

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MOVED = {"00_welcome": 1, "01_videos_and_worlds": 1, "02_patches": 2, "04_flow_matching": 1}
"""The notebooks that are driven here, and how many interactive figures each has."""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on copies of the notebooks, with settings of its own; gives its address with {} for a notebook."""
    home, token = tmp_path_factory.mktemp("lab"), secrets.token_hex(8)
    for name in MOVED:
        shutil.copy(NOTEBOOKS / f"{name}.ipynb", home)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    own = {f"JUPYTER_{kind}_DIR": str(home / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
               f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={home}"]  # fmt: skip
    server = subprocess.Popen(command, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: reached(f"http://127.0.0.1:{port}/api/status?token={token}"), 60)
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}.ipynb?token={token}&reset"
    finally:
        server.terminate()
        server.wait(30)


def reached(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return "started" in json.load(answer)
    except OSError:
        return False


def until(holds, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


@pytest.mark.parametrize("name", MOVED)
def test_moving_a_control_changes_the_picture(lab: str, name: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(lab.format(name))
        page.wait_for_selector("text=| Idle", timeout=60_000)  # before that, clicks on the menu are lost
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        figures = page.locator(".minisora-explore")
        page.wait_for_function(
            "count => document.querySelectorAll('.minisora-explore').length >= count",
            arg=MOVED[name],
            timeout=1000 * SECONDS,
        )
        for place in range(MOVED[name]):
            move(figures.nth(place))
        browser.close()


def move(figure) -> None:
    """Move the first control that stands beside a figure, by its handle or by its keys."""
    figure.scroll_into_view_if_needed()
    image = figure if figure.evaluate("node => node.tagName") == "IMG" else figure.locator("img")
    before = image.get_attribute("src")
    box = figure.locator("xpath=ancestor::*[contains(@class, 'widget-vbox')][1]")
    handle, chooser = box.locator(".noUi-handle").first, box.locator("select").first
    if handle.count():
        handle.focus()
        handle.press("ArrowRight")
    else:
        chooser.select_option(index=1)
    until(lambda: image.get_attribute("src") != before, SECONDS)  # an answer waits for all cells that still run


def test_every_interactive_figure_that_is_listed_is_there() -> None:
    for pair in pairs(NOTEBOOKS):
        if pair.text.stem in MOVED:
            made = sum(cell.source.count("explore(") for _, cell in code_cells(pair.read()))
            assert made == MOVED[pair.text.stem], pair.text.stem
