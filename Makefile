# make hello | make demo | make test | make soak | make gpu-check |
# make lint | make setup
#
#   OPS=all                         compile all of mmcv's operators
#   STACK=onedl                     use the maintained forks of OpenMMLab's stack
#                                   (by default from Python 3.13 on), STACK=stock
#                                   OpenMMLab's own packages
#   PYTHON=/path/to/python          make the virtual environment with this Python
#   VENV=                           (empty) make none and use PYTHON as it is
#   TESTS="tests/tools -k resume"   arguments of pytest for `make test`
#   WORKERS=2                       processes of `make test`

PYTHON ?= python3
STACK ?=
OPS ?=
TESTS ?= tests
WORKERS ?= 2

VENV ?= .venv$(if $(filter onedl,$(STACK)),-onedl)
RUN := $(if $(VENV),$(VENV)/bin/python,$(PYTHON))

.PHONY: setup hello demo test soak gpu-check lint

setup:
	@$(if $(VENV),tools/setup.sh "$(PYTHON)" "$(VENV)" "$(STACK)" "$(OPS)",true)

hello: setup
	@"$(RUN)" tools/hello.py

demo: setup
	@"$(RUN)" tools/demo.py

test: setup
	@OMP_NUM_THREADS=1 "$(RUN)" -m pytest -rs -n $(WORKERS) --dist loadfile $(TESTS)

soak: setup
	@timeout 1h "$(RUN)" -m pytest tests/soak/killed_runs.py tests/soak/ranks.py

gpu-check: setup
	@"$(RUN)" tools/gpu_check.py

lint: setup
	@"$(RUN)" -m ruff check .
	@"$(RUN)" -m ruff format --check .
