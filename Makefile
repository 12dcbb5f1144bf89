# Every target does its own set-up, on a machine that has Python >= 3.11 and nothing else.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --no-compile # only a part of what is installed is ever imported
unexport PYTHONDONTWRITEBYTECODE # without bytecode each process would compile what it imports, for seconds

LONG := experiments/zero_shot.py experiments/benchmarks/cost.py # these begin first, so that no core waits for them
QUICK := $(patsubst %.py,quick/%,$(LONG) $(filter-out $(LONG),$(shell grep -l '__main__' experiments/benchmarks/*.py; \
  grep -l 'harness\.run\b' experiments/*.py)))

.PHONY: demo test faults quick $(QUICK) ahead docs check wheel clean

demo: .venv/demo
	$(BIN)/python -m experiments.few_shot_clustering --train both --resume

test: .venv/test  # a file stays with one worker, so that its compiled functions are shared
	$(BIN)/pytest --numprocesses 2 --dist loadfile --durations 10 -m 'not slow and not faults'

faults: .venv/test
	$(BIN)/pytest --numprocesses 2 --dist worksteal -m 'faults and not slow'

# Every experiment and benchmark in its smallest form: `make --jobs 2 quick`. They compile far more than they run.
quick: $(QUICK)  # then their metrics are looked at
	$(BIN)/pytest tests/experiments/test_quick.py

$(QUICK): quick/%: runs/quick/flags
	@echo "== $*"
	@rm -rf runs/$@ && mkdir -p $(dir runs/$@)
	@XLA_FLAGS="$$XLA_FLAGS $$(cat $<)" $(BIN)/python -m $(subst /,.,$*) \
	  $(if $(filter experiments/benchmarks/%,$*),--quick --out runs/$@.json,--preset quick --out runs/$@) \
	  > runs/$@.log 2>&1 || { cat runs/$@.log; exit 1; }

runs/quick/flags: jmeta/compiler.py .venv/test
	@mkdir -p $(@D)
	$(BIN)/python -c 'from jmeta.compiler import flags; print(flags())' > $@

# Programs compiled for TPUs and GPUs that are not there. The compilers lie in an environment of their own, as jax
# would look for such devices at every start beside them.
ahead: .venv-ahead/plan
	ALLOW_MULTIPLE_LIBTPU_LOAD=1 \
	  .venv-ahead/bin/pytest --numprocesses 2 --dist worksteal --durations 10 tests/planning/test_ahead_of_time.py

.venv-ahead/plan: pyproject.toml
	$(PYTHON) -m venv .venv-ahead
	.venv-ahead/bin/pip install --quiet --no-compile --editable '.[plan]' pytest pytest-xdist
	touch $@

docs: .venv/docs .venv/test  # then its main pages are looked at in a browser, where there is one
	$(BIN)/python -m experiments.results --check
	$(BIN)/sphinx-build --fail-on-warning --quiet docs docs/_build/html
	$(BIN)/pytest tests/test_site.py

# What a user gets: the wheel, small, alone in an environment of its own, clusters a table.
wheel:
	rm -rf dist .venv-wheel && $(PYTHON) -m venv .venv-wheel
	.venv-wheel/bin/pip wheel --quiet --no-deps --wheel-dir dist .
	test $$(stat -c %s dist/jmeta-*.whl) -lt 5000000
	.venv-wheel/bin/pip install --quiet "$$(ls dist/jmeta-*.whl)[tables]"
	seq 90 | awk 'BEGIN {print "a,b"} {print $$1 % 3 * 9 + sin($$1) "," $$1 % 3 * 9 + cos(7 * $$1)}' > dist/table.csv
	cd dist && ../.venv-wheel/bin/jmeta doctor && ../.venv-wheel/bin/jmeta cluster table.csv --report page.html

check: .venv/test
	$(BIN)/pre-commit run --all-files

clean:
	rm -rf .venv .venv-ahead .venv-wheel runs build dist docs/_build

.venv/bin/python:
	@echo "== making an environment in .venv, once; about a minute"
	$(PYTHON) -m venv .venv

.venv/demo: pyproject.toml | .venv/bin/python
	$(INSTALL) --editable .
	touch $@

.venv/docs: | .venv/test # one at a time
.venv/test .venv/docs: .venv/%: pyproject.toml | .venv/bin/python
	$(INSTALL) --editable '.[$*]'
	touch $@
