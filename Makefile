# Every target does its own set-up, on a machine that has Python >= 3.11 and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test faults quick docs check clean

demo: .venv/demo
	$(BIN)/python -m experiments.few_shot_clustering --resume

test: .venv/test  # a file stays with one worker, so that its compiled functions are shared
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m 'not slow and not faults'

faults: .venv/test
	$(BIN)/pytest --numprocesses 2 --dist worksteal -m 'faults and not slow'

# These compile far more than they run.
quick: export XLA_FLAGS = --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true \
  --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1
quick: .venv/test
	for file in $$(grep -l 'harness.run' experiments/*.py experiments/*/*.py 2>/dev/null | grep -v harness.py); do \
	  module=$$(echo $${file%.py} | tr / .); \
	  echo "== $$module"; \
	  $(BIN)/python -m $$module --preset quick --out runs/quick/$$module || exit 1; \
	done

	for file in experiments/benchmarks/*.py; do \
	  grep -q '__main__' $$file || continue; \
	  module=$$(echo $${file%.py} | tr / .); \
	  echo "== $$module"; \
	  $(BIN)/python -m $$module --quick --out runs/quick/$$module.json || exit 1; \
	done

docs: .venv/docs
	$(BIN)/python -m experiments.results --check
	$(BIN)/sphinx-build --fail-on-warning --quiet docs docs/_build/html

check: .venv/test
	$(BIN)/pre-commit run --all-files

clean:
	rm -rf .venv runs build dist docs/_build

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/test .venv/docs: .venv/%: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable '.[$*]'
	touch $@
