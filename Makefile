# Every target installs what it needs first: make demo, make test and make lint each work in a fresh clone.
PYTHON ?= python3
TORCH ?=
export PYTHON TORCH

BIN := .venv/bin
DEMO := demo/map

.DEFAULT_GOAL := help
.PHONY: help install demo test lint clean

help:
	@echo "make demo     install, map the photos of sample_data/sfm/images, say where the report is"
	@echo "make test     install, run the tests"
	@echo "make lint     install, run ruff, mypy and the layer tests"
	@echo "make install  only install, into .venv  (PYTHON=python3.12, TORCH=torch==2.13.0 choose other ones)"
	@echo "make clean    remove .venv, the demo's products and all caches"

install: .venv/.installed

# The stamp is newer than what it depends on, so that only a changed requirement installs again.
.venv/.installed: pyproject.toml constraints.txt .ci/install .ci/system
	@.ci/system
	@.ci/install

demo: install
	$(BIN)/recon sfm sample_data/sfm/images --out $(DEMO) --descriptor rootsift
	@echo
	@echo "The report: $(CURDIR)/$(DEMO)/report.html  (open it in a browser)"

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

clean:
	rm -rf .venv demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
