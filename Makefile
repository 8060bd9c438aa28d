# Needs make and Python 3.11 or newer, and nothing else: `make test` on a fresh clone installs what it uses into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# `-c` does not reach the environments that pip builds packages in: these do (the second for pip 25.3 and newer).
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

MODERN := sys.version_info >= (3, 11)
TOO_OLD := roofline needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Name a newer one: make $(MAKECMDGOALS) PYTHON=python3.13

.DEFAULT_GOAL := help
.PHONY: help demo test check wheel bench clean
.NOTPARALLEL:

help:   ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed            ## install roofline, and analyse MobileNetV4-Conv-M on the Pixel 6 EdgeTPU
	$(BIN)/roofline analyze mobilenetv4_conv_m --hw pixel6_tpu.yaml

test: check                         ## check, then run every test; those of the reports want chromium
	$(BIN)/python -m pytest -rs -n auto --dist loadscope

check: $(VENV)/.installed-test      ## format, lint and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

wheel: $(VENV)/.installed-test      ## build dist/*.whl and check what is in it
	rm -rf build dist
	$(BIN)/python -m build --quiet
	$(BIN)/check-wheel-contents dist/*.whl

bench: $(VENV)/.installed-bench     ## time roofline against its peers
	set -e; for script in $(filter-out %/cuda_check.py,$(wildcard benchmarks/*.py)); do $(BIN)/python "$$script"; done

clean:  ## remove everything that make made, .venv too
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# One stamp for each set of extras. A .venv that works is kept; one that is missing, broken or too old is made anew.
define install
@$(BIN)/python -c 'import sys, pip; assert $(MODERN)' 2>/dev/null || { \
	$(PYTHON) -c 'import sys; $(MODERN) or sys.exit("$(TOO_OLD)" % sys.version_info[:2])' && \
	$(PYTHON) -m venv --clear $(VENV); }
@echo "Installing roofline$(1) into $(VENV) (PyTorch comes with it: the first time takes minutes)"
@$(BIN)/python -m pip install --quiet -e '.$(1)' -c constraints.txt
@touch $@
endef

$(VENV)/.installed $(VENV)/.installed-test $(VENV)/.installed-bench: $(BIN)/python pyproject.toml constraints.txt

$(VENV)/.installed:
	$(call install,)

# timm alone: it names torchvision, which has no build for every torch, and without which its networks can be built.
$(VENV)/.installed-test:
	$(call install,[test])
	@$(BIN)/python -m pip install --quiet --no-deps timm -c constraints.txt || echo "Without timm: its tests are skipped"

$(VENV)/.installed-bench:
	$(call install,[bench])

# A link: where it is missing or dangles, the stamps count as old.
$(BIN)/python: ;
