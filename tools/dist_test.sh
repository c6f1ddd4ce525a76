#!/usr/bin/env bash
# Test on several GPUs, or CPU ranks where there is no GPU:
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of test.py]
# On several nodes as dist_train.sh.
set -eu
if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [options of test.py]" >&2
    exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3
exec "$(dirname "$0")/launch.sh" "$gpus" test.py "$config" "$checkpoint" "$@"
