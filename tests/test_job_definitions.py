"""`batchscan job`: definitions for schedulers that say what they should, and nothing secret."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from commands import environment, run
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscan import definition_job
from batchscan.errors import UsageError

EXAMPLES = Path(__file__).parents[1] / "jobs" / "examples"

NIGHTLY = ["--schedule", "0 2 * * *"]
LOCAL = ["/archive", "--out", "/results/results.parquet"]
STORE = ["s3://hospital/xrays", "--out", "s3://hospital/results.parquet"]
THERE = ["--command", "/opt/batchscan/bin/batchscan"]

TYPICAL = {
    "batchscan.cron": ["cron", *LOCAL, *NIGHTLY, *THERE],
    "batchscan.service": ["systemd", *LOCAL, *NIGHTLY, *THERE],
    "batchscan.timer": ["systemd", *LOCAL, *NIGHTLY, *THERE],
    "batchscan.sbatch": ["slurm", *LOCAL, "--nodes", "4", "--gpus", "2", *THERE],
    "batchscan-rayjob.yaml": ["kuberay", *LOCAL, "--gpus", "1", "--cpu-nodes", "2"],
    "batchscan-raycronjob.yaml": ["kuberay", *STORE, "--gpus", "1", *NIGHTLY],
    "batchscan-cronjob.yaml": ["kuberay", *STORE, "--gpus", "1", *NIGHTLY, "--older-operator"],
    "batchscan-submit.sh": ["ray-submit", *STORE, *THERE],
}


@pytest.mark.parametrize("name", TYPICAL)
def test_examples_are_what_the_command_makes(name: str, tmp_path: Path) -> None:
    """The examples in jobs/examples are exactly what `batchscan job` writes for a typical case."""
    done = run("job", *TYPICAL[name], "--into", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).read_text() == (EXAMPLES / name).read_text()


@pytest.mark.parametrize(
    ("options", "image"),
    [
        ((), "batchscan:cpu"),
        (("--gpus", "1"), "batchscan:gpu"),
        (("--gpus", "1", "--image", "ours:1"), "ours:1"),
    ],
)
def test_the_image_fits_the_machines(options: tuple[str, ...], image: str) -> None:
    """Containers that are given GPUs come from the image that can use them, or the one named."""
    done = run("job", "kuberay", *LOCAL, *options)
    assert set(re.findall(r"image: \"?([^\"\n]+)", done.stdout)) == {image}


def test_integers_take_no_gpus() -> None:
    """GPUs that no worker would use are not asked for."""
    done = run("job", "slurm", *LOCAL, "--gpus", "1", "--precision", "int8")
    assert (done.returncode, done.stdout) == (2, "")
    assert "leave --gpus out" in done.stderr


def test_every_example_is_made() -> None:
    """No example is left over from something that the command no longer makes."""
    assert {file.name for file in EXAMPLES.iterdir()} == set(TYPICAL)


@pytest.mark.parametrize("kind", ["cron", "systemd", "slurm", "kuberay", "ray-submit"])
def test_options_of_run_reach_the_definition(kind: str) -> None:
    """What `run` takes can be given to `job`, and stands in the command, quoted."""
    more = NIGHTLY if kind in ("cron", "systemd") else []
    done = run(
        *("job", kind, "/my archive", "--out", "/data/r.parquet", "--exclude", "thumb*"),
        *("--exclude", "it's", "--score-all", "--max-failures", "5%", *more),
    )
    assert done.returncode == 0, done.stderr
    wanted = ["run", "/my archive", "--out", "/data/r.parquet", "--exclude", "thumb*"]
    wanted += ["--exclude", "it's", "--score-all", "--max-failures", "5%"]
    assert contains(words_of(kind, done.stdout), wanted)


def words_of(kind: str, text: str) -> list[str]:
    """Return the words of the command as the definition's reader would see them."""
    if kind == "systemd":
        (line,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
        return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]
    if kind == "kuberay":
        inner = shlex.split(yaml.safe_load(text)["spec"]["entrypoint"])[-1]
        return shlex.split(inner)
    lines = [line for line in text.splitlines() if " run " in line and not line.startswith("#")]
    line = lines[0].removesuffix("&").replace("\\%", "%" if kind == "cron" else "\\%")
    return shlex.split(line)


def contains(words: list[str], wanted: list[str]) -> bool:
    return any(words[n : n + len(wanted)] == wanted for n in range(len(words)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cron", *LOCAL], "--schedule"),
        (["cron", *LOCAL, "--schedule", "@daily"], "five fields"),
        (["cron", *LOCAL, "--schedule", "99 2 * * *"], "minute"),
        (["systemd", *LOCAL, "--schedule", "0 2 1 * 1"], "restrict one of them"),
        (["slurm", *LOCAL, "--address", "auto"], "--address"),
        (["slurm", *LOCAL, "--workers", "0"], "--workers 0"),
        (["slurm", *LOCAL, *NIGHTLY], "scrontab"),
        (["kuberay", "archive", "--out", "/r.parquet"], "beginning with /"),
        (["slurm", *LOCAL, "--name", "A b"], "--name"),
        (["slurm", *LOCAL, "--memory", "lots"], "--memory"),
        (["slurm", "/new\nline", "--out", "/r.parquet"], "control characters"),
        (["cron", *LOCAL, *NIGHTLY, "--into", "/nowhere/at/all"], "--into"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], message: str) -> None:
    """What a scheduler cannot do, or would misread, is one line of error with exit code 2."""
    done = run("job", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("cron", "systemd"),
    [
        ("0 2 * * *", "*-*-* 02:00:00"),
        ("*/15 * * * *", "*-*-* *:00/15:00"),
        ("30 1-5 1,15 * *", "*-*-01,15 01..05:30:00"),
        ("0 6 * */3 *", "*-01/3-* 06:00:00"),
        ("5 0 * * 1-5", "Mon,Tue,Wed,Thu,Fri *-*-* 00:05:00"),
        ("5 0 * * 0,7", "Sun *-*-* 00:05:00"),
        ("*,5 2 * * 1,*", "*-*-* 02:*:00"),
    ],
)
def test_schedules_mean_the_same(cron: str, systemd: str) -> None:
    """A crontab's five fields become the same times in systemd's words."""
    assert schedule(cron).as_calendar() == systemd


def schedule(text: str) -> object:
    definition_job()
    from batchscan_jobs.schedule import Schedule

    return Schedule(text)


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@needs_systemd
@settings(max_examples=20, deadline=None)
@given(minute=st.integers(0, 59), step=st.integers(1, 23), day=st.integers(0, 7))
def test_systemd_reads_our_calendar(minute: int, step: int, day: int) -> None:
    """systemd accepts the calendar, and its next time is one that the crontab means."""
    calendar = schedule(f"{minute} */{step} * * {day}").as_calendar()  # type: ignore[attr-defined]
    done = subprocess.run(
        ["systemd-analyze", "calendar", calendar],
        capture_output=True,
        text=True,
        check=True,
        env=environment(TZ="UTC", LC_ALL="C"),
    )
    (found,) = re.findall(r"Next elapse: \w+ (\S+ \S+)", done.stdout)
    time = datetime.fromisoformat(found)
    assert (time.minute, time.hour % step) == (minute, 0)
    assert time.isoweekday() % 7 == day % 7


@needs_systemd
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about service and timer."""
    program = tmp_path / "batch scan"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    made = run("job", "systemd", *LOCAL, *NIGHTLY, "--command", program, "--into", tmp_path)
    assert made.returncode == 0, made.stderr
    done = subprocess.run(
        ["systemd-analyze", "verify", *sorted(tmp_path.glob("batchscan.*"))],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "batchscan." in line]
    assert not ours


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("name", ["batchscan.sbatch", "batchscan-submit.sh"])
def test_shellcheck_finds_no_fault(name: str) -> None:
    """shellcheck has nothing to say about the scripts."""
    done = subprocess.run(
        ["shellcheck", EXAMPLES / name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("code", "silent"), [(0, True), (3, True), (5, True), (1, False), (4, False)]
)
def test_cron_mails_failures_only(code: int, silent: bool, tmp_path: Path) -> None:
    """A crontab's line prints nothing, so that cron mails nothing, unless the job itself failed."""
    program = tmp_path / "batchscan"
    program.write_text(f"#!/bin/sh\necho said\nexit {code}\n")
    program.chmod(0o755)
    made = run("job", "cron", *LOCAL, *NIGHTLY, "--command", program, "--log", tmp_path / "log")
    line = made.stdout.splitlines()[-1].removeprefix("@reboot ")
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.stdout + done.stderr == "") == silent
    assert (tmp_path / "log").read_text() == "said\n"


def pretend(folder: Path, name: str, script: str) -> None:
    """Put a program into a folder of programs."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("codes", "ends"),
    [("0", 0), ("3", 0), ("5 0", 0), ("5 5", 0), ("5 1", 1), ("1", 1), ("2", 2), ("143", 143)],
)
def test_kuberay_tries_again_what_may_pass(codes: str, ends: int, tmp_path: Path) -> None:
    """The entrypoint fails where a retry may help, and waits for a lock to run out."""
    made = run("job", "kuberay", *LOCAL)
    assert made.returncode == 0, made.stderr
    (tmp_path / "codes").write_text("\n".join([*codes.split(), ""]))
    take = f"code=$(head -n 1 {tmp_path}/codes); sed -i 1d {tmp_path}/codes; exit $code"
    pretend(tmp_path / "bin", "batchscan", take)
    pretend(tmp_path / "bin", "sleep", "exit 0")
    done = subprocess.run(
        yaml.safe_load(made.stdout)["spec"]["entrypoint"],
        shell=True, check=False, env=environment(PATH=f"{tmp_path}/bin:/usr/bin:/bin"),
    )  # fmt: skip
    assert done.returncode == ends
    assert (tmp_path / "codes").read_text() == ""


@pytest.mark.parametrize(
    ("code", "restarts", "ends", "again"),
    [
        (0, 0, 0, False),
        (3, 0, 0, False),
        (5, 0, 0, False),
        (5, 1, 0, True),
        (1, 0, 1, False),
        (2, 1, 2, False),
        (4, 0, 4, False),
    ],
)
def test_slurm_fails_where_the_scan_does(
    code: int, restarts: int, ends: int, again: bool, tmp_path: Path
) -> None:
    """A job fails with a scan that failed; one that meets its own stale lock is queued again."""
    made = run("job", "slurm", *LOCAL)
    assert made.returncode == 0, made.stderr
    pretend(tmp_path / "bin", "srun", f'case "$*" in *symmetric-run*) exit {code} ;; esac')
    asked = f'echo "$@" >>{tmp_path}/asked; [ "$1" = requeue ] || echo node1'
    pretend(tmp_path / "bin", "scontrol", asked)
    job = {"JOB_ID": "7", "JOB_NODELIST": "node[1-2]", "JOB_NUM_NODES": "2", "CPUS_PER_TASK": "8"}
    done = subprocess.run(
        ["bash", "-c", made.stdout],
        check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env=environment(
            PATH=f"{tmp_path}/bin:/usr/bin:/bin",
            SLURM_RESTART_COUNT=str(restarts),
            **{f"SLURM_{name}": value for name, value in job.items()},
        ),
    )  # fmt: skip
    assert done.returncode == ends, done.stderr
    assert ("requeue 7" in (tmp_path / "asked").read_text()) == again


RAY_JOB = {
    *("entrypoint", "submissionMode", "backoffLimit", "activeDeadlineSeconds"),
    *("shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"),
}
GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


@pytest.mark.parametrize("name", [name for name in TYPICAL if name.endswith(".yaml")])
def test_fields_of_kuberay(name: str) -> None:
    """Every field is one of the operator's reference (KubeRay 1.7.1), and what is due is there."""
    documents = list(yaml.safe_load_all((EXAMPLES / name).read_text()))
    spec = ray_job(documents)
    assert set(spec) == RAY_JOB
    cluster = spec["rayClusterSpec"]
    assert set(cluster) == {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
    assert cluster["authOptions"] == {"mode": "token"}
    assert set(cluster["headGroupSpec"]) == {"rayStartParams", "template"}
    assert all(set(group) == GROUP for group in cluster["workerGroupSpecs"])
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def ray_job(documents: list[dict]) -> dict:  # type: ignore[type-arg]
    """Find the RayJob's fields, wherever the definition holds them."""
    first = documents[0]
    if first["kind"] == "RayJob":
        return first["spec"]
    if first["kind"] == "RayCronJob":
        assert set(first["spec"]) == {"schedule", "suspend", "jobTemplate"}
        return first["spec"]["jobTemplate"]
    assert [document["kind"] for document in documents][-1] == "CronJob"
    return yaml.safe_load(first["data"]["rayjob.yaml"])["spec"]


def test_groups_of_nodes() -> None:
    """Nodes with GPUs and nodes without are groups of their own."""
    (document,) = yaml.safe_load_all((EXAMPLES / "batchscan-rayjob.yaml").read_text())
    gpu, cpu = document["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    limits = [
        group["template"]["spec"]["containers"][0]["resources"]["limits"] for group in (gpu, cpu)
    ]
    assert [limit.get("nvidia.com/gpu") for limit in limits] == ["1", None]
    assert (gpu["replicas"], cpu["replicas"]) == (1, 2)


@settings(max_examples=50, deadline=None)
@given(
    archive=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1),
    option=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1),
)
def test_any_name_survives(archive: str, option: str) -> None:
    """Whatever stands in a path or an option reaches the program unchanged."""
    define = definition_job().define
    words = (f"/{archive}", "--out", "/r.parquet", "--exclude", option)
    for kind in ("cron", "systemd", "slurm", "kuberay", "ray-submit"):
        schedule = None if kind in ("slurm", "ray-submit", "kuberay") else "0 2 * * *"
        text = define(kind, archive=words[0], out="/r.parquet", arguments=words, schedule=schedule)[
            0
        ].text
        assert contains(words_of(kind, text), ["run", *words]), kind


def test_control_characters_are_refused() -> None:
    """A line break in a name cannot become a line of a crontab."""
    with pytest.raises(UsageError, match="control characters"):
        definition_job().define(
            "cron", archive="/a\n* * * * * evil", out="/r", arguments=(), schedule="0 2 * * *"
        )
