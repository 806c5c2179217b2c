# Every action; each first makes what it needs. For another Python: make test PYTHON=python3.12

# Lambda's Python, where it works: a name on the PATH may lead nowhere. The oldest is 3.11.
PYTHON ?= $(shell python3.13 -c '' 2>/dev/null && echo python3.13 || echo python3)
ARGS ?=
DROPS ?= 100
FAULTS ?= 0.2
SEED ?= 7
SECONDS ?= 60
CHANGES ?=
UV_VERSION := 0.13.9
RUN := .venv/bin/python
SOURCES = layers/common/phonoscene functions cli local tests examples $(wildcard benchmarks)
REPORTS := .build/reports
PYTEST = $(RUN) -m pytest --junitxml=$(REPORTS)/$@.xml
EXPORT = .venv/bin/uv export --quiet --frozen --no-emit-project --no-header --python $(RUN)
export SAM_CLI_TELEMETRY := 0
# Without bytecode each of some hundred processes would compile the code again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo drop board up down status test check unit integration security audit fuzz permissions crash-matrix media-matrix odd-answers soak bench e2e format build release deploy deploy-check target-check upgrade-check lock version hooks clean

help: ## list these targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

demo: .venv/ready ## one sample on the local cloud, from drop to a video you can play
	@$(RUN) -m local demo $(ARGS)

# make exports what is given on its command line, with its own variables replaced: $5 would be lost.
# Assigned from $(value …) it is exported as it was typed; quoted by the shell, a prompt may hold anything.
override FILE := $(value FILE)
override PROMPT := $(value PROMPT)
export FILE PROMPT

drop: .venv/ready ## your own file: FILE=song.mp3 PROMPT="…"; on the real fal if FAL_KEY is set
	@[ -n "$$FILE" ] || { echo 'Name a file: make drop FILE=song.mp3 PROMPT="rain on a window"' >&2; exit 2; }
	@$(RUN) -m local drop --start "$$FILE" $${PROMPT:+--prompt "$$PROMPT"} $(ARGS)

board: .venv/ready ## the local cloud in your browser: drop files, follow jobs, play videos
	@$(RUN) -m local up
	@.venv/bin/phonoscene --local board $(ARGS)

up: .venv/ready ## start the local cloud, or deploy what changed (ARGS="--port 4600")
	@$(RUN) -m local up $(ARGS)

down: .venv/ready ## stop the local cloud
	@$(RUN) -m local down

status: .venv/ready ## what runs, where, and how many jobs
	@$(RUN) -m local status $(ARGS)

test: check unit integration e2e ## every check and test, in that order, up to the first that fails
	@$(RUN) -c 'import glob, xml.etree.ElementTree as xml; \
	suites = [s for f in glob.glob("$(REPORTS)/*.xml") for s in xml.parse(f).getroot()]; \
	count = lambda *names: sum(int(s.get(n)) for s in suites for n in names); \
	bad, skipped = count("failures", "errors"), count("skipped"); \
	print(count("tests") - bad - skipped, "passed,", bad, "failed,", skipped, "skipped")'

check: .venv/ready .venv-sam/ready ## the lock, format, lint, spelling, workflows, types (as on Windows, too) and the template
	.venv/bin/uv lock --check --offline --quiet --python $(RUN) || { echo 'run `make lock`' >&2; exit 1; }
	$(RUN) -m ruff format --check $(SOURCES)
	$(RUN) -m ruff check $(SOURCES)
	.venv/bin/codespell
	.venv/bin/zizmor --offline --quiet --no-progress .github
	$(RUN) -m mypy $(SOURCES) & types=$$!; \
	.venv/bin/cfn-lint template.yaml && .venv-sam/bin/sam validate --lint --region us-east-1 && \
	$(RUN) -m mypy --platform win32 --cache-dir .mypy_cache/windows cli layers/common; \
	rest=$$?; wait $$types && exit $$rest

unit: .venv/ready ## the core, without any network
	$(PYTEST) -n auto --dist worksteal tests/unit --disable-socket --allow-unix-socket $(ARGS)

# half as many processes again as cores: a sixth of the time these tests wait for a server or a child
integration: .venv/ready ## handlers on moto, every crash and order, media, the simulator, packaging, versions
	$(PYTEST) -n $$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 )) --dist worksteal tests/integration tests/crash tests/security tests/media tests/odd tests/compatibility $(ARGS)

security: .venv/ready .venv-audit/ready ## one table of threats: cases, failures (ARGS="--only storm" for a part)
	@$(RUN) -m tests.security.report $(ARGS)

audit: .venv-audit/ready ## the template by checkov; the deployed packages against PyPI's advisories
	.venv-audit/bin/checkov --file template.yaml --framework cloudformation --compact --quiet --skip-download
	$(RUN) -m tests.security.advisories

fuzz: .venv-fuzz/ready ## look for input that breaks a door to the outside (SECONDS=60)
	@FUZZ_FOLDER=.build/fuzz PYTHONPATH=.:layers/common .venv-fuzz/bin/python -W ignore \
		-m tests.security.fuzz --seconds $(SECONDS) $(ARGS)

permissions: .venv/ready ## what breaks without each action of each role, in two orders (ARGS="--seed 7")
	@$(RUN) -W ignore -m tests.support.permissions.removals $(ARGS)

crash-matrix: .venv/ready ## a crash before and after every I/O call, and every pair of crashes; half an hour
	@PYTHONPATH=layers/common $(RUN) -m tests.crash.matrix $(ARGS)

media-matrix: .venv/ready ## how right audio is measured: formats, muxes, rates, lengths; minutes (ARGS="--only ogg")
	@PYTHONPATH=layers/common $(RUN) -m tests.media.matrix $(ARGS)

odd-answers: .venv/ready ## each odd answer of fal, its CDN and an endpoint, webhook or polling: one table
	@$(RUN) -m pytest -q tests/odd/table.py $(ARGS); code=$$?; cat .build/odd/table.txt; exit $$code

soak: .venv/ready ## many drops under faults, every id checked (DROPS=1000 FAULTS=0.2 SEED=7)
	@$(RUN) -m tests.soak.soak --drops $(DROPS) --faults $(FAULTS) --seed $(SEED) $(ARGS)

e2e: .venv/ready ## the deployed stack on a local cloud of its own
	$(PYTEST) -n 6 --dist loadgroup --no-loadscope-reorder tests/e2e tests/soak $(ARGS)

bench: .venv/ready ## figures beside what people write instead, in benchmarks/RESULTS.md (ARGS="--only cold")
	@PYTHONPATH=layers/common:cli $(RUN) -m benchmarks $(ARGS)

format: .venv/ready ## rewrite the code as `make check` wants it
	$(RUN) -m ruff format $(SOURCES)
	$(RUN) -m ruff check --fix $(SOURCES)

build: .venv/ready ## the layer and the functions as AWS receives them, in .build/aws/
	@$(RUN) -m local build

release: .venv/ready ## the wheel, the archive for `phonoscene deploy`, and their hashes, in dist/
	@$(RUN) -m local release $(ARGS)

deploy: .venv/ready .venv-sam/ready samconfig.toml ## to AWS, with your credentials and the parameters of samconfig.toml
	@CHANGES="$(CHANGES)" $(RUN) -m local.changes $(ARGS)
	PYTHON=$(abspath $(RUN)) .venv-sam/bin/sam build --cache-dir ".aws-sam/cache/$$( \
		$(MAKE) --silent -C layers compiler PYTHON=$(abspath $(RUN)) | grep -q . && echo bytecode || echo source)"
	.venv-sam/bin/sam deploy $(ARGS)

deploy-check: .venv/ready .venv-sam/ready .venv-aws/ready ## each command of docs/deploy.md, and a release from its archive, on the emulator
	$(RUN) -m pytest -x tests/deployment $(ARGS)

upgrade-check: .venv/ready ## a stack in use updated, rolled back and adopted, on the local cloud; two minutes
	$(RUN) -m pytest -x tests/deployment/test_upgrade.py $(ARGS)

target-check: .venv/ready ## the artefacts for AWS on an emulated arm64 Python 3.13 (needs qemu); 4 minutes
	$(RUN) -m pytest tests/target $(ARGS)

samconfig.toml: | samconfig.example.toml
	@cp samconfig.example.toml $@
	@echo "made $@: set the stack's parameters there" >&2

lock: .venv/ready ## resolve pyproject.toml into uv.lock and the layers' lists (ARGS=--upgrade)
	.venv/bin/uv lock --quiet --system-certs --default-index https://pypi.org/simple --python $(RUN) $(ARGS)
	$(EXPORT) --no-dev --output-file layers/common/requirements.txt
	$(EXPORT) --only-group media --output-file layers/media/requirements.txt

version: ## set the version of code and template: VERSION=0.2.0
	@echo '$(VERSION)' | grep -Eqx '[0-9]+\.[0-9]+\.[0-9]+' || { echo 'Name a version: make version VERSION=0.2.0' >&2; exit 2; }
	@sed -i.bak 's/^VERSION: Final = .*/VERSION: Final = "$(VERSION)"/' layers/common/phonoscene/version.py
	@sed -i.bak 's/&version [0-9.]*/\&version $(VERSION)/' template.yaml
	@rm layers/common/phonoscene/version.py.bak template.yaml.bak

hooks: .venv/ready ## check each commit's files: format, lint, spelling, YAML; seconds, no network
	.venv/bin/pre-commit install

clean: ## stop the local cloud; remove all that was made, videos too; keeps samconfig.toml
	@if [ -e .venv/ready ]; then $(RUN) -m local down; fi
	rm -rf .venv .venv-* .build build dist .local .aws-sam .mypy_cache .ruff_cache .pytest_cache .hypothesis

# uv.lock holds PyPI's own addresses, and `uv sync` asks no other. A list of hashes holds none, so it
# installs from pip's index, too, which a mirror may be. uv does not read pip's configuration itself.
define sync
@$(EXPORT) --only-group $(1) >$(@D)/locked.txt
@UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(RUN) -m pip config get global.index-url 2>/dev/null)}}" \
	.venv/bin/uv pip sync --quiet --system-certs --require-hashes --python $(@D) $(2) $(@D)/locked.txt
endef

# uv installs the locked list in seconds; it stays, beside pip, for the next time.
.venv/ready: uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Phonoscene needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.13")'
	@echo "installing the tools in .venv" >&2
	@[ -x .venv/bin/uv ] || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@$(RUN) -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(call sync,dev,--compile-bytecode)
	@.venv/bin/uv pip install --quiet --no-deps --no-build-isolation --python .venv --editable .
	@touch $@

# What pins libraries that the tools need newer has a venv of its own; the fuzzer runs the tests' code.
.venv-%/ready: uv.lock | .venv/ready
	@echo "installing the tools of $(@D)" >&2
	@[ -x $(@D)/bin/python ] || $(PYTHON) -m venv $(@D)
	$(call sync,$*)
	@touch $@
