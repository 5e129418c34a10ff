# `make demo` and `make test` are all a newcomer needs; `make help` lists the rest.
PYTHON ?= python3
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
BIN := .venv/bin
READY := .venv/ready
PARITY := .venv-parity/ready

.PHONY: help install demo report test test-paper test-parity test-slurm test-kills lint format docs docs-site lock benchmark benchmark-peers rehearsal clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

install: $(READY) ## install the environment into .venv; then: source .venv/bin/activate

# The lock pins versions and hashes; a changed lock renews the environment. uv is used if it is there, pip suffices.
# The project itself comes last, as uv removes what is not in the lock: in place, so that edits count at once.
$(READY): envs/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	@echo "Installing the environment into .venv (once; PyTorch is large)"
	@if command -v uv >/dev/null; then \
		uv venv -q --allow-existing --python $(PYTHON) .venv && uv pip sync -q --compile-bytecode --python $(BIN)/python envs/requirements.lock && \
		uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation --editable .; \
	else \
		$(PYTHON) -m venv .venv && $(BIN)/python -m pip install -q --disable-pip-version-check -r envs/requirements.lock && \
		$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	fi
	@touch $@

demo: $(READY) ## run everything on the embedded benchmark and print the table
	@$(BIN)/snakemake --cores $(CORES) --configfile config/demo.yaml -- demo
	@$(BIN)/snakemake --quiet all --configfile config/demo.yaml --report results/snakemake.html \
		>logs/report.log 2>&1 || { cat logs/report.log; exit 1; }
	@echo "  results/snakemake.html  (Snakemake's own report: how it was made)"

report: $(READY) ## make the report of your configuration: make report CONFIG=mine.yaml
	@$(BIN)/python workflow_scripts/tatr/console report $(or $(CONFIG),config/demo.yaml) --cores $(CORES)

test: $(READY) ## run the tests
	@$(BIN)/python -m pytest -q -n $(CORES) --dist worksteal

test-paper: $(READY) ## run the paper's three configs on small generated files in the data sets' own formats
	@TATR_TEST_PAPER=1 $(BIN)/python -m pytest -q -n $(CORES) tests/paper

# Next to the environment, whose packages the libraries use as they are: only PYTHONPATH makes them visible.
$(PARITY): envs/parity.txt $(READY)
	@echo "Installing mergekit and fusion-bench into .venv-parity (once; 100 MB)"
	@rm -rf .venv-parity
	@if command -v uv >/dev/null; then install="uv pip install --python $(BIN)/python"; \
	else install="$(BIN)/python -m pip install --disable-pip-version-check --no-compile"; fi; \
	$$install -q --target .venv-parity --no-deps --no-build-isolation --require-hashes -r envs/parity.txt
	@touch $@

test-parity: $(PARITY) ## compare the methods with mergekit's and fusion-bench's (installs these)
	@TATR_TEST_PARITY=1 PYTHONPATH=.venv-parity $(BIN)/python -m pytest -q tests/parity

test-slurm: $(READY) ## run a tiny config through a real Slurm on this machine (Debian, as root)
	@TATR_TEST_SLURM=1 $(BIN)/python -m pytest -q tests/slurm

TRIALS ?= 50
test-kills: $(READY) ## kill runs at random moments (TRIALS of them, 50), and compare what they end with
	@TATR_TEST_KILLS=$(TRIALS) $(BIN)/python -m pytest -q -s tests/workflow/test_kills.py

lint: $(READY) ## check style, floors, types, the workflow and generated files
	@$(BIN)/ruff check . && $(BIN)/ruff format --check -q .
	@PYTHONPATH=workflow_scripts $(BIN)/lint-imports --no-logo
	@$(BIN)/mypy
	@$(BIN)/snakefmt --no-format-shell -l 120 --check Snakefile rules
	@$(BIN)/snakemake --lint
	@$(BIN)/python workflow_scripts/config_docs.py --check

docs-site: $(READY) ## build the pages into a searchable site, build/docs-site; fails at a dead link or an orphan
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --config-file docs/site/mkdocs.yml
	@echo "  build/docs-site/index.html (search needs a server: $(BIN)/python -m http.server -d build/docs-site)"

format: $(READY) ## bring all sources into the house's style
	@$(BIN)/ruff check --fix-only -q . ; $(BIN)/ruff format -q .
	@$(BIN)/snakefmt --no-format-shell -l 120 Snakefile rules

benchmark: $(READY) ## time and memory of every stage of the last demo run
	@$(BIN)/python benchmarks/stages.py results/benchmarks

benchmark-peers: $(PARITY) ## time and memory of merging files, beside mergekit's and fusion-bench's (installs these)
	@$(BIN)/python benchmarks/peers.py

rehearsal: $(READY) ## time and memory of every arithmetic step at ViT-B/32 and ViT-L/14 size (27 GB of disk)
	@$(BIN)/python benchmarks/rehearsal.py

lock: ## pin the newest versions (needs uv)
	uv pip compile -q pyproject.toml --extra pipeline --extra cluster --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --upgrade --custom-compile-command "make lock" -o envs/requirements.lock

clean: ## remove results, logs and caches (not the environment)
	rm -rf results logs build/docs-site .snakemake .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
