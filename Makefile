# Two commands do everything on a fresh machine: `make demo` and `make test`.
#
# PYTHON  the interpreter that makes .venv (3.11 or newer)
# TORCH   which torch to install. On Linux the ordinary wheel carries CUDA; a machine without a GPU saves
#         gigabytes with   make demo PIP_TORCH="--index-url https://download.pytorch.org/whl/cpu"
# REPOSITORY, HUB  where the project and a JupyterHub are, for the book's launch buttons; without them it has none
PYTHON    ?= python3
TORCH     ?= torch==2.13.0
PIP_TORCH ?=
REPOSITORY ?=
HUB       ?=
PROMPT    ?= a large red circle moves to the right on a white background

VENV := .venv
BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Tests use one thread each, so that each core can take some.
TEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal
# A finished installation leaves a mark, so that the second run of any command starts at once.
CORE := $(VENV)/.installed-core
DEV  := $(VENV)/.installed-dev
PARITY := $(VENV)/.installed-parity
BROWSER := $(VENV)/.installed-browser
BOOK   := $(VENV)/.installed-book

.PHONY: help demo test slow test-all parity lint types lab notebooks check browser book data check-data clean
.DEFAULT_GOAL := help

help:  ## what each command does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-11s %s\n", $$1, $$2}'

demo: $(CORE)  ## a prompt to a video file: make demo PROMPT="a small blue star rises on a black background"
	@$(BIN)/minisora generate "$(PROMPT)" --out out/demo.mp4
	@echo "Next: 'make lab' opens the course in JupyterLab."

test: $(DEV)  ## the quick tests, six and a half minutes on two cores without bf16
	$(TEST) -m "not slow"

slow: $(DEV)  ## the slow laws, and every notebook
	$(TEST) -m slow --ignore tests/test_browser.py --ignore tests/test_book.py

test-all: test slow browser  ## all tests

parity: $(PARITY)  ## the models against diffusers and transformers, on random weights
	$(BIN)/python -m pytest tests/test_parity_*.py

lint: $(DEV)  ## ruff: style and layout
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(PARITY)  ## pyright, basic mode; it follows the imports of the parity tests, too
	$(BIN)/pyright

lab: $(CORE)  ## open the course in JupyterLab
	$(BIN)/jupyter lab notebooks/00_welcome.ipynb

notebooks: $(DEV)  ## run every notebook from a clean kernel, store its outputs and measure it
	$(BIN)/minisora course run

check: $(DEV)  ## what drifted between notebooks and package, in seconds
	$(BIN)/minisora course check

browser: $(BROWSER)  ## figures and book in a real browser (needs Chromium: apt-get install chromium)
	$(BIN)/python -m pytest -rs tests/test_browser.py tests/test_book.py

book: $(BOOK)  ## build the site: out/book/_build/html/index.html
	@rm -rf out/book
	@$(BIN)/minisora course pages --repository "$(REPOSITORY)" --hub "$(HUB)"
	$(BIN)/jupyter-book build out/book/source --path-output out/book --warningiserror --keep-going --quiet
	@echo "Open out/book/_build/html/index.html"

data: $(CORE)  ## remake the bundled samples of every world
	$(BIN)/minisora data make

check-data: $(CORE)  ## hold the bundled data against its manifest
	$(BIN)/minisora data check

clean:  ## remove what the commands made, .venv included
	rm -rf $(VENV) out .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "minisora needs Python 3.11 or newer: make demo PYTHON=python3.12"; exit 2; }
	@echo "Making $(VENV) (once; a minute or two) ..."
	@$(PYTHON) -m venv $(VENV)

# torch first: with it present, nothing CUDA-sized is pulled in by the rest.
$(CORE): pyproject.toml constraints.txt | $(BIN)/python
	@$(PIP) "$(TORCH)" $(PIP_TORCH)
	@$(PIP) --constraint constraints.txt --editable .
	@touch $@

$(DEV): $(CORE)
	@$(PIP) --constraint constraints.txt --editable ".[dev]"
	@touch $@

$(BROWSER): $(DEV)
	@$(PIP) --constraint constraints.txt --editable ".[browser]"
	@touch $@

$(BOOK): $(DEV)
	@$(PIP) --constraint constraints.txt --editable ".[book]"
	@touch $@

$(PARITY): $(DEV)
	@$(PIP) --constraint constraints.txt --editable ".[parity]"
	@touch $@
