#!/usr/bin/env bash
# Train on several GPUs, or on CPU processes if there is no GPU:
#   tools/dist_train.sh CONFIG GPUS [options of train.py]
# For several nodes, run it on each node with its own NODE_RANK:
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 tools/dist_train.sh CONFIG GPUS
set -eu
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [options of train.py]" >&2
    exit 2
fi
config=$1 gpus=$2
shift 2
exec "${PYTHON:-python}" "$(dirname "$0")/launch.py" "$gpus" train.py "$config" "$@"
