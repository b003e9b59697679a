# Everything runs in .venv, made from nothing but Python 3.11 and a C++ compiler. With TORCH, a release such as 2.14.1,
# it runs in an environment of its own, .venv-2.14.1, beside the other: `make test TORCH=2.14.1`.

PYTHON ?= python3
ifdef TORCH
VENV := .venv-$(TORCH)
# Of torchvision the release that goes with this torch, for the tests that need it.
TORCH_PACKAGES := torch==$(TORCH) torchvision
else
VENV := .venv
# Not a plain "torch", which would fetch gigabytes of CUDA.
TORCH_PACKAGES := torch==$(shell sed -n 's/^DEFAULT_TORCH = "\(.*\)"/\1/p' wheels/releases.py)
endif
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := $(shell find csrc codegen cmake torchdevice -type f -not -path '*/engines/*' -not -path '*/__pycache__/*') \
           CMakeLists.txt setup.py pyproject.toml torchdevice_autoload.py torchdevice_ext.py TorchDevice.py wheels/backend.py wheels/releases.py
WORKERS ?= 2
# Which tests, files or folders; all if empty.
TESTS ?=

.PHONY: install demo test test-core test-mps test-mps-mutants test-asan test-tsan conformance fuzz lint lint-python lint-cpp format \
        bench clean wheels sdist docs

install: $(STAMP)

$(VENV)/.tools: pyproject.toml wheels/releases.py wheels/pins/build.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --require-hashes -r wheels/pins/build.txt
	$(BIN)/pip install -q $(TORCH_PACKAGES) numpy
	touch $@

# Without build isolation, so that CMake's build folder is reused and a second build takes seconds.
$(STAMP): $(VENV)/.tools $(SOURCES)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install -q --no-build-isolation -e ".[test,demo]"
	touch $@

demo: install
	$(BIN)/python examples/train_gpt.py --device cuda --out out/demo
	@echo "Pictures and text: $(CURDIR)/out/demo"

test: install
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TESTS)

# The whole suite and the conformance sweep over a simulated MPS (tests/mps_simulator); what cannot pass there is in
# tests/mps_ledger.toml and conformance/operators/ledger.toml.
BUILD = build/cmake-$(shell $(BIN)/python -c "import sys; from importlib.metadata import version; \
        print(sys.implementation.cache_tag, '.'.join(version('torch').split('.')[:2]), sep='-torch')")
MPS = TORCHDEVICE_BACKEND=mps MPS_SIMULATOR=$(CURDIR)/$(BUILD)/mps_simulator.so \
      PYTHONPATH=$(CURDIR)/tests/mps_simulator/plugin
test-mps: install
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cmake --build $(BUILD) --target mps_simulator
	$(MPS) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
	$(MPS) $(BIN)/python -m conformance.operators --jobs $(WORKERS) --out out/conformance-mps

# Each of some wrong engines must fail a test over the simulated MPS.
test-mps-mutants: install
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cmake --build $(BUILD) --target mps_simulator
	PATH="$(CURDIR)/$(BIN):$$PATH" $(MPS) $(BIN)/python tests/mps_simulator/mutants.py $(BUILD)

# The wheels of a release, built and checked on Linux; docs/release.md has the details. PYTHONS are Pythons of this
# machine, for whose releases to build, PLATFORMS and TORCHS a choice of those in wheels/. What is downloaded and
# compiled stays in build/wheels.
PYTHONS ?= $(BIN)/python
wheels: $(VENV)/.tools
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m wheels --python $(PYTHONS) --jobs $(WORKERS) \
	  $(if $(PLATFORMS),--platform $(PLATFORMS)) $(if $(TORCHS),--torch $(TORCHS))

# For every other torch.
sdist: $(VENV)/.tools
	TORCHDEVICE_TORCH= $(BIN)/python setup.py -q sdist

# The core of the suite, for what takes long or is built for one check.
CORE_TESTS := tests/forward tests/aten tests/autograd tests/graph tests/runtime/test_allocator.py \
              tests/runtime/test_generator.py tests/runtime/test_streams.py tests/runtime/test_events.py \
              tests/test_identity.py
# What hands in wrong numbers, handles and files.
HOSTILE_TESTS := tests/python/test_extreme_integers.py tests/runtime/test_shared_memory.py tests/conformance/test_fuzz.py
test-core: TESTS := $(CORE_TESTS)
test-core: test

# The core tests and hostile input on an instrumented build. Leaks are not looked for: what lives as long as the process
# is leaked on purpose, and CPython does the same.
.PHONY: build/asan build/tsan
build/asan build/tsan: install
	$(BIN)/cmake -S . -B $@ -G Ninja -DTORCHDEVICE_SANITIZE=$(SANITIZER) -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python \
	  -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo
	$(BIN)/cmake --build $@

test-asan: SANITIZER := address
test-asan: build/asan
	$(BIN)/python .ci/sanitize.py address build/asan -m pytest -q -n $(WORKERS) $(CORE_TESTS) $(HOSTILE_TESTS)

# Eight threads over streams and devices for a minute.
test-tsan: SANITIZER := thread
test-tsan: build/tsan
	$(BIN)/python .ci/sanitize.py thread build/tsan .ci/stress.py 60

# Every operator that torch describes, on cuda against cpu; the figures of docs/conformance.md.
conformance: install
	$(BIN)/python -m conformance.operators --jobs $(WORKERS) --docs
	$(BIN)/python -m conformance.half --jobs $(WORKERS)
	$(BIN)/python -m conformance.strict
	$(BIN)/python -m conformance.programs --count 10000

# Random calls, captures, replays, checkpoints and handles for some minutes: nothing may crash, hang or be wrong.
MINUTES ?= 10
SEED ?=
fuzz: install
	$(BIN)/python -m conformance.fuzz --minutes $(MINUTES) --jobs $(WORKERS) $(if $(SEED),--seed $(SEED))

# The tools of lint have an environment of their own, so that Python is checked without torch and without a build.
LINT := build/lint
PYTHON_TOOLS := ruff==0.17.5 mypy==2.4.1 types-PyYAML codespell==2.4.1 pre-commit-hooks==6.0.0
CPP_TOOLS := clang-format==23.1.5 clang-tidy==23.1.4
# Pictures are no text.
FILES = $$(git ls-files ':!*.png')
CPP_FILES = $$(git ls-files '*.h' '*.cpp')

$(LINT)/.python: Makefile
	$(PYTHON) -m venv $(LINT)
	$(LINT)/bin/pip install -q $(PYTHON_TOOLS)
	touch $@

$(LINT)/.cpp: $(LINT)/.python
	$(LINT)/bin/pip install -q $(CPP_TOOLS)
	touch $@

# Without torch mypy knows nothing of its types: what only these could tell is left to a run that has them.
MYPY_WITHOUT_TORCH := --ignore-missing-imports --allow-subclassing-any --allow-untyped-decorators \
                      --no-warn-return-any --no-warn-unused-ignores --disable-error-code=has-type
MYPY = $(LINT)/bin/mypy $(if $(wildcard $(STAMP)),--python-executable $(BIN)/python,$(MYPY_WITHOUT_TORCH))

# The documentation as a site, in build/site: strict, links checked. Without torch and without a build.
DOCS := build/docs
DOCS_TOOLS := mkdocs==1.6.1 mkdocs-material==9.8.2

$(DOCS)/.installed: Makefile
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install -q $(DOCS_TOOLS)
	touch $@

docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet
	@echo "$(CURDIR)/build/site/index.html"

# Everything that needs no build: seconds.
lint-python: $(LINT)/.python
	$(LINT)/bin/ruff check .
	$(LINT)/bin/ruff format --check .
	$(MYPY)
	$(LINT)/bin/codespell $(FILES)
	$(LINT)/bin/end-of-file-fixer $(FILES)
	$(LINT)/bin/trailing-whitespace-fixer $(FILES)
	$(LINT)/bin/check-merge-conflict $(FILES)
	$(LINT)/bin/check-toml $$(git ls-files '*.toml')
	$(LINT)/bin/check-yaml $$(git ls-files '*.yml' '*.yaml')

# clang-tidy takes the flags of the build.
lint-cpp: $(LINT)/.cpp install
	$(LINT)/bin/python .ci/arrows.py
	$(LINT)/bin/clang-format --dry-run --Werror $(CPP_FILES)
	$(LINT)/bin/python .ci/clang_tidy.py

lint: lint-python lint-cpp

format: $(LINT)/.cpp
	$(LINT)/bin/ruff check --fix .
	$(LINT)/bin/ruff format .
	$(LINT)/bin/clang-format -i $(CPP_FILES)

bench: install
	$(BIN)/python -m benchmarks

clean:
	rm -rf build dist out torchdevice/engines .venv .venv-*
