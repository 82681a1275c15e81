"""What is loaded, and what is not: quick answers, no TensorFlow to score, imports one way only."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import COMMAND, PATIENCE, environment, rows, run, without_modules, write_images
from tiny_bundle import tiny_onnx

import batchscan
from batchscan.image.decode import PREPROCESSING
from batchscan.model.bundle import write_bundle

ROOT = Path(batchscan.__file__).parents[1]
PACKAGES = ("batchscan", "jobs", "training")
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
HEAVY = {
    *("ray", "tensorflow", "keras", "onnxruntime", "onnx", "sklearn"),
    *("numpy", "pyarrow", "pandas", "PIL", "matplotlib", "tqdm"),
    *("jinja2", "scipy", "statsmodels"),
}

AFTERWARDS = """
import atexit, sys
sys.argv = ["batchscan", *sys.argv[1:]]
import batchscan.cli
atexit.register(lambda: print("\\nmodules:", *sys.modules))
if len(sys.argv) > 1:
    batchscan.cli.entry_point()
"""


def imports_of(file: Path) -> Iterator[str]:
    """Yield the full name of every module that a source file imports, wherever it does."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [file.parent.name] if node.level else []
            base += [node.module] if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)


def tops_of(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imports_of(file)}


def place(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


# -------------------------------------------------------------- at run time


WORKER = """
import sys
from pathlib import Path
from batchscan.run.shard import Shard
from batchscan.run.worker import Job, ShardWorker
archive, parts, model = sys.argv[1:]
worker = ShardWorker(Job(archive, parts, 1, "onnx", 150), Path(model).read_bytes())
worker.start()
assert worker.run(Shard("a", ("NORMAL/plain.jpeg", "NORMAL/empty.jpeg"))).images == 2
assert "pandas" not in sys.modules
import pyarrow
assert pyarrow.table({"a": [1]}).to_pandas()["a"].tolist() == [1], "who wants pandas has it"
"""


def test_a_worker_does_without_pandas(archive: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """A worker reads, scores and commits a shard without pandas, which takes time and memory."""
    command = [sys.executable, "-c", WORKER, archive, tmp_path, tiny_bundle / "model.onnx"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_scan_does_without_pandas(archive: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """`batchscan run` scores and writes metrics without the time that importing pandas takes."""
    command = [sys.executable, "-X", "importtime", "-m", "batchscan", "run", archive]
    options = ["--out", tmp_path / "out.parquet", "--model", tiny_bundle, "--workers", "0"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out.metrics.parquet").exists()
    assert re.search(r"\| +pyarrow$", done.stderr, re.MULTILINE)
    assert not re.search(r"\| +pandas[.]", done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "--help",
        "--version",
        "run --help",
        "metrics --help",
        "report --help",
        "verify --help",
        "compare --help",
        "train --help",
        "demo --help",
        "model --help",
        "model check --help",
        "model show",
        "model show --json",
        "completion bash",
        "run /nonexistent",
    ],
)
def test_light_answers(arguments: str) -> None:
    """Help, version and completion, and errors in the options, answer without heavy packages."""
    done = subprocess.run(
        [sys.executable, "-c", AFTERWARDS, *arguments.split()],
        env=environment(),
        timeout=PATIENCE,
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = done.stdout.rsplit("modules:", 1)[1].split()
    assert "batchscan.cli" in loaded
    assert not {name.split(".")[0] for name in loaded} & HEAVY


def test_completion_is_light(tmp_path: Path) -> None:
    """Pressing Tab works where no heavy package can even be imported."""
    heavy = without_modules(tmp_path / "none", *sorted(HEAVY))
    done = run(
        env=heavy
        | {
            "_BATCHSCAN_COMPLETE": "bash_complete",
            "COMP_WORDS": "batchscan run --max",
            "COMP_CWORD": "2",
        }
    )
    assert "--max-failures" in done.stdout, done.stderr


@dataclass(frozen=True)
class LeanRun:
    """A scan by someone with an empty home folder, and without the packages that training needs."""

    done: subprocess.CompletedProcess[str]
    out: Path
    home: Path


@pytest.fixture(scope="module", params=["0", "1"], ids=["without Ray", "on Ray"])
def lean_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path
) -> LeanRun:
    folder = tmp_path_factory.mktemp("lean")
    home = folder / "home"
    home.mkdir()
    barred = ["tensorflow", "keras", "onnx", "matplotlib", "sklearn"]
    if request.param == "0":
        barred.append("ray")
    env = {
        name: value
        for name, value in without_modules(folder / "none", *barred).items()
        # What would keep a library from reporting in a test, but not in earnest.
        if not name.startswith(("ORT_", "CI", "XDG_", "GITHUB_", "TF_BUILD"))
    }
    archive = write_images(folder / "archive", "NORMAL/a.png", "PNEUMONIA/b.jpeg")
    arguments = ["--out", folder / "r.parquet", "--model", tiny_bundle, "--workers", request.param]
    done = run("run", archive, *arguments, env={**env, "HOME": str(home)})
    return LeanRun(done, folder / "r.parquet", home)


def test_scoring_needs_no_training_package(lean_run: LeanRun) -> None:
    """A scan, on Ray or without, imports nothing that only training needs."""
    assert lean_run.done.returncode == 0, lean_run.done.stderr
    assert {row["status"] for row in rows(lean_run.out)} == {"scored"}


def test_nothing_is_left_in_the_home_folder(lean_run: LeanRun) -> None:
    """Nothing phones home, nor prepares to: libraries leave no identifier, no queue of events.

    (ONNX Runtime reports to its maker unless told not to; it keeps both below `~/.cache`.)
    """
    assert lean_run.done.returncode == 0, lean_run.done.stderr
    assert {entry.name for entry in lean_run.home.iterdir()} <= {".ray"}  # Ray's own secret.


def test_measuring_needs_no_model(tmp_path: Path, tiny_bundle: Path) -> None:
    """`batchscan metrics` works with neither Ray nor a runtime for networks."""
    archive = write_images(tmp_path / "archive", "NORMAL/a.png", "PNEUMONIA/b.jpeg")
    out = tmp_path / "r.parquet"
    batchscan.scan(archive, out, model=tiny_bundle, workers=0)
    barred = ["ray", "tensorflow", "keras", "onnxruntime", "onnx", "matplotlib", "sklearn"]
    done = run("metrics", out, env=without_modules(tmp_path / "none", *barred))
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


@pytest.fixture
def no_tensorflow(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which the packages that training needs are not installed."""
    folder = tmp_path / "none"
    folder.mkdir()
    for name in ("tensorflow", "keras", "matplotlib", "onnx"):
        text = f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')\n"
        (folder / f"{name}.py").write_text(text)
    return environment(PYTHONPATH=folder)


def test_no_tensorflow_to_score_with(tmp_path: Path, no_tensorflow: dict[str, str]) -> None:
    """--runtime tensorflow without TensorFlow: one line says how to install it."""
    files = {"model.onnx": tiny_onnx(), "model.keras": b"never read"}
    write_bundle(
        tmp_path / "model",
        name="both",
        files=files,
        classes=("NORMAL", "PNEUMONIA"),
        threshold=0.5,
        input_size=150,
        preprocessing=PREPROCESSING,
    )
    archive = write_images(tmp_path / "archive", "a.png")
    done = run(
        *("run", archive, "--out", tmp_path / "r", "--model", tmp_path / "model"),
        *("--runtime", "tensorflow", "--workers", "0"),
        env=no_tensorflow,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "pip install 'batchscan[train]'" in line


def test_no_tensorflow_to_train_with(tmp_path: Path, no_tensorflow: dict[str, str]) -> None:
    """Training without TensorFlow: one line says how to install it, before any image is read."""
    classes = ("NORMAL", "PNEUMONIA")
    archive = write_images(
        tmp_path / "archive", *(f"{name}/{number}.png" for name in classes for number in range(9))
    )
    done = run("train", archive, "--out", tmp_path / "model", env=no_tensorflow)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "pip install 'batchscan[train]'" in line
    assert not (tmp_path / "model").exists()


# --------------------------------------------------- names that others use


@pytest.fixture
def their_folder(tmp_path: Path) -> Path:
    """Make a folder with packages that are called like ours, and an archive."""
    for name in ("jobs", "training"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise AssertionError('their {name}')\n")
        (tmp_path / name / "scan.py").touch()
        (tmp_path / name / "run.py").touch()
    write_images(tmp_path / "archive", "NORMAL/a.png", "PNEUMONIA/b.jpeg")
    return tmp_path


@pytest.mark.parametrize("started", ["as a module", "as a script", "with a path"])
def test_their_packages_are_not_ours(started: str, their_folder: Path, tiny_bundle: Path) -> None:
    """A scan started beside packages named `jobs` and `training` uses ours, on workers, too."""
    script = Path(sysconfig.get_path("scripts")) / "batchscan"
    command = [str(script)] if script.exists() and started == "as a script" else COMMAND
    env, workers = environment(), "0"
    if started == "with a path":
        env, workers = environment(PYTHONPATH=their_folder), "1"
    done = subprocess.run(
        [*command, "run", "archive", "--out", "r", "--model", tiny_bundle, "--workers", workers],
        cwd=their_folder,
        env=env,
        timeout=PATIENCE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(rows(their_folder / "r")) == 2


def test_called_from_their_program(their_folder: Path, tiny_bundle: Path) -> None:
    """A program that stands beside a `jobs` of its own can call `batchscan.scan`, and use both."""
    (their_folder / "jobs" / "__init__.py").write_text("theirs = True\n")
    program = their_folder / "program.py"
    program.write_text(
        "import batchscan, sys\n"
        "batchscan.scan('archive', 'r', model=sys.argv[1], workers=1)\n"
        "import jobs\n"
        "assert jobs.theirs\n"
    )
    subprocess.run(
        [sys.executable, program, tiny_bundle],
        cwd=their_folder,
        env=environment(),
        timeout=PATIENCE,
        check=True,
    )
    assert len(rows(their_folder / "r")) == 2


def test_training_is_ours(their_folder: Path) -> None:
    """`batchscan train` finds our package where the caller's path leads to another `training`."""
    done = run("train", "nowhere", "--out", "m", env=environment(PYTHONPATH=their_folder))
    assert done.returncode == 2, done.stderr
    assert "nowhere" in done.stderr


# ------------------------------------------------------------ in the sources


def test_the_core_knows_no_jobs() -> None:
    """Nothing in `batchscan/` but the command line and `scan` imports `jobs` or `training`."""
    doors = {"batchscan/__init__.py", "batchscan/commands/train.py"}
    guilty = {
        place(file)
        for file in SOURCES
        if place(file).startswith("batchscan/") and tops_of(file) & {"jobs", "training"}
    }
    assert guilty <= doors


def test_jobs_and_training_do_not_know_each_other() -> None:
    """Jobs know no training and training knows no jobs: both build on the core alone."""
    for file in SOURCES:
        package = place(file).split("/")[0]
        if package in ("jobs", "training"):
            assert not tops_of(file) & ({"jobs", "training"} - {package}), place(file)


def test_errors_and_schema_are_the_ground() -> None:
    """The errors and the tables import nothing of ours but the attributes, which import nothing."""
    for name in ("attributes.py", "errors.py", "schema.py", "version.py"):
        ours = [each for each in imports_of(ROOT / "batchscan" / name) if "batchscan" in each]
        assert all(each.startswith("batchscan.attributes") for each in ours), name
        assert not ours or name != "attributes.py"


@pytest.mark.parametrize(
    ("module", "places"),
    [
        ("ray", {"jobs/"}),
        (
            "onnxruntime",
            {
                *("batchscan/model/session.py", "batchscan/model/activation.py"),
                "training/quantised.py",
            },
        ),
        ("tensorflow", {"batchscan/model/scorer.py", "training/"}),
        ("keras", {"batchscan/model/scorer.py", "training/"}),
        ("onnx", {"training/export.py", "training/onnx_graph.py", "training/quantised.py"}),
        ("matplotlib", {"training/pictures.py"}),
        ("jinja2", {"batchscan/report/page/html.py", "jobs/definition.py"}),
    ],
)
def test_heavy_packages_have_one_home(module: str, places: set[str]) -> None:
    """Each heavy package is imported where it belongs, and nowhere else."""
    users = {place(file) for file in SOURCES if module in tops_of(file)}
    assert users, f"nobody imports {module}: remove it from this test"
    strangers = {user for user in users if not any(user.startswith(home) for home in places)}
    assert not strangers


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py", "cli.py", "errors.py"])
def test_doors_load_nothing_heavy(name: str) -> None:
    """The modules that every command loads import at their top only what is light."""
    tree = ast.parse((ROOT / "batchscan" / name).read_text())
    top = ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(top)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {(n.module or "").split(".")[0] for n in ast.walk(top) if isinstance(n, ast.ImportFrom)}
    assert names <= sys.stdlib_module_names | {"batchscan", "click"}


def test_no_machine_in_the_sources() -> None:
    """No source file holds an absolute path of the machine that it was written on."""
    home = os.path.expanduser("~")  # noqa: PTH111
    for file in SOURCES:
        text = file.read_text()
        assert str(ROOT) not in text, place(file)
        assert f"{home}/" not in text, place(file)
