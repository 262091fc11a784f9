# Two commands for a fresh machine: `make demo` and `make test`. PYTHON is any Python 3.11 or newer.
PYTHON ?= python3

.PHONY: demo test lint types wheel clean

demo: .venv/.base
	.venv/bin/hgrt demo

test: .venv/.test lint types
	.venv/bin/python -m pytest

lint: .venv/.test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

# mypy does not follow the editable install's folder mapping, so it is shown the package as it is installed.
types: .venv/.test
	rm -rf build/types && mkdir -p build/types/hgrt
	ln -s $(CURDIR)/hgrt/* build/types/hgrt/
	ln -s $(CURDIR)/train build/types/hgrt/train
	ln -s $(CURDIR)/assets build/types/hgrt/assets
	cd build/types && MYPYPATH=. ../../.venv/bin/mypy --config-file ../../pyproject.toml -p hgrt

wheel: .venv/.test
	.venv/bin/python -m build --wheel

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.base: .venv/bin/python pyproject.toml
	.venv/bin/python -m pip install --quiet --editable . --constraint constraints.txt
	touch $@

.venv/.test: .venv/bin/python pyproject.toml constraints.txt
	.venv/bin/python -m pip install --quiet --editable ".[train,test]" --constraint constraints.txt
	touch $@ .venv/.base

clean:
	rm -rf .venv build dist *.egg-info
