#!/usr/bin/env bash
# Start the ranks of a tool under Slurm:
#   tools/slurm.sh PARTITION JOB_NAME SCRIPT ARGUMENTS...
# Environment: GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS, PYTHON,
# MASTER_PORT.
set -eu
partition=$1 job=$2 script=$3
shift 3
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
# SRUN_ARGS is unquoted because it may hold several options.
# shellcheck disable=SC2086
exec srun --partition="$partition" \
    --job-name="$job" \
    --gres=gpu:"$per_node" \
    --ntasks="$gpus" \
    --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/$script" "$@" --launcher slurm
