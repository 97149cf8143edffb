#!/bin/bash
# Run recaption on a Slurm allocation. Ray starts on every node, and one run uses all of them. A job that is preempted
# or reaches its time limit is requeued and continues. So is a job that fails with exit code 3 (its driver, its engines,
# the store or the network failed), unless it fails within an hour and has already been requeued RESTARTS times (default
# 5, preemptions included). A job that ends at a limit of the pipeline, such as breaker or budget (exit code 1), or with
# wrong input (2) is not requeued.
#
#   sbatch --nodes=4 --gpus-per-node=8 --cpus-per-task=64 deploy/slurm.sh flair --set output.path=/shared/out
#
# Requirements:
# - The same Python environment with recaption and the engine on every node: VENV, by default .venv in the folder in
#   which `sbatch` is called.
# - Source and output on a shared file system or in an object store.
# If a node fails, the run continues on the other nodes. If the first node fails, Slurm requeues the job.
#
# Tested in tests/test_deploy.py: the script's logic with stand-ins for srun, scontrol and ray; and a run with real Ray
# on one machine, with stand-ins for srun and scontrol. Not tested on a Slurm cluster.

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
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK" # srun does not inherit it from sbatch
export RAY_TMPDIR="/tmp/recaption-$SLURM_JOB_ID" # separate from other users' Ray clusters on these nodes
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN        # other users cannot connect to this cluster
RAY_AUTH_TOKEN=$(cat /proc/sys/kernel/random/uuid)

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST") || exit 3
head=${nodes%%$'\n'*} # this script runs on the first node
ip=$(python -c 'import ray; print(ray.util.get_node_ip_address())') || exit 3
port=$((20000 + SLURM_JOB_ID % 12000)) # Linux takes ports for outgoing connections from 32768 on
export RAY_ADDRESS="$ip:$port"

start_ray() { # NODE OPTION…: in a job step of its own, so that its failure ends no other step
  srun --overlap --no-kill --nodes=1 --ntasks=1 --nodelist="$1" \
    ray start --block --disable-usage-stats --num-cpus="$SLURM_CPUS_PER_TASK" "${@:2}" &
}

start_ray "$head" --head --port="$port" --include-dashboard=false
for try in {1..60}; do # up to 5 minutes
  ray health-check --address "$RAY_ADDRESS" 2>/dev/null && break
  [ "$try" -lt 60 ] || exit 3
  sleep "${POLL_SECONDS:-5}"
done
for node in $nodes; do # a node that is late joins the running job
  [ "$node" = "$head" ] || start_ray "$node" --address="$RAY_ADDRESS"
done

stop() { trap "" TERM; kill -TERM "$run"; } # the run stores its answers and exits with 75
early=false
trap early=true TERM # while the number of the run's process is not known
recaption run "$@" &
run=$!
trap stop TERM
"$early" && stop
wait "$run"
code=$?
if [ "$code" -eq 143 ]; then # SIGTERM interrupted `wait`; the run is still stopping
  wait "$run"
  code=$?
fi
restart=false
case "$code" in
75) restart=true ;; # interrupted
3 | 129 | 13? | 14?) # failed, or killed by a signal
  if [ "$SECONDS" -gt 3600 ] || [ "${SLURM_RESTART_COUNT:-0}" -lt "${RESTARTS:-5}" ]; then restart=true; fi
  ;;
esac
"$restart" && scontrol requeue "$SLURM_JOB_ID"
exit "$code"
