#!/usr/bin/env bash
# Make a virtual environment with the packages of this project:
#   tools/setup.sh PYTHON VENV [STACK] [OPS]
# STACK=stock takes OpenMMLab's own packages (requirements.txt), STACK=onedl their
# maintained forks (requirements-onedl.txt). By default the Python decides.
# OPS=core, the default, compiles the operators of mmcv that SPRNet needs; OPS=all
# compiles all. Both compile them for CUDA, too, if there are a GPU that torch can
# use (or FORCE_CUDA=1, mmcv's variable) and a CUDA toolkit. A second run has
# nothing to do; an interrupted one continues.
set -eu

python=$1 venv=$2 stack=${3:-} ops=${4:-}
log=$venv/setup.log

# Each Python, and the stack that works with it by default. mmcv 2.1.0 does not
# build with 3.13: its setup.py relies on what locals() was until then (PEP 667).
stacks='
3.10 stock
3.11 stock
3.12 stock
3.13 onedl
3.14 onedl
'
index=https://download.pytorch.org/whl # PyTorch's own

fail() {
    echo "setup: $1" >&2
    exit 1
}

requirements_of() { # requirements_of STACK
    case $1 in
    stock) echo requirements.txt ;;
    onedl) echo requirements-onedl.txt ;;
    esac
}
checksum_of() { # checksum_of STACK: changes with any of its requirements
    cat requirements-build.txt requirements-tools.txt "$(requirements_of "$1")" |
        cksum | tr ' ' -
}

case $stack in
'' | stock | onedl) ;;
*) fail "STACK=$stack is neither \"stock\" nor \"onedl\"" ;;
esac
case $ops in
'' | core | all) ;;
*) fail "OPS=$ops is neither \"core\" nor \"all\"" ;;
esac

stamp=$venv/.ready
read -r had had_sum had_ops 2>/dev/null <"$stamp" || true
if [ "${had:-}" ] && [ "${stack:-$had}" = "$had" ]; then
    case "$had_sum $had_ops" in
    "$(checksum_of "$had") all") exit 0 ;;
    "$(checksum_of "$had") core") [ "$ops" = all ] || exit 0 ;;
    esac
fi

# Check first what would otherwise fail after minutes with a page of errors.
command -v "$python" >/dev/null ||
    fail "$python was not found; install Python 3.10 to 3.14 or set PYTHON=/path/to/python"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
default=$(echo "$stacks" | awk -v version="$version" '$1 == version { print $2 }')
[ "$default" ] ||
    fail "$python is Python $version; the packages need Python 3.10 to 3.14, set PYTHON=/path/to/python"
if [ "$stack" ] && [ "$stack" != "$default" ]; then
    [ "$stack" = onedl ] ||
        fail "STACK=stock needs Python 3.10 to 3.12, as mmcv 2.1.0 does not build with $version; leave STACK away to take the maintained forks, or set PYTHON=/path/to/python"
    why='as STACK=onedl says'
elif [ "$default" = onedl ]; then
    why="as OpenMMLab's own mmcv 2.1.0 does not build with Python $version"
else
    why="which builds with Python $version"
fi
stack=${stack:-$default}
requirements=$(requirements_of "$stack")

"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments; install its venv package (Debian: python3-venv)"
command -v "${CXX:-c++}" >/dev/null ||
    fail "the C++ compiler ${CXX:-c++}, which builds mmcv's operators, was not found; install one (Debian: g++)"
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -f "$headers/Python.h" ] ||
    fail "$headers has no Python.h, which building mmcv's operators needs; install Python's headers (Debian: python3-dev)"
mkdir -p "$venv"
free=$(df -Pk "$venv" | awk 'NR == 2 { print int($4 / 1048576) }')
[ "$free" -ge 8 ] || [ -x "$venv/bin/python" ] ||
    fail "the disk of $venv has $free GiB free and the packages need up to 8 GiB; free some or set VENV=/path"

step() { # step DESCRIPTION COMMAND...: log the command's output, show progress
    local what=$1 started=$SECONDS next=$SECONDS files
    shift
    "$@" >>"$log" 2>&1 &
    local job=$!
    trap 'kill $job 2>/dev/null' EXIT
    while kill -0 $job 2>/dev/null; do
        files=$(grep -oE '^ *\[[0-9]+/[0-9]+\]' "$log" | tail -n 1 | tr -d ' ')
        # A terminal gets one line that is updated, a file one line a minute.
        if [ -t 1 ]; then
            printf '\r  %s %s %ds ' "$what" "$files" $((SECONDS - started))
        elif [ "$SECONDS" -ge "$next" ]; then
            echo "  $what $files $((SECONDS - started))s"
            next=$((SECONDS + 60))
        fi
        sleep 0.2
    done
    trap - EXIT
    local failed=0
    wait $job || failed=1
    [ -t 1 ] && echo || echo "  $what took $((SECONDS - started))s"
    return $failed
}

pip() {
    # Empty the log, so that explain() finds only the errors of this step.
    : >"$log"
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip "$@"
}

cause() { # the last error of the log that is not a report of another one
    grep -E '([Ee]rror|ERROR):' "$log" |
        grep -vE 'subprocess-exited-with-error|metadata-generation-failed|[Ff]ailed (to build|building)|CalledProcessError|Error compiling objects|Command .* failed' |
        tail -n 1 | sed 's/^[^[:alnum:]/]*//' | cut -c -300
}

explain() { # explain DEFAULT: fail with the cause that the log shows
    if grep -q 'No space left on device' "$log"; then
        fail "the disk is full; free some GiB and run again (log: $log)"
    elif grep -qE 'NewConnectionError|Failed to establish|name resolution|Connection refused|ReadTimeout' "$log"; then
        fail "pip could not reach the package index; check the network or pip's settings and run again (log: $log)"
    fi
    local last
    last=$(cause)
    fail "$1${last:+: $last} (log: $log)"
}

echo "setup: making $venv from $requirements, $why; once"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" ||
    fail "$python could not make a virtual environment in $venv"

gpus=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null) || gpus=
torch=$(grep '^torch==' requirements-build.txt)
if [ -z "$gpus" ] && ! "$venv/bin/python" -c 'import torch' 2>/dev/null &&
    "$venv/bin/python" -m pip install --dry-run --ignore-installed --no-deps \
        --quiet --report - "$torch" 2>/dev/null | grep -q '"nvidia-'; then
    echo "setup: there is no NVIDIA GPU, and the torch that pip takes brings CUDA: 2.7 GB to
  download, 4.6 GB on the disk. PyTorch's build for the CPU has 0.2 and 0.7 GB; to take
  it, stop this and run: PIP_EXTRA_INDEX_URL=$index/cpu make setup"
fi
step "torch and build tools" pip install -r requirements-build.txt ||
    explain "torch could not be installed"

if [ "$gpus" ] && [ "${CUDA_VISIBLE_DEVICES-all}" ]; then
    "$venv/bin/python" - "$gpus" "$index" <<'PYTHON'
import sys, torch

if not torch.cuda.is_available():
    gpu, driver = sys.argv[1].splitlines()[0].rsplit(', ', 1)
    built = f'built for CUDA {torch.version.cuda}'
    if not torch.version.cuda:
        built = 'a build for the CPU'
    print(
        f'setup: nvidia-smi sees a GPU ({gpu}, driver {driver}) that torch '
        f'{torch.__version__} cannot use: it is {built}.\n'
        '  Everything is compiled for the CPU. For the GPU, update the driver, '
        'or remove\n  the environment and take a build for a CUDA that '
        '`nvidia-smi` names or an older\n  one, such as 12.6: '
        f'PIP_EXTRA_INDEX_URL={sys.argv[2]}/cu126 make setup'
    )
PYTHON
fi
cuda='import os, torch, torch.utils.cpp_extension as build
assert build.CUDA_HOME
assert torch.cuda.is_available() or os.environ.get("FORCE_CUDA") == "1"'
if "$venv/bin/python" -c "$cuda" 2>/dev/null; then
    devices="the CPU and CUDA"
else
    devices="the CPU"
    export CUDA_VISIBLE_DEVICES='' # mmcv would need nvcc for a GPU
fi
ops=${ops:-core}

MAX_JOBS=${MAX_JOBS:-$("$venv/bin/python" -c 'import os, psutil
print(max(1, min(os.cpu_count(), psutil.virtual_memory().total // 2**31)))')}
export MAX_JOBS MMCV_WITH_OPS=1 CFLAGS="${CFLAGS:--g0}"
hint=
[ "$stack" = stock ] &&
    hint=' (with a new compiler or CUDA, try the maintained forks: STACK=onedl)'

mmcv=$(grep -E '^(onedl-)?mmcv==' "$requirements")
installed() { # installed MODULE: the pinned mmcv is there and loads MODULE
    "$venv/bin/python" -c "import importlib.metadata, $1
assert importlib.metadata.version('${mmcv%==*}') == '${mmcv#*==}'" 2>/dev/null
}
core_ops() {
    local source=$venv/mmcv
    rm -rf "$source" && mkdir "$source" &&
        pip download --no-deps --no-build-isolation --no-binary :all: \
            -d "$source" "$mmcv" &&
        tar xzf "$source"/*.tar.gz -C "$source" --strip-components 1 &&
        "$venv/bin/python" tools/setup_core_ops.py "$source" &&
        pip install -v --no-deps --no-build-isolation "$source" &&
        rm -r "$source"
}
if ! installed mmcv.ops || { [ "$ops" = all ] && installed mmcv._core_ext; }; then
    pip uninstall -y "${mmcv%==*}" >>"$log" 2>&1
    if [ "$ops" = core ]; then
        echo "setup: mmcv's operators that SPRNet needs are compiled for $devices; make
  setup OPS=all compiles all of them"
        step "mmcv" core_ops || explain "mmcv could not be installed$hint"
    else
        echo "setup: mmcv is compiled with all operators for $devices: about 15 minutes
  on 2 cores, longer with CUDA"
    fi
fi
step "mmcv, mmengine, mmdet" \
    pip install -v --no-build-isolation -r "$requirements" ||
    explain "mmcv, mmengine or mmdet could not be installed$hint"
# mmengine requires opencv-python, which needs a desktop's libGL. Both packages
# write the same files.
if "$venv/bin/python" -m pip show opencv-python >/dev/null 2>&1; then
    mapfile -t headless < <(grep '^opencv-python-headless==' requirements-build.txt)
    pip uninstall -y opencv-python opencv-python-headless >>"$log" 2>&1
    step "OpenCV without windows" pip install --no-deps "${headless[@]}" ||
        explain "opencv-python-headless could not be installed"
fi
"$venv/bin/python" -c 'import mmcv.ops, mmdet' >"$log" 2>&1 ||
    explain "mmcv is installed but does not load$hint"
echo "$stack $(checksum_of "$stack") $ops" >"$stamp"
echo "setup: done in $((SECONDS / 60)) min $((SECONDS % 60)) s
setup: with your own pictures and masks, go on by
  source $venv/bin/activate; python tools/to_coco.py FOLDER data/own"
