#!/bin/sh
# batchscan: scores what is new or changed in s3://hospital/xrays, on a Ray cluster that is running
#
#   RAY_API_SERVER_ADDRESS=http://HEAD:8265 RAY_AUTH_MODE=token sh batchscan-submit.sh
#
# Needs ray[default] here and on the cluster. The scan's log is shown until it ends, and this script
# ends with the scan's own exit code. Ctrl-C stops the scan; the same command resumes.
set -u
: "${RAY_API_SERVER_ADDRESS:?set it to the address of the cluster, such as http://HEAD:8265}"

id=batchscan-$(date +%Y%m%d-%H%M%S)-$$
trap 'ray job stop "$id"; exit 130' INT
trap 'ray job stop "$id"; exit 143' TERM

ray job submit --submission-id "$id" -- \
    /opt/batchscan/bin/batchscan run s3://hospital/xrays --out s3://hospital/results.parquet --address auto &
wait $! || true

# `ray job submit` knows failed or not; the job's own exit code says more.
python3 - "$id" <<'END'
import sys

from ray.job_submission import JobSubmissionClient

details = JobSubmissionClient().get_job_info(sys.argv[1])
code = details.driver_exit_code
sys.exit((0 if details.status == "SUCCEEDED" else 1) if code is None else code)
END
