#!/usr/bin/env bash
# Test on several GPUs, or on CPU processes if there is no GPU:
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of test.py]
# dist_train.sh shows how to use several nodes.
set -eu
if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [options of test.py]" >&2
    exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3
exec "${PYTHON:-python}" "$(dirname "$0")/launch.py" "$gpus" test.py "$config" "$checkpoint" "$@"
