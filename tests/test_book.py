"""The book: what it is made from is whole, and the built site works in a browser without a network."""

import json
import re
import shutil
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest
import yaml

from minisora.core.errors import MinisoraError
from minisora.course.cells import code_cells, pairs, tag_of
from minisora.course.reference import FLOORS, reference
from minisora.course.site import LIVE, NOTE, _launch, chapter, prepare
from minisora.course.source import public_names
from tests.test_browser import CHROMIUM

ROOT = Path(__file__).parents[1]
BOOK, NOTEBOOKS, SITE = ROOT / "book", ROOT / "notebooks", ROOT / "out" / "book" / "_build" / "html"

built = pytest.mark.skipif(not SITE.exists(), reason="the book is not built: make book")
browsed = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def test_every_notebook_is_a_chapter() -> None:
    listed = re.findall(r"notebooks/(\w+)", (BOOK / "_toc.yml").read_text())
    assert listed == [pair.text.stem for pair in pairs(NOTEBOOKS)]


def test_every_paper_that_a_chapter_names_is_in_the_bibliography() -> None:
    entries = (BOOK / "references.bib").read_text()
    for pair in pairs(NOTEBOOKS):
        for paper in re.findall(r"arxiv\.org/abs/(\d{4}\.\d{4,5})", pair.text.read_text()):
            assert f"arXiv:{paper}" in entries, f"{pair.text.stem} names {paper}"


def test_the_reference_has_every_public_name_that_says_what_it_does() -> None:
    pages = reference()
    assert set(pages) == {"index", *(f"minisora.{floor}" for floor in FLOORS.split())}
    for module, page in (("minisora.tokens.packing", "minisora.tokens"), ("minisora.train.engine", "minisora.train")):
        missing = [name for name in public_names(module) if f"### `{name}`" not in pages[page]]
        assert len(missing) <= 2, missing  # without a docstring, since their names say it
    folders = {path.name for path in (ROOT / "minisora").iterdir() if (path / "__init__.py").exists()}
    assert folders == set(FLOORS.split())


def test_chapters_fold_solutions_and_need_no_kernel() -> None:
    noted = 0
    for pair in pairs(NOTEBOOKS):
        page = chapter(pair)
        text = json.dumps(page)
        assert LIVE not in text and "widgets" not in page.metadata, pair.text.stem
        noted += text.count(json.dumps(NOTE)[1:-1])
        for _, cell in code_cells(page):
            assert ("hide-input" in cell.metadata.get("tags", [])) == (tag_of(cell).kind == "solution")
    assert noted >= 6


def test_the_book_is_not_made_over_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("all of it")
    with pytest.raises(MinisoraError, match="not empty"):
        prepare(BOOK, NOTEBOOKS, tmp_path)
    assert (tmp_path / "thesis.tex").exists()
    own = tmp_path / "book"
    shutil.copytree(BOOK, own)
    for out in (own, tmp_path / "book" / "made"):
        with pytest.raises(MinisoraError, match="written by hand"):
            prepare(own, NOTEBOOKS, out)
    assert (own / "_toc.yml").exists()


class Links(HTMLParser):
    """What a page refers to, and the places in it that can be referred to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets, self.places = set[str](), set[str]()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.places.add(value)
            if (name == "href" and tag in ("a", "link")) or (name == "src" and tag in ("img", "script", "video")):
                self.targets.add(value or "")


@built
def test_no_link_within_the_book_is_broken() -> None:
    found = (page for page in SITE.rglob("*.html") if "_static" not in page.parts)
    pages = {page.relative_to(SITE).as_posix(): Links(page) for page in found}
    assert len(pages) > 20
    broken = []
    for name, page in pages.items():
        for target in page.targets:
            if re.match(r"[a-z]+:|//", target) or target in ("", "#"):
                continue
            path, place = urldefrag(urljoin(f"/{name}", target))
            path = unquote(path.split("?")[0]).lstrip("/")
            if not (SITE / path).exists():
                broken.append(f"{name}: {target}")
            elif place and path in pages and place not in pages[path].places:
                broken.append(f"{name}: no place {target}")
    assert broken == []


@pytest.fixture
def address() -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, directory=str(SITE), **kwargs)

        def log_message(self, *args) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.mark.slow
@built
@browsed
def test_in_a_browser(address: str) -> None:
    """Five pages, a search, dark mode, a clip that plays, a solution that unfolds; nothing asked of anybody else."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, outside, complaints = browser.new_page(), [], []
        page.on("request", lambda asked: outside.append(asked.url) if asked.url.startswith("http") else None)
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        for name in ("index", "start", "notebooks/03_video_vae", "gallery", "reference/minisora.models"):
            page.goto(f"{address}{name}.html")
            assert page.locator("article h1").count() == 1
            for picture in page.locator("article img").all():
                assert picture.get_attribute("alt"), f"{name} has a picture without alt text"

        page.goto(f"{address}search.html?q=patchify")
        page.wait_for_selector("#search-results li a", timeout=20_000)

        page.goto(f"{address}index.html")
        seen = set()
        for _ in range(3):  # automatic, dark, light
            page.locator(".theme-switch-button").first.click()
            seen.add(page.evaluate("document.documentElement.dataset.theme"))
        assert seen == {"light", "dark"}
        page.wait_for_function("[...document.querySelectorAll('video')].some(clip => clip.currentTime > 0.2)")

        page.goto(f"{address}notebooks/04_flow_matching.html")
        folded = page.locator("details.hide summary").first
        code = page.locator("details.hide pre").first
        assert not code.is_visible()
        folded.click()
        assert code.is_visible()
        browser.close()
    assert [url for url in outside if not url.startswith(address)] == []
    assert complaints == []


def test_launch_buttons_need_a_place_to_launch_from(tmp_path: Path) -> None:
    config = tmp_path / "_config.yml"
    shutil.copy(BOOK / "_config.yml", config)
    _launch(config, "https://github.com/somebody/minisora", "https://hub.example.org")
    told = yaml.safe_load(config.read_text())
    assert told["repository"]["url"].endswith("somebody/minisora") and told["html"]["use_repository_button"] is True
    assert {"binderhub_url", "colab_url", "jupyterhub_url"} <= set(told["launch_buttons"])
    assert set(yaml.safe_load((BOOK / "_config.yml").read_text())["launch_buttons"]) == {"notebook_interface"}
