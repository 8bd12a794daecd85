# Two commands do everything on a fresh machine: `make demo` and `make test`. Both make the virtual environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# onnxruntime and onnxruntime-gpu fill the same module, so one of them is chosen: gpu where an NVIDIA driver answers.
RUNTIME ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)

# Tests in as many processes as there are CPUs, at most 4: each loads torch and needs up to 3 GB. They write bytecode,
# whatever the machine's setting: the hundreds of programs that tests start would compile the package again, each for itself.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -n logical --maxprocesses 4 --dist worksteal

# The versions that were tested on this platform and Python; without such a file pip chooses.
LOCKED := constraints/$(shell $(PYTHON) -c "import platform, sys; print(f'{platform.system()}-{platform.machine()}-py{sys.version_info[0]}.{sys.version_info[1]}'.lower())").txt
CONSTRAINTS := $(if $(wildcard $(LOCKED)),--constraint $(LOCKED))

.DEFAULT_GOAL := help
.PHONY: help install demo test check docs schema bench fuzz constraints audit-dependencies clean

help:
	@echo "make install  virtual environment with everything that runs here"
	@echo "make demo     train, harden, attack, export and audit on embedded synthetic images (minutes, CPU)"
	@echo "make test     run the tests, without the slow ones"
	@echo "make check    ruff, mypy --strict, all tests"
	@echo "make docs     the documentation site, into build/site"
	@echo "make schema   docs/audit.schema.json anew from the code"
	@echo "make bench    skinaudit beside torchattacks, foolbox, adv-lib, ART and a bare runtime"
	@echo "make fuzz     changed files for every reader, ten minutes each"
	@echo "make constraints         versions of this environment anew, for this platform and Python"
	@echo "make audit-dependencies  known weaknesses of what is installed (pip-audit)"
	@echo "make clean    remove the virtual environment, builds and caches"
	@echo "RUNTIME=cpu|gpu chooses the ONNX Runtime build (here: $(RUNTIME))"

install: $(VENV)/.installed-$(RUNTIME)

$(VENV)/.installed-%: pyproject.toml $(wildcard constraints/*.txt)
	@test ! -e $(VENV) -o -e $@ -o -z "$$(ls $(VENV)/.installed-* 2>/dev/null)" || rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	@# setuptools warns of every editable installation whose package is the root folder; nothing is to be done about it.
	PYTHONWARNINGS='ignore:Editable installation:UserWarning' \
	$(BIN)/pip install --quiet $(CONSTRAINTS) --editable ".[train,$*,rtx,openvino,report,dev]"
	@touch $@

demo: install
	$(BIN)/skinaudit demo

test: install
	$(PYTEST) -m "not slow"

check: install
	@mkdir -p .typing && ln -sfn .. .typing/skinaudit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST)

# In an environment of its own with the packages of the extra `docs` alone: the site imports the command line, which needs no more.
docs: build/docs-env/.installed
	NO_MKDOCS_2_WARNING=1 build/docs-env/bin/mkdocs build --strict

build/docs-env/.installed: pyproject.toml
	$(PYTHON) -m venv build/docs-env
	build/docs-env/bin/pip install --quiet $$($(PYTHON) -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'])")
	@touch $@

schema: install
	$(BIN)/python -c "from skinaudit.audit.reports.parts.schema import schema_text; print(schema_text(), end='')" > docs/audit.schema.json

# Wants two trained runs, by default runs/standard and runs/hardened (exported); BENCH passes other options.
bench: install
	$(BIN)/python bench/libraries.py attacks
	$(BIN)/python bench/run.py $(BENCH)

fuzz: install
	$(BIN)/python bench/hostile_files.py --seconds 600 --keep build/fuzz --seed $$(date +%s)

constraints: install
	@mkdir -p constraints
	(echo "# Versions of the development environment, for make install. Made by: make constraints"; \
	$(BIN)/pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==[^ ]+$$') > $(LOCKED)

# In an environment of its own, so that what it brings does not change what is tested.
audit-dependencies: install
	@$(PYTHON) -m venv build/pip-audit && build/pip-audit/bin/pip install --quiet pip-audit \
	|| { echo "audit-dependencies: pip-audit cannot be installed here; nothing was asked"; exit 0; }; \
	$(BIN)/pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==[^ ]+$$' > build/installed.txt; \
	build/pip-audit/bin/pip-audit --no-deps --disable-pip --requirement build/installed.txt > build/pip-audit.txt 2>&1; code=$$?; \
	unknown=$$(grep -c "could not be audited" build/pip-audit.txt); all=$$(wc -l < build/installed.txt); \
	if grep -qiE "connection|resolve|unreachable|timed out|HTTPError|ServiceError" build/pip-audit.txt; then \
	echo "audit-dependencies: the data of known weaknesses cannot be reached from here; nothing was asked"; \
	elif [ "$$unknown" -eq "$$all" ]; then \
	echo "audit-dependencies: the index that is reached from here knows none of the $$all packages, so nothing was checked"; \
	else cat build/pip-audit.txt; exit $$code; fi

clean:
	rm -rf $(VENV) build *.egg-info .typing .mypy_cache .ruff_cache .pytest_cache .hypothesis
