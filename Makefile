# What people and CI call. `make demo` and `make test` make the environments they need; nothing else is touched.
PYTHON ?= python3
# The CPU build of torch is enough for every test; say TORCH="torch==2.13.0 --index-url …" to choose where from.
TORCH ?= torch==2.13.0
# How many tests run beside each other; many of them wait for processes of their own.
JOBS ?= 2
RUN := .venv/bin
DEV := .venv-dev/bin
TIMM_TESTS := tests/engine/export/test_backbone.py tests/engine/export/test_backbone_timm.py tests/engine/export/test_gradient_timm.py

.PHONY: help demo test test-fast test-full-size check format lint layers types docs image-proof

help:  ## What there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*##/\t/'

demo: .venv/.ready  ## Distill Sign Language Digits on the shipped pack and show what it is worth (no torch)
	@sh examples/demo.sh $(RUN)

test: .venv-dev/.ready .venv-dev/timm/.ready  ## Every test
	@$(DEV)/python -m pytest -n $(JOBS) --dist loadfile
	@PYTHONPATH=.venv-dev/timm $(DEV)/python -m pytest $(TIMM_TESTS)

test-fast: .venv-dev/.ready .venv-dev/timm/.ready  ## The tests that take seconds
	@$(DEV)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow and not full_size"
	@PYTHONPATH=.venv-dev/timm $(DEV)/python -m pytest -m "not slow and not full_size" $(TIMM_TESTS)

test-full-size: .venv-dev/.ready .venv-dev/timm/.ready  ## Published networks at full size: gigabytes and many minutes
	@$(DEV)/python -m pytest --timeout=3600 -m full_size
	@PYTHONPATH=.venv-dev/timm $(DEV)/python -m pytest --timeout=3600 -m full_size $(TIMM_TESTS)

check: format lint layers types  ## Everything that reads the code without running it

format: .venv-dev/.ready  ## Formatting, checked
	@$(DEV)/ruff format --check .

lint: .venv-dev/.ready  ## Lint
	@$(DEV)/ruff check .
	@$(DEV)/python -m tools.protos_lint

layers: .venv-dev/.ready  ## Arrows point down only
	@$(DEV)/lint-imports

types: .venv-dev/.ready  ## mypy, strict
	@$(DEV)/mypy

docs: .venv-dev/.ready  ## README blocks and examples run, links resolve, every command has a page
	@$(DEV)/python -m pytest tests/docs

image-proof: .venv-dev/.ready  ## Build and run the CPU image without Docker (root, Linux, debootstrap; minutes)
	@$(DEV)/python -m docker.prove --scratch build/image-proof

# The run world: exactly what a user installs.
.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "limbeck needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv .venv
	@echo "installing the runtime into .venv (about 100 MB to download) …"
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch .venv/.ready

# The build world too. torch first and alone, so that no other package chooses a build of it.
.venv-dev/.ready: pyproject.toml constraints-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "limbeck needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv .venv-dev
	@echo "installing torch, the exporters and the test tools into .venv-dev …"
	@$(DEV)/python -m pip install --quiet --disable-pip-version-check -c constraints-dev.txt $(TORCH)
	@$(DEV)/python -m pip install --quiet --disable-pip-version-check -c constraints-dev.txt -e '.[export,text,parquet,openvino,tensorrt-rtx,server,test,lint]'
	@# its metadata wants an older protobuf than the one it runs with
	@$(DEV)/python -m pip install --quiet --disable-pip-version-check --no-deps tritonclient==2.73.0 python-rapidjson==1.25
	@touch .venv-dev/.ready

# timm needs torchvision, whose wheels are built for CUDA's torch and break what imports them beside another build: both
# lie in a folder of their own, on the path of the tests that need them only.
.venv-dev/timm/.ready: .venv-dev/.ready
	@rm -rf .venv-dev/timm
	@$(DEV)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints-dev.txt --target .venv-dev/timm timm torchvision
	@touch .venv-dev/timm/.ready
