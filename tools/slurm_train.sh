#!/usr/bin/env bash
# Train under Slurm:
#   GPUS=16 tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options]
# slurm.sh lists the environment variables.
set -eu
if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [options]" >&2
    exit 2
fi
partition=$1 job=$2 config=$3 work_dir=$4
shift 4
# Slurm has put the job back into its queue, perhaps because of PreemptionHook.
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    set -- "$@" --resume
fi
exec "$(dirname "$0")/slurm.sh" "$partition" "$job" \
    train.py "$config" --work-dir "$work_dir" "$@"
