#!/usr/bin/env bash
# Start the ranks of a tool on this node with torch.distributed.run:
#   tools/launch.sh RANKS SCRIPT ARGUMENTS...
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT, PYTHON.
set -eu
ranks=$1 script=$2
shift 2
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node-rank="${NODE_RANK:-0}" \
    --nproc-per-node="$ranks" \
    --master-addr="${MASTER_ADDR:-127.0.0.1}" \
    --master-port="${PORT:-29500}" \
    "$(dirname "$0")/$script" "$@" --launcher pytorch
