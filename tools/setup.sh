#!/usr/bin/env bash
# Make a virtual environment with the packages of a requirements file:
#   tools/setup.sh PYTHON VENV REQUIREMENTS [OPS]
# OPS=core, the default, compiles the operators of mmcv that SPRNet needs; OPS=all
# compiles all. Both compile them for CUDA, too, if there are a GPU that torch can
# use (or FORCE_CUDA=1, mmcv's variable) and a CUDA toolkit. A second run has
# nothing to do; an interrupted one continues.
set -eu

python=$1 venv=$2 requirements=$3 ops=${4:-}
log=$venv/setup.log

fail() {
    echo "setup: $1" >&2
    exit 1
}

stamp=$venv/.ready
wanted=$(cat requirements-build.txt requirements-tools.txt "$requirements" | cksum)
case "$(cat "$stamp" 2>/dev/null)" in
"$wanted all") exit 0 ;;
"$wanted core") [ "$ops" = all ] || exit 0 ;;
esac
case "$ops" in
'' | core | all) ;;
*) fail "OPS=$ops is neither \"core\" nor \"all\"" ;;
esac

# Check first what would otherwise fail after minutes with a page of errors.
command -v "$python" >/dev/null ||
    fail "$python was not found; install Python 3.10 to 3.12 or set PYTHON=/path/to/python"
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' ||
    fail "$python is $("$python" -V); the pinned packages need Python 3.10 to 3.12, set PYTHON=/path/to/python"
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
    local what=$1 started=$SECONDS files
    shift
    "$@" >>"$log" 2>&1 &
    local job=$!
    trap 'kill $job 2>/dev/null' EXIT
    while kill -0 $job 2>/dev/null; do
        files=$(grep -oE '^ *\[[0-9]+/[0-9]+\]' "$log" | tail -n 1 | tr -d ' ')
        # A terminal gets one line that is updated, a file one line a minute.
        if [ -t 1 ]; then
            printf '\r  %s %s %ds ' "$what" "$files" $((SECONDS - started))
        elif [ $(((SECONDS - started) % 60)) -eq 0 ]; then
            echo "  $what $files $((SECONDS - started))s"
        fi
        sleep 1
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

explain() { # explain DEFAULT: fail with the cause that the log shows, or DEFAULT
    if grep -q 'No space left on device' "$log"; then
        fail "the disk is full; free some GiB and run again (log: $log)"
    elif grep -qE 'NewConnectionError|Failed to establish|name resolution|Connection refused|ReadTimeout' "$log"; then
        fail "pip could not reach the package index; check the network or pip's settings and run again (log: $log)"
    elif grep -qE 'No matching distribution|Could not find a version' "$log"; then
        fail "$(grep -m 1 'No matching distribution' "$log" || true) (log: $log)"
    fi
    fail "$1 (log: $log)"
}

echo "setup: making $venv from $requirements, once"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" ||
    fail "$python could not make a virtual environment in $venv"
step "torch and build tools" pip install -r requirements-build.txt ||
    explain "torch could not be installed"

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
[ "$requirements" = requirements.txt ] &&
    hint="; with a new compiler or CUDA, try the maintained forks: STACK=onedl"

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
"$venv/bin/python" -c 'import mmcv.ops, mmdet' >>"$log" 2>&1 ||
    fail "mmcv is installed but does not load$hint (log: $log)"
echo "$wanted $ops" >"$stamp"
echo "setup: done in $((SECONDS / 60)) min $((SECONDS % 60)) s
setup: with your own pictures and masks, go on by
  source $venv/bin/activate; python tools/to_coco.py FOLDER data/own"
