#!/bin/sh
# batchscan: scores what is new or changed in s3://hospital/xrays, on a Ray cluster that is running
#
#   RAY_API_SERVER_ADDRESS=http://HEAD:8265 RAY_AUTH_MODE=token sh batchscan-submit.sh
#
# Needs ray[default] here and on the cluster. The scan's log is shown until it ends, and this script
# ends with the scan's own exit code. Ctrl-C stops the scan; the same command resumes.
set -u
: "${RAY_API_SERVER_ADDRESS:?set it to the address of the cluster, such as http://HEAD:8265}"
command -v ray >/dev/null || { echo "expected ray[default] here: activate its environment" >&2; exit 2; }
python3 - <<'END' || exit 2
import sys

try:
    from ray.job_submission import JobSubmissionClient

    JobSubmissionClient()
except Exception as error:
    sys.exit("no Ray cluster to submit to: " + (str(error) or repr(error)).strip().splitlines()[0])
END

id=batchscan-$(date +%Y%m%d-%H%M%S)-$$
trap 'ray job stop "$id"; exit 130' INT
trap 'ray job stop "$id"; exit 143' TERM

ray job submit --submission-id "$id" -- \
    /opt/batchscan/bin/batchscan run s3://hospital/xrays --out s3://hospital/results.parquet --address auto &
wait $! || true

# `ray job submit` knows failed or not, and ends early where the connection breaks. The job itself
# says when it is over, and its exit code.
python3 - "$id" <<'END' &
import sys
import time

from ray.job_submission import JobSubmissionClient

try:
    client = JobSubmissionClient()
    while not (job := client.get_job_info(sys.argv[1])).status.is_terminal():
        time.sleep(5)
except Exception as error:
    reason = (str(error) or repr(error)).strip().splitlines()[0]
    sys.exit(f"how it ended is not known ({reason}); see: ray job status {sys.argv[1]}")
code = job.driver_exit_code
sys.exit((0 if job.status == "SUCCEEDED" else 1) if code is None else code)
END
wait $!
