#!/bin/bash
# The entry point of kuberay-rayjob.yaml: run recaption, and stop the Ray job if the run must not be repeated. KubeRay does
# not see exit codes. It repeats each job that is FAILED (backoffLimit), and none that is STOPPED. So a run that failed
# (exit code 3), was interrupted (75) or was killed is repeated and continues; one that ended at a limit of the pipeline,
# such as breaker or budget (1), or with wrong input (2), is stopped: the RayJob is then Complete, with jobStatus STOPPED.
#
# Tested in tests/test_deploy.py: with stand-ins for recaption and ray, and as a job of a real Ray cluster on one machine.
# Not tested with KubeRay.

recaption "$@"
code=$?
case "$code" in
1 | 2)
  echo "recaption ended with exit code $code; the Ray job is stopped, so that KubeRay does not repeat the run"
  id=$(python3 -c '
import json, os
print(json.loads(os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"])["metadata"]["job_submission_id"])')
  ray job stop --no-wait "$id" && sleep 60 # Ray ends this script
  ;;
esac
exit "$code"
