# make hello | make demo | make test | make soak | make gpu-check |
# make lint | make setup
#
#   OPS=all                         compile all of mmcv's operators
#   STACK=onedl                     use the maintained forks of OpenMMLab's stack
#   PYTHON=/path/to/python          make the virtual environment with this Python
#   VENV=                           (empty) make none and use PYTHON as it is
#   TESTS="tests/tools -k resume"   arguments of pytest for `make test`
#   WORKERS=2                       processes of `make test`

PYTHON ?= python3
STACK ?= stock
OPS ?=
TESTS ?= tests
WORKERS ?= 2

ifeq ($(STACK),stock)
VENV ?= .venv
REQUIREMENTS := requirements.txt
else ifeq ($(STACK),onedl)
VENV ?= .venv-onedl
REQUIREMENTS := requirements-onedl.txt
else
$(error STACK=$(STACK) is neither "stock" nor "onedl")
endif

RUN := $(if $(VENV),$(VENV)/bin/python,$(PYTHON))

.PHONY: setup hello demo test soak gpu-check lint

setup:
	@$(if $(VENV),tools/setup.sh "$(PYTHON)" "$(VENV)" $(REQUIREMENTS) $(OPS),true)

hello: setup
	@"$(RUN)" tools/hello.py

demo: setup
	@"$(RUN)" tools/demo.py

test: setup
	@OMP_NUM_THREADS=1 "$(RUN)" -m pytest -n $(WORKERS) --dist loadfile $(TESTS)

soak: setup
	@timeout 1h "$(RUN)" -m pytest tests/soak/killed_runs.py tests/soak/ranks.py

gpu-check: setup
	@"$(RUN)" tools/gpu_check.py

lint: setup
	@"$(RUN)" -m ruff check .
	@"$(RUN)" -m ruff format --check .
