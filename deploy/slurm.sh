#!/bin/bash
# recaption on a Slurm allocation: Ray on every node, one run over all. Pre-empted or out of time, it queues again.
#
#   sbatch --nodes=4 --gpus-per-node=8 --cpus-per-task=64 deploy/slurm.sh flair --set output.path=/shared/out
#
# Every node needs the same Python with recaption and its engine (VENV, default: .venv where sbatch was called); source
# and output lie on a shared file system or an object store. A node that fails is worked around, the first one excepted.
#
# Tested (tests/test_deploy.py): its logic with stand-ins for srun, scontrol and ray; and with the real Ray on one
# machine, srun and scontrol still stand-ins. Not tested on a Slurm cluster.

#SBATCH --job-name=recaption
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120

set -uo pipefail

export PATH="${VENV:-$PWD/.venv}/bin:$PATH"
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" # srun does not take it over from sbatch
export RAY_TMPDIR="/tmp/recaption-$SLURM_JOB_ID" # other people's Rays may be on these nodes,
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN        # and they may not reach this one
RAY_AUTH_TOKEN=$(cat /proc/sys/kernel/random/uuid)

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST") || exit 3
head=${nodes%%$'\n'*} # where this script runs
ip=$(python -c 'import ray; print(ray.util.get_node_ip_address())') || exit 3
port=$((20000 + SLURM_JOB_ID % 20000))
export RAY_ADDRESS="$ip:$port"

start_ray() { # NODE OPTION…: in a step of its own, which ends alone
  srun --overlap --no-kill --nodes=1 --ntasks=1 --nodelist="$1" \
    ray start --block --disable-usage-stats --num-cpus="$SLURM_CPUS_PER_TASK" "${@:2}" &
}

start_ray "$head" --head --port="$port" --include-dashboard=false
for try in {1..60}; do # 5 minutes
  ray health-check --address "$RAY_ADDRESS" 2>/dev/null && break
  [ "$try" -lt 60 ] || exit 3
  sleep "${POLL_SECONDS:-5}"
done
for node in $nodes; do # a node that comes up late joins the run
  [ "$node" = "$head" ] || start_ray "$node" --address="$RAY_ADDRESS"
done

recaption run "$@" &
run=$!
trap 'trap "" TERM; kill -TERM "$run"' TERM # it puts what the engines have answered, and ends with 75
wait "$run"
code=$?
if [ "$code" -eq 143 ]; then # the signal ended the wait, not the run
  wait "$run"
  code=$?
fi
[ "$code" -eq 75 ] && scontrol requeue "$SLURM_JOB_ID"
exit "$code"
