# make review   a review of data/sample (or DATA=… POLICY=… RELEASE=…), rendered to _site/
# make test     all tests
# make fuzz     broken telemetry through the command line, for 10 minutes (or FUZZ_SECONDS=…, SEED=…)
# make simulate false-alarm rates over many random worlds, some minutes
# make demo     four releases, each reviewed, gated and recorded, in _demo/ (or OUT=…)
# make lint     lint, format and type checks
# make format   formats the code; make sample rewrites data/sample; make pins rewrites constraints.txt
# make schemas  writes the JSON Schema of the artifact's current revision to analysis/schemas/
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
JOBS   ?= 2
FUZZ_SECONDS ?= 600
SEED   ?= 1

OPTIONS := $(if $(DATA),--data "$(DATA)") $(if $(POLICY),--policy "$(POLICY)") \
           $(if $(RELEASE),--release "$(RELEASE)") $(if $(OUT),--out "$(OUT)") \
           $(if $(ENGINE),--engine "$(ENGINE)")

export PYTHONDONTWRITEBYTECODE := 1
export QUARTO_PYTHON := $(CURDIR)/$(BIN)/python

.PHONY: review test fuzz simulate demo lint format sample schemas pins clean

review: $(VENV)/.review
	@$(BIN)/python -m analysis render $(OPTIONS)

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

fuzz: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --seed $(SEED)

simulate: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) -m simulate

demo: $(VENV)/.review
	@$(BIN)/python -m analysis.demonstration $(if $(OUT),--out "$(OUT)")

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sample: $(VENV)/.review
	$(BIN)/python -m analysis sample --scenario regressed --seed 1 --format csv.gz --out data/sample

schemas: $(VENV)/.review
	$(BIN)/python -c "from analysis import artifact; artifact.publish_schema()"

pins: $(VENV)/.dev
	{ sed -n 1p constraints.txt; $(BIN)/python -m pip freeze --disable-pip-version-check; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) _site _demo .cache

$(VENV)/.review: requirements.txt constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.review
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
