# Two commands for a fresh clone: `make demo` and `make test`.
# Both make the environment .venv first, from pinned versions.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CLANG ?= clang
FUZZ_SECONDS ?= 600
SUITES ?=

.PHONY: demo test check bench bench-quick bench-accept bench-prove gpu soak fuzz install clean

demo: install  ## train, export, translate, score, report: runs/demo/report.html
	$(BIN)/cyclegan demo

test: install  ## the whole test suite, three tests at a time: some wait
	$(BIN)/python -m pytest -n 3 --dist loadgroup

check: install  ## style, types, layers, package contents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_package.py

bench: install  ## every suite, or SUITES="translate peers", and the pages that they make
	$(BIN)/python -m bench.run $(SUITES)
	$(BIN)/python -m bench.pages

bench-quick: install  ## gates and counts against the committed baselines, on every change
	$(BIN)/python -m bench.quick

bench-accept: install  ## make this tree's values the baseline: WHY="what changed, in a sentence"
	$(BIN)/python -m bench.accept --why "$$WHY"

bench-prove: install  ## ten unchanged runs pass, code made 20 % slower does not (quiet machine)
	$(BIN)/python -m bench.prove

gpu:  ## all that needs a GPU; PyTorch, Triton, NumPy and pytest are enough
	$(PYTHON) -m bench.gpu

soak: install  ## the C library for long: memory, threads, closing
	mkdir -p build
	$(BIN)/cyclegan export relief2satellite build/soak.onnx
	$(BIN)/cmake -S . -B build/runtime -DCYCLEGAN_TESTS=ON \
	  -DPython3_EXECUTABLE=$(abspath $(BIN)/python)
	$(BIN)/cmake --build build/runtime
	CYCLEGAN_TEST_MODEL=build/soak.onnx build/runtime/bin/test_soak 20000
	CYCLEGAN_TEST_MODEL=build/soak.onnx build/runtime/bin/test_flight 2000

fuzz: install  ## everything in the C library that reads a file, under libFuzzer; needs Clang
	CC=$(CLANG) CXX=$(CLANG:clang%=clang++%) $(BIN)/cmake -S . -B build/fuzz -DCMAKE_BUILD_TYPE=None \
	  -DCYCLEGAN_OPENVINO=OFF -DCYCLEGAN_SANITIZE=fuzzer-no-link,address,undefined
	$(BIN)/cmake --build build/fuzz --target fuzz_files
	mkdir -p build/fuzz/corpus
	build/fuzz/bin/fuzz_files -max_total_time=$(FUZZ_SECONDS) build/fuzz/corpus engine/runtime/fuzz/seeds

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo,dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
