#!/usr/bin/env bash
# Test under Slurm:
#   GPUS=8 tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options]
# slurm.sh lists the environment variables.
set -eu
if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [options]" >&2
    exit 2
fi
partition=$1 job=$2 config=$3 checkpoint=$4
shift 4
exec "$(dirname "$0")/slurm.sh" "$partition" "$job" \
    test.py "$config" "$checkpoint" "$@"
