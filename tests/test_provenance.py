"""What a result says of how it was made."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import write_tiny_bundle

import batchscan
from batchscan.image import preprocessing_digest as preprocessing_module
from batchscan.image.preprocessing_digest import preprocessing_digest
from batchscan.image.short_cut import short_cut
from batchscan.results.result import read_footer
from batchscan.run import commit as commit_module
from batchscan.run.commit import commit


def test_the_record_of_a_result(tmp_path: Path, archive: Path) -> None:
    """A result names program, model, decoding, options, machine, packages, times and digests."""
    details = {"intended_use": "Tests.", "limits": ["Drawings only."], "training": {"images": 1}}
    bundle = write_tiny_bundle(tmp_path / "model", details=details)
    out = tmp_path / "results.parquet"
    batchscan.scan(archive, out, model=bundle.folder, workers=0)
    footer = read_footer(out)
    assert footer["version"] == batchscan.__version__
    assert footer["commit"] == commit()
    assert footer["model"] == {
        "name": "tiny",
        "digest": bundle.digest,
        "classes": ["NORMAL", "PNEUMONIA"],
        "precision": "fp32",
        "created": bundle.card["created"],
        **{name: details[name] for name in ("intended_use", "limits")},
    }
    assert footer["preprocessing_digest"] == preprocessing_digest()
    assert footer["jpeg_short_cut"] == (short_cut() is not None)
    assert {"pydicom", "numpy", "pillow", "onnxruntime"} <= footer["packages"].keys()
    assert footer["host"]["processor"]
    assert footer["started"] < footer["finished"]
    assert footer["digests"].keys() == {"method", "listing", "rows", "record"}


def git(folder: Path, *words: str) -> str:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
    who |= {"GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        ["git", *words],
        cwd=folder,
        env=os.environ | who,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def test_rows_that_are_kept_keep_their_provider(
    tmp_path: Path, archive: Path, tiny_bundle: Path
) -> None:
    """A run with nothing to score still says what the networks ran on that made its rows."""
    out = tmp_path / "r.parquet"
    for _ in range(2):
        batchscan.scan(archive, out, model=tiny_bundle, workers=0)
        assert read_footer(out)["host"]["providers"] == ["CPUExecutionProvider"]


def test_the_commit_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit is that of the folder around batchscan, marked where files differ from it."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    git(tmp_path, "tag", "v1")
    monkeypatch.setattr(commit_module, "_ROOT", tmp_path)
    clean = git(tmp_path, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert commit() == clean
    (tmp_path / "file").write_text("two")
    assert commit() == f"{clean}-dirty"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"url": "x", "vcs_info": {"vcs": "git", "commit_id": "%s"}}' % ("ab" * 20), "ab" * 20),
        ('{"url": "x", "vcs_info": {"commit_id": "a b; rm -rf"}}', None),
        ('{"url": "x", "dir_info": {}}', None),
        ("no JSON", None),
        (None, None),
    ],
)
def test_the_commit_of_an_installation(
    text: str | None, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a checkout it is the commit that pip recorded, and None where there is none."""

    class Installed:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return text

    monkeypatch.setattr(commit_module, "_ROOT", tmp_path)
    monkeypatch.setattr(commit_module, "distribution", lambda _: Installed())
    assert commit() == expected


def test_no_git_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git is missing, or the checkout is no repository after all, the commit is unknown."""
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(commit_module, "_ROOT", tmp_path)
    assert commit() is None
    monkeypatch.setenv("PATH", "")
    assert commit() is None


def test_other_pixels_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest of the preprocessing is always the same, until one pixel changes."""
    before = preprocessing_digest()
    assert re.fullmatch("[0-9a-f]{64}", before)
    assert preprocessing_digest() == before
    true_decode = preprocessing_module.decode

    def decode(data: bytes, size: int) -> Any:
        image = true_decode(data, size)
        pixels = image.pixels.copy()
        pixels[0, 0] ^= 1
        return type(image)(pixels, image.width, image.height, image.format)

    monkeypatch.setattr(preprocessing_module, "decode", decode)
    assert preprocessing_digest() != before
