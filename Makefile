# Two commands do everything: `make demo` shows the loop, `make test` proves it.
# They need Python 3.11+ and make; what else is needed lands in .venv.

PYTHON ?= python3
BIN := .venv/bin
# Bytecode is kept, else every process parses PyTorch anew; in .venv, not among the sources.
export PYTHONDONTWRITEBYTECODE =
export PYTHONPYCACHEPREFIX = $(CURDIR)/.venv/bytecode

.PHONY: demo test check lock bench kafka clean

demo: .venv/ready
	$(BIN)/paaplus demo $(DEMO)

test: check
	$(BIN)/pytest -n 2 --dist loadgroup $(PYTEST)

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m paaplus.events.schema --check

# Compile the lock again; it keeps its pins. `make lock UPGRADE=-U` raises them.
lock: .venv/ready
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --generate-hashes --no-header $(UPGRADE) -o requirements.lock

bench: .venv/ready
	$(BIN)/python -m benchmarks.update_speed $(BENCH)

# A real Apache Kafka in the foreground, for `paaplus demo --log kafka://…` (needs Java 17 and Maven).
kafka: .venv/ready
	$(BIN)/python -m streams.kafka_broker

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("paaplus needs Python 3.11 or newer; set PYTHON=…" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .paaplus
