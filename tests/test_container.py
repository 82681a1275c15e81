"""Zip and tar files in an archive: what is listed, what is read, and what is refused."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import zstandard
from boxes import KINDS, compressed, packed, put, tarred, zipped
from commands import rows
from conftest import encode, picture
from hypothesis import given, settings
from hypothesis import strategies as st

import batchscan
from batchscan.archive.display import display_path
from batchscan.archive.listing import list_images
from batchscan.archive.notes import ListingNotes
from batchscan.archive.reading import file_state, read_image
from batchscan.archive.root import check_archive
from batchscan.archive.selection import Selection
from batchscan.container import tar as container_tar
from batchscan.container.limits import ContainerLimits
from batchscan.container.member import UNSAFE, safe_name
from batchscan.container.pace import inside_container, step, steps_of
from batchscan.container.reading import close_containers, in_reading_order
from batchscan.errors import ImageFailure, UsageError
from batchscan.labels.lookup import label_of_folder
from batchscan.rules import DEFAULT_RULES, Rules
from batchscan.run.summary import ScanSummary
from batchscan.schema import FAILURES
from batchscan.terminal.summary_text import render_summary

JPEG, PNG = encode(picture(8, 8), "jpeg"), encode(picture(9, 9), "png")
CLASSES = ("NORMAL", "PNEUMONIA")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    close_containers()


def listed(root: Path, notes: ListingNotes | None = None, **options: Any) -> list[str]:
    return list(list_images(root, notes or ListingNotes(), **options))


def content(root: Path, name: str, rules: Rules = DEFAULT_RULES) -> bytes:
    return read_image(str(root), name, rules)[0]


def problem(root: Path, name: str, rules: Rules = DEFAULT_RULES) -> str:
    """Return the category under which a path fails."""
    with pytest.raises(ImageFailure) as caught:
        read_image(str(root), name, rules)
    assert caught.value.category in FAILURES
    return caught.value.category


def limited(**limits: int) -> Rules:
    return Rules(containers=ContainerLimits(**limits))


# --- what is listed, and read --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_images_of_the_archive(tmp_path: Path, kind: str) -> None:
    """Images in a container are listed by name or content, and read as they are; others count."""
    files = {"z/x.jpeg": JPEG, "a.png": PNG, "IM0001": JPEG, "t.txt": b"words", "empty.jpg": b""}
    put(tmp_path / f"in/box{kind}", packed(files, kind))
    notes = ListingNotes()
    found = listed(tmp_path, notes)
    inside = f"in/box{kind}!/"
    assert found == [inside + name for name in ("IM0001", "a.png", "empty.jpg", "z/x.jpeg")]
    assert [content(tmp_path, name) for name in found] == [JPEG, PNG, b"", JPEG]
    assert dict(notes.other_files) == {".txt": 1}
    assert (notes.containers, notes.containers_without_images) == (1, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_state_is_that_of_the_member_and_the_container(tmp_path: Path, kind: str) -> None:
    """A member's state is its size and the container's time, both when read and when asked for."""
    file = put(tmp_path / f"box{kind}", packed({"x.jpeg": JPEG}, kind))
    os.utime(file, (1_700_000_000, 1_700_000_000))
    (name,) = listed(tmp_path)
    state = file_state(str(tmp_path), name)
    assert state is not None
    assert (state.bytes, state.modified) == (len(JPEG), 1_700_000_000 * 10**6)
    close_containers()  # As on a worker, which has not listed anything.
    assert file_state(str(tmp_path), name) == state == read_image(str(tmp_path), name)[1]
    assert file_state(str(tmp_path), f"box{kind}!/other.jpeg") is None


@pytest.mark.parametrize("kind", KINDS)
def test_archive_that_is_a_container(tmp_path: Path, kind: str) -> None:
    """Where the archive is a container itself, its members' own names are the paths."""
    root = put(tmp_path / f"box{kind}", packed({"b/x.jpeg": JPEG, "a.png": PNG}, kind))
    check_archive(root)
    assert listed(root) == ["a.png", "b/x.jpeg"]
    assert content(root, "b/x.jpeg") == JPEG
    assert file_state(str(root), "a.png") == read_image(str(root), "a.png")[1]


def test_archive_that_is_another_file(tmp_path: Path) -> None:
    """A file that is no container cannot be the archive."""
    with pytest.raises(UsageError, match="zip or tar"):
        check_archive(put(tmp_path / "x.jpeg", JPEG))


@pytest.mark.parametrize("outer", KINDS)
@pytest.mark.parametrize("inner", KINDS)
def test_nested_containers(tmp_path: Path, outer: str, inner: str) -> None:
    """A container in a container is read; one that lies deeper is a row that says so."""
    deep = packed({"z.png": PNG}, ".zip")
    nested = packed({"n/x.png": PNG, "y.jpeg": JPEG, "deep.zip": deep}, inner)
    put(tmp_path / f"o{outer}", packed({f"d/i{inner}": nested, "last.png": PNG}, outer))
    prefix = f"o{outer}!/d/i{inner}!/"
    last = f"o{outer}!/last.png"
    expected = [prefix + name for name in ("deep.zip", "n/x.png", "y.jpeg")] + [last]
    assert listed(tmp_path) == expected
    for forget in (False, True):
        if forget:
            close_containers()
        assert content(tmp_path, prefix + "n/x.png") == PNG
        assert content(tmp_path, prefix + "y.jpeg") == JPEG
        state = file_state(str(tmp_path), prefix + "y.jpeg")
        assert state is not None
        assert state.bytes == len(JPEG)
        assert problem(tmp_path, prefix + "deep.zip") == "container_limit"


def test_selection_sees_the_whole_path(tmp_path: Path) -> None:
    """Patterns match paths with `!/`, the container's name too; what's excluded isn't opened."""
    put(tmp_path / "a/box.zip", zipped({"n/x.jpeg": JPEG, "y.png": PNG}))
    put(tmp_path / "b/bad.zip", b"nothing of the kind")

    def with_patterns(**patterns: tuple[str, ...]) -> list[str]:
        return listed(tmp_path, selection=Selection(**patterns))

    assert with_patterns(include=("*.jpeg",)) == ["a/box.zip!/n/x.jpeg"]
    assert with_patterns(include=("a/box.zip!/y*",)) == ["a/box.zip!/y.png"]
    assert with_patterns(include=("box.zip",), exclude=("n",)) == ["a/box.zip!/y.png"]
    assert with_patterns(exclude=("*.zip",)) == []
    assert with_patterns(exclude=("box.zip!",)) == ["b/bad.zip"]
    notes = ListingNotes()
    assert listed(tmp_path, notes, selection=Selection(include=("a/*",)))
    assert notes.containers == 1
    notes = ListingNotes()
    assert listed(tmp_path, notes, selection=Selection(include=("*.png",))) == ["a/box.zip!/y.png"]
    assert notes.unread_containers == ["b/bad.zip"]


def test_links_and_devices_are_no_images(tmp_path: Path) -> None:
    """Links and devices in a container are counted, and never followed."""
    link, device = tarfile.TarInfo("link.jpeg"), tarfile.TarInfo("device.jpeg")
    link.type, link.linkname, device.type = tarfile.SYMTYPE, "/etc/passwd", tarfile.CHRTYPE
    put(tmp_path / "box.tar", tarred({"x.jpeg": JPEG}, link, device))
    symlink = zipfile.ZipInfo("s.jpeg")
    symlink.create_system, symlink.external_attr = 3, 0o120777 << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as box:
        box.writestr(symlink, "/etc/passwd")
    put(tmp_path / "box.zip", stream.getvalue())
    notes = ListingNotes()
    assert listed(tmp_path, notes) == ["box.tar!/x.jpeg"]
    assert dict(notes.other_files) == {"(link)": 2, "(special file)": 1}
    assert notes.containers_without_images == 1


def test_file_system_wins_over_a_container(tmp_path: Path) -> None:
    """A folder that is really called `x.zip!` is read; a container beside it is a row."""
    put(tmp_path / "x.zip!/a.jpeg", JPEG)
    assert listed(tmp_path) == ["x.zip!/a.jpeg"]
    put(tmp_path / "x.zip", zipped({"a.jpeg": PNG}))
    assert listed(tmp_path) == ["x.zip", "x.zip!/a.jpeg"]
    assert content(tmp_path, "x.zip!/a.jpeg") == JPEG
    assert problem(tmp_path, "x.zip") == "unsafe_name"


def test_image_that_is_called_a_container(tmp_path: Path) -> None:
    """An image by content is one, also where its name says zip."""
    put(tmp_path / "x.zip", JPEG)
    put(tmp_path / "folder.zip/y.png", PNG)
    assert listed(tmp_path) == ["folder.zip/y.png", "x.zip"]
    assert content(tmp_path, "x.zip") == JPEG
    assert content(tmp_path, "folder.zip/y.png") == PNG


@pytest.mark.parametrize("kind", KINDS)
def test_of_members_with_one_name_one_counts(tmp_path: Path, kind: str) -> None:
    """Of members with one name the last counts, in a stream the first; the others are named."""
    files = [("x.jpeg", b"first"), ("y.jpeg", JPEG), ("./x.jpeg", b"second one")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)
        put(tmp_path / f"b{kind}", packed(files, kind))
    notes = ListingNotes()
    assert listed(tmp_path, notes) == [f"b{kind}!/x.jpeg", f"b{kind}!/y.jpeg"]
    assert (notes.duplicate_members, notes.duplicate_examples) == (1, [f"b{kind}!/x.jpeg"])
    expected = b"second one" if kind in (".zip", ".tar") else b"first"
    for name, data in ((f"b{kind}!/y.jpeg", JPEG), (f"b{kind}!/x.jpeg", expected)):
        assert content(tmp_path, name) == data
    state = file_state(str(tmp_path), f"b{kind}!/x.jpeg")
    assert state is not None
    assert state.bytes == len(expected)


@pytest.mark.parametrize("method", [0, 8, 12])
def test_compression_methods_of_zip(tmp_path: Path, method: int) -> None:
    """Stored, deflated and bzip2 members are read, and told apart from text by their content."""
    put(tmp_path / "b.zip", zipped({"IM1": JPEG * 50, "notes": b"words" * 1000}, method))
    assert listed(tmp_path) == ["b.zip!/IM1"]
    assert content(tmp_path, "b.zip!/IM1") == JPEG * 50


def test_zip_with_zstandard_and_behind_something_else(tmp_path: Path) -> None:
    """Zstandard members are read, and a zip file behind other bytes (a program) is found."""
    data = zstandard.compress(JPEG)
    put(tmp_path / "b.zip", b"#!program\n" * 20 + raw_zip([("IM1", 93, data, JPEG)]))
    assert listed(tmp_path) == ["b.zip!/IM1"]
    assert content(tmp_path, "b.zip!/IM1") == JPEG


def test_large_zip_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 64-bit records of large zip files are understood."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    put(tmp_path / "b.zip", zipped({"x.jpeg": JPEG, "y.png": PNG}))
    assert b"PK\6\6" in (tmp_path / "b.zip").read_bytes()
    assert [content(tmp_path, name) for name in listed(tmp_path)] == [JPEG, PNG]


# --- names ---------------------------------------------------------------------------------------

PARTS = st.text(st.sampled_from(list("aZ!.\\/: \n\x00ä\udce9~0")), max_size=5)
RAW = st.lists(st.one_of(PARTS, st.sampled_from(["..", ".", "C:", "x.zip!", UNSAFE + "1"]))).map(
    "/".join
)


@given(RAW, st.integers(1, 99), st.booleans())
@settings(max_examples=400)
def test_names_are_harmless(raw: str, number: int, backslash: bool) -> None:
    """Whatever a member is called, its path is relative, leads nowhere else, and is idempotent."""
    name, problem = safe_name(raw, number, backslash_separates=backslash)
    parts = name.split("/")
    assert not {"", ".", ".."} & {*parts}
    assert "\0" not in name
    if problem is None:
        assert name == "/".join(part for part in parts)
        assert safe_name(name, number, backslash_separates=backslash) == (name, None)
        assert not parts[0].startswith(UNSAFE)
    else:
        assert problem.category == "unsafe_name"
        assert parts[0] == f"{UNSAFE}{number}"
        assert len(parts) == 2


@pytest.mark.parametrize("kind", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize(
    "name",
    [
        *("../x.jpeg", "/x.jpeg", "a/../../x.jpeg", "C:/x.jpeg", "C:x.jpeg", "..\\x.jpeg"),
        *("\\\\host\\x.jpeg", f"{UNSAFE}1/x.jpeg", "i.zip!/x.jpeg", "x" * 5000 + "/x.jpeg"),
    ],
)
def test_unsafe_names(tmp_path: Path, kind: str, name: str) -> None:
    """A name that leads out of its container is a failed row, under a path without its folders."""
    files = {f"PNEUMONIA/../{name}" if name.startswith("..") else name: JPEG, "ok.png": PNG}
    put(tmp_path / f"b{kind}", packed(files, kind))
    found = listed(tmp_path)
    assert found == [f"b{kind}!/ok.png", f"b{kind}!/{UNSAFE}1/x.jpeg"]
    assert problem(tmp_path, found[1]) == "unsafe_name"
    assert label_of_folder(found[1], CLASSES) is None
    assert content(tmp_path, found[0]) == PNG


def test_unsafe_names_get_unlike_paths(tmp_path: Path) -> None:
    """Members with the same unsafe name, or with a name like the path of one, are a row each."""
    files = [("../x.jpeg", JPEG), ("/x.jpeg", JPEG), (f"{UNSAFE}1/x.jpeg", JPEG)]
    put(tmp_path / "b.tar", tarred(files))
    assert listed(tmp_path) == [f"b.tar!/{UNSAFE}{number}/x.jpeg" for number in (1, 2, 3)]


def test_separators_of_windows(tmp_path: Path) -> None:
    r"""A zip's `\` separates folders, as its writer meant; in a tar it is part of the name."""
    put(tmp_path / "b.zip", zipped({"NORMAL\\x.jpeg": JPEG}))
    put(tmp_path / "b.tar", tarred({"NORMAL\\x.jpeg": JPEG}))
    assert listed(tmp_path) == ["b.tar!/NORMAL\\x.jpeg", "b.zip!/NORMAL/x.jpeg"]
    assert content(tmp_path, "b.tar!/NORMAL\\x.jpeg") == JPEG
    assert content(tmp_path, "b.zip!/NORMAL/x.jpeg") == JPEG


def test_names_in_other_encodings(tmp_path: Path) -> None:
    """Zip names are UTF-8 or code page 437 as flagged, tar names any bytes; all can be read."""
    put(tmp_path / "a.zip", zipped({"ä🩻.jpeg": JPEG}))
    old = raw_zip([("NAME.jpeg", 0, JPEG, JPEG)]).replace(b"NAME", b"\x84\xe1\xff!")
    put(tmp_path / "b.zip", old)
    put(tmp_path / "c.tar", tarred({"caf\udce9\n.jpeg": JPEG}))
    wrong = zipped({"äab.jpeg": JPEG}).replace("ä".encode(), b"\xe4\xe5")
    put(tmp_path / "d.zip", wrong)
    found = listed(tmp_path)
    assert [display_path(name) for name in found] == [
        *("a.zip!/ä🩻.jpeg", "b.zip!/äß\xa0!.jpeg"),
        *("c.tar!/caf\\xe9\n.jpeg", "d.zip!/\\xe4\\xe5ab.jpeg"),
    ]
    assert [content(tmp_path, name) for name in found] == [JPEG] * 4


LETTERS = st.sampled_from(list(" !-.+0aAzZ~\x01\x7fäß\uffe5\U0001f9b4\udce9\\"))
NAMES = st.text(LETTERS, min_size=1, max_size=4)
TREES = st.dictionaries(
    st.tuples(NAMES, st.sampled_from(["", ".zip", ".tar", ".tar.gz", ".jpeg"])),
    st.lists(st.tuples(NAMES, NAMES), max_size=4),
    max_size=6,
)


@given(TREES)
@settings(max_examples=60)
def test_order_is_that_of_the_paths(tree: dict[tuple[str, str], list[tuple[str, str]]]) -> None:
    """Files, folders and containers beside each other are listed in the order of their paths."""
    with TemporaryDirectory() as folder:
        for (stem, kind), members in tree.items():
            files = [(f"{first}/{second}.jpeg", JPEG) for first, second in members]
            files += [(f"{first}.png", PNG) for first, _ in members]
            file = Path(folder, "x" + stem + kind)
            if kind in ("", ".jpeg"):
                for name, data in [("0.jpeg", JPEG), *files]:
                    put(file / name.replace("/../", "/_/").replace("/./", "/_/"), data)
            else:
                safe = files if kind != ".zip" else [(clean(name), data) for name, data in files]
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("warnings.warn", lambda *_, **__: None)
                    put(file, packed(safe, kind))
        found = listed(Path(folder))
        shown = [display_path(name).encode() for name in found]
        assert shown == sorted(set(shown))
        for name in found:
            try:
                assert content(Path(folder), name) in (JPEG, PNG)
            except ImageFailure as failure:
                assert failure.category == "unsafe_name"  # noqa: PT017 - either may be
    close_containers()


def clean(name: str) -> str:
    """Leave out what no program can write into a zip file."""
    return name.replace("\udce9", "e")


# --- damage, and what is no friend ---------------------------------------------------------------


def raw_zip(members: list[tuple[str, int, bytes, bytes]], *, flags: int = 0) -> bytes:
    """Write a zip file by hand: names, methods, packed and true contents."""
    body, directory = b"", b""
    for name, method, data, true in members:
        sizes = (zlib.crc32(true), len(data), len(true))
        lengths = (len(name), 0)
        directory += struct.pack(
            *("<4s6H3L5H2L", b"PK\1\2", 20, 20, flags, method, 0, 0, *sizes, *lengths),
            *(0, 0, 0, 0, len(body)),
        )
        directory += name.encode()
        body += struct.pack("<4s5H3L2H", b"PK\3\4", 20, flags, method, 0, 0, *sizes, *lengths)
        body += name.encode() + data
    count = (len(members), len(members))
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *count, len(directory), len(body), 0)
    return body + directory + end


def test_encrypted_members(tmp_path: Path) -> None:
    """Members behind a password are a row each, whatever their names; the others are read."""
    put(tmp_path / "b.zip", raw_zip([("x", 0, JPEG, JPEG), ("y.jpeg", 0, JPEG, JPEG)], flags=1))
    assert listed(tmp_path) == ["b.zip!/x", "b.zip!/y.jpeg"]
    assert {problem(tmp_path, name) for name in listed(tmp_path)} == {"encrypted"}


def test_unknown_compression(tmp_path: Path) -> None:
    """A member in a compression that is not read is a row that says so."""
    put(tmp_path / "b.zip", raw_zip([("x.jpeg", 9, JPEG, JPEG)]))
    assert problem(tmp_path, *listed(tmp_path)) == "unsupported"


@pytest.mark.parametrize(
    ("packed_data", "claimed", "category"),
    [
        (zlib.compress(JPEG)[2:-4], JPEG + b"more", "truncated"),
        (zlib.compress(JPEG)[2:-4], JPEG[:-9], "corrupt"),
        (zlib.compress(JPEG)[2:-4], JPEG[:-1] + b"!", "corrupt"),
        (b"\xff" * 40, JPEG, "corrupt"),
    ],
    ids=["too little comes out", "too much comes out", "checksum", "no deflate"],
)
def test_members_that_are_not_what_the_directory_says(
    tmp_path: Path, packed_data: bytes, claimed: bytes, category: str
) -> None:
    """Sizes and checksums of a zip are compared, and no more is expanded than is promised."""
    put(tmp_path / "b.zip", raw_zip([("x.jpeg", 8, packed_data, claimed)]))
    assert problem(tmp_path, *listed(tmp_path)) == category


def test_overlapping_members(tmp_path: Path) -> None:
    """Members that share their bytes with another one are refused: so zip bombs are built."""
    data = raw_zip([("a.jpeg", 0, JPEG, JPEG), ("b.jpeg", 0, JPEG, JPEG)])
    second = data.rindex(b"PK\1\2")
    data = data[: second + 42] + struct.pack("<L", 0) + data[second + 46 :]
    put(tmp_path / "b.zip", data)
    first, other = listed(tmp_path)
    assert content(tmp_path, first) == JPEG
    assert problem(tmp_path, other) == "container_limit"


@pytest.mark.parametrize("kind", KINDS)
def test_member_limit(tmp_path: Path, kind: str) -> None:
    """Members beyond the limit are not listed, which is a row; those before it are images."""
    files = {f"{number}.jpeg": JPEG for number in range(5)}
    put(tmp_path / f"b{kind}", packed(files, kind))
    rules = limited(members=3)
    found = listed(tmp_path, rules=rules)
    assert found == [f"b{kind}", *(f"b{kind}!/{number}.jpeg" for number in range(3))]
    close_containers()
    assert problem(tmp_path, found[0], rules) == "container_limit"
    assert content(tmp_path, found[3], rules) == JPEG


def test_members_of_nested_containers_count(tmp_path: Path) -> None:
    """The limit on members holds for a container together with those in it."""
    inner = zipped({f"{number}.jpeg": JPEG for number in range(3)})
    put(tmp_path / "b.zip", zipped({f"{number}.zip": inner for number in range(3)}))
    rules = limited(members=7)
    found = listed(tmp_path, rules=rules)
    assert len(found) == 6
    assert problem(tmp_path, found[0], rules) == "container_limit"


@pytest.mark.parametrize("kind", [".zip", ".tar.gz", ".tar.zst"])
def test_bombs(tmp_path: Path, kind: str) -> None:
    """What expands beyond the ratio is given up, and takes no memory."""
    put(tmp_path / f"b{kind}", packed({"a.png": PNG, "bomb.jpeg": bytes(10**7)}, kind))
    rules = limited(ratio_from=10**6)
    found = listed(tmp_path, rules=rules)
    assert found[-2:] == [f"b{kind}!/a.png", f"b{kind}!/bomb.jpeg"]
    assert content(tmp_path, found[-2], rules) == PNG
    close_containers()
    assert problem(tmp_path, found[-1], rules) == "container_limit"
    if kind != ".zip":
        assert problem(tmp_path, found[0], rules) == "container_limit"


@pytest.mark.parametrize("kind", [".tar.gz", ".tar.zst"])
def test_expanded_bytes_are_limited(tmp_path: Path, kind: str) -> None:
    """A compressed tar is read as far as it may expand; what lies behind is a row's reason."""
    noise = os.urandom(10_000)
    put(tmp_path / f"b{kind}", packed({"a.png": PNG, "noise": noise, "z.png": PNG}, kind))
    rules = limited(expanded_bytes=5_000)
    assert listed(tmp_path, rules=rules) == [f"b{kind}", f"b{kind}!/a.png"]
    assert problem(tmp_path, f"b{kind}", rules) == "container_limit"


def test_nested_bytes_are_limited(tmp_path: Path) -> None:
    """A nested container larger than what is held in memory is a row."""
    put(tmp_path / "b.zip", zipped({"i.zip": zipped({"x.png": PNG}), "y.png": PNG}))
    rules = limited(nested_bytes=50)
    assert listed(tmp_path, rules=rules) == ["b.zip!/i.zip", "b.zip!/y.png"]
    assert problem(tmp_path, "b.zip!/i.zip", rules) == "container_limit"


@pytest.mark.parametrize("kind", KINDS)
def test_members_larger_than_an_image_may_be(tmp_path: Path, kind: str) -> None:
    """The limit on an image's bytes holds inside containers."""
    put(tmp_path / f"b{kind}", packed({"x.jpeg": JPEG, "y.jpeg": b"!"}, kind))
    rules = Rules(max_bytes=len(JPEG) - 1)
    first, second = listed(tmp_path, rules=rules)
    assert problem(tmp_path, first, rules) == "too_large"
    assert content(tmp_path, second, rules) == b"!"


@pytest.mark.parametrize("kind", [".tar", ".tar.gz", ".tar.zst"])
def test_truncated_tar(tmp_path: Path, kind: str) -> None:
    """A tar that was cut is a row, and so are the members before the cut, which are read."""
    data = compressed(tarred({"a.png": PNG, "b.jpeg": os.urandom(500_000), "c.png": PNG}), kind)
    put(tmp_path / f"t{kind}", data[:300_000])
    found = listed(tmp_path)
    assert found == [f"t{kind}", f"t{kind}!/a.png", f"t{kind}!/b.jpeg"]
    close_containers()
    assert content(tmp_path, found[1]) == PNG
    assert problem(tmp_path, found[2]) == "truncated"
    assert problem(tmp_path, found[0]) == "truncated"


def test_tar_without_an_end(tmp_path: Path) -> None:
    """A tar that was cut between two members is told from a whole one by its end mark."""
    put(tmp_path / "t.tar", tarred({"a.png": PNG, "b.png": PNG})[: 512 + -(-len(PNG) // 512) * 512])
    assert listed(tmp_path) == ["t.tar", "t.tar!/a.png"]
    assert problem(tmp_path, "t.tar") == "truncated"


def test_tar_that_goes_on_behind_its_end(tmp_path: Path) -> None:
    """What lies behind the end mark is not passed over in silence."""
    put(tmp_path / "t.tar", tarred({"a.png": PNG}) + tarred({"b.png": PNG}))
    assert listed(tmp_path) == ["t.tar", "t.tar!/a.png"]
    assert problem(tmp_path, "t.tar") == "corrupt"


def test_checksum_of_a_compressed_tar(tmp_path: Path) -> None:
    """A gzip checksum that does not fit is a row."""
    data = bytearray(gzip.compress(tarred({"a.png": PNG})))
    data[-8] ^= 1
    put(tmp_path / "t.tar.gz", bytes(data))
    assert listed(tmp_path) == ["t.tar.gz", "t.tar.gz!/a.png"]
    assert problem(tmp_path, "t.tar.gz") == "corrupt"


@pytest.mark.parametrize(
    ("name", "data", "category"),
    [
        ("b.zip", b"", "empty"),
        ("b.tar", b"", "empty"),
        ("b.tgz", b"", "empty"),
        ("b.zip", zipped({"x.png": PNG})[:100], "truncated"),
        ("b.zip", b"something else" * 20, "corrupt"),
        ("b.tar", b"something else" * 90, "corrupt"),
        ("b.tar.gz", b"something else" * 90, "corrupt"),
        ("b.tar.zst", b"something else" * 90, "corrupt"),
    ],
)
def test_damaged_containers(tmp_path: Path, name: str, data: bytes, category: str) -> None:
    """A container that cannot be opened is one row, alone or as the archive, nested or not."""
    put(tmp_path / "alone" / name, data)
    assert listed(tmp_path / "alone") == [name]
    assert problem(tmp_path / "alone", name) == category
    assert listed(tmp_path / "alone" / name) == ["."]
    assert problem(tmp_path / "alone" / name, ".") == category
    assert file_state(str(tmp_path / "alone" / name), ".") is not None
    put(tmp_path / "nested" / "o.tar.gz", packed({name: data, "y.png": PNG}, ".tar.gz"))
    assert listed(tmp_path / "nested") == [f"o.tar.gz!/{name}", "o.tar.gz!/y.png"]
    assert problem(tmp_path / "nested", f"o.tar.gz!/{name}") == category


def test_tar_headers_that_ask_for_memory(tmp_path: Path) -> None:
    """A header that states a length of gigabytes is damage, and a chain of headers ends."""
    long = tarfile.TarInfo("long")
    long.type, long.size = tarfile.XHDTYPE, 1 << 33
    put(tmp_path / "a.tar.gz", gzip.compress(long.tobuf(tarfile.GNU_FORMAT) + bytes(10_000)))
    link = tarfile.TarInfo("chain")
    link.type = tarfile.XHDTYPE
    put(tmp_path / "b.tar", link.tobuf() * 5000 + bytes(1024))
    assert listed(tmp_path) == ["a.tar.gz", "b.tar"]
    assert {problem(tmp_path, name) for name in listed(tmp_path)} == {"corrupt"}


FRIENDLY = {
    kind: packed({"a.jpeg": JPEG, "i.zip": zipped({"n.png": PNG}), "IM": PNG}, kind)
    for kind in KINDS
}


@given(st.sampled_from(KINDS), st.data())
@settings(max_examples=300)
def test_any_damage_ends_in_rows(kind: str, data: st.DataObject) -> None:
    """However a container is damaged, each path that is listed is read, or fails by a category."""
    whole = bytearray(FRIENDLY[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        piece = data.draw(st.one_of(st.binary(max_size=4), st.sampled_from([b"\xff" * 4])))
        whole[place : place + data.draw(st.sampled_from([0, len(piece), 40]))] = piece
        whole = whole or bytearray(b"x")
    with TemporaryDirectory() as folder:
        put(Path(folder) / f"b{kind}", bytes(whole))
        found = listed(Path(folder))
        assert found == sorted(set(found))
        for name in found:
            try:
                assert isinstance(content(Path(folder), name), bytes)
            except ImageFailure as failure:
                assert failure.category in FAILURES  # noqa: PT017 - either may be
                assert failure.category != "changed"  # noqa: PT017
    close_containers()


def test_closed_container(tmp_path: Path) -> None:
    """A container that may not be read is a row, and what is known of its members stays known."""
    file = put(tmp_path / "b.zip", zipped({"x.jpeg": JPEG}))
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read everything")
    notes = ListingNotes()
    assert listed(tmp_path, notes) == ["b.zip"]
    assert notes.unreadable_folders == ["b.zip!"]
    assert problem(tmp_path, "b.zip") == "permission_denied"
    with pytest.raises(UsageError, match="cannot be read"):
        check_archive(file)


# --- reading streams -----------------------------------------------------------------------------


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each time when a compressed tar is begun to be read."""
    began: list[str] = []
    original = container_tar._decompressor

    def noting(file: Any, kind: str) -> Any:
        began.append(kind)
        return original(file, kind)

    monkeypatch.setattr(container_tar, "_decompressor", noting)
    return began


@pytest.mark.parametrize("kind", [".tar.gz", ".tar.zst"])
def test_stream_is_read_once(tmp_path: Path, kind: str, starts: list[str]) -> None:
    """Members in reading order are those of the stream's order, and cost one pass through it."""
    files = {f"{(number * 37) % 100:02d}.jpeg": JPEG + b"%d" % number for number in range(100)}
    put(tmp_path / f"b{kind}", packed(files, kind))
    put(tmp_path / "a.jpeg", JPEG)
    put(tmp_path / "c.jpeg", JPEG)
    ordered = list(in_reading_order(str(tmp_path), list_images(tmp_path, ListingNotes()), Rules()))
    assert ordered == ["a.jpeg", *(f"b{kind}!/{name}" for name in files), "c.jpeg"]
    close_containers()
    starts.clear()
    assert [content(tmp_path, name) for name in ordered[1:-1]] == list(files.values())
    assert len(starts) == 1


def test_reading_order_of_an_archive_that_is_a_stream(tmp_path: Path) -> None:
    """Reading order is also found where the archive itself, or a nested container, is a stream."""
    names = ["z.jpeg", "a.jpeg", "m.jpeg"]
    inner = packed(dict.fromkeys(names, JPEG), ".tgz")
    root = put(tmp_path / "b.tgz", inner)
    assert list(in_reading_order(str(root), iter(listed(root)), Rules())) == names
    put(tmp_path / "o.zip", zipped({"i.tgz": inner}))
    nested = [name for name in listed(tmp_path) if name.startswith("o.zip")]
    ordered = list(in_reading_order(str(tmp_path), iter(nested), Rules()))
    assert ordered == [f"o.zip!/i.tgz!/{name}" for name in names]


def test_threads_share_a_stream(tmp_path: Path, starts: list[str]) -> None:
    """Several threads that read a stream in its order, more or less, cost one pass, too."""
    files = {f"{number:03d}.jpeg": JPEG + b"%d" % number for number in range(200)}
    put(tmp_path / "b.tgz", packed(files, ".tgz"))
    names = [f"b.tgz!/{name}" for name in files]
    swapped = [name for pair in zip(names[1::2], names[::2], strict=True) for name in pair]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: content(tmp_path, name), swapped))
    assert dict(zip(swapped, found, strict=True)) == dict(zip(names, files.values(), strict=True))
    assert len(starts) == 1


@given(st.lists(st.integers(0, 39), max_size=60))
@settings(max_examples=30)
def test_stream_can_be_read_in_any_order(order: list[int]) -> None:
    """Whatever is asked for, in whichever order, is what comes."""
    with TemporaryDirectory() as folder:
        files = {f"{number}.jpeg": b"%d" % number for number in range(40)}
        put(Path(folder) / "b.tgz", packed(files, ".tgz"))
        for number in order:
            assert content(Path(folder), f"b.tgz!/{number}.jpeg") == b"%d" % number
    close_containers()


def test_replaced_container_is_noticed(tmp_path: Path) -> None:
    """A container that is replaced while it is open is opened anew."""
    for kind in KINDS:
        file = put(tmp_path / f"b{kind}", packed({"x.jpeg": JPEG, "y.jpeg": JPEG}, kind))
        assert content(tmp_path, f"b{kind}!/x.jpeg") == JPEG
        put(tmp_path / "new", packed({"x.jpeg": PNG}, kind)).replace(file)
        os.utime(file, (1, 1))
        assert content(tmp_path, f"b{kind}!/x.jpeg") == PNG
        assert problem(tmp_path, f"b{kind}!/y.jpeg") == "vanished"
        file.unlink()
        assert problem(tmp_path, f"b{kind}!/x.jpeg") == "vanished"


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_containers_are_closed_again(tmp_path: Path) -> None:
    """However many containers an archive has, few are open at a time, and none at the end."""
    for number in range(30):
        put(tmp_path / f"{number}.zip", zipped({"x.jpeg": JPEG}))
        put(tmp_path / f"{number}.tgz", packed({"x.jpeg": JPEG}, ".tgz"))
    before = open_files()
    for name in listed(tmp_path):
        content(tmp_path, name)
        assert open_files() <= before + 12
    close_containers()
    assert open_files() == before


def test_signs_of_life() -> None:
    """Who is inside a container shows that it gets on; who is not shows nothing."""
    import threading

    me = threading.get_ident()
    assert steps_of(me) is None
    with inside_container():
        before = steps_of(me)
        step()
        assert steps_of(me) != before
    assert steps_of(me) is None


# --- labels, and whole scans ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("train.zip!/NORMAL/x.jpeg", "NORMAL"),
        ("NORMAL.zip!/x.jpeg", "NORMAL"),
        ("pneumonia.tar.gz!/a/x.jpeg", "PNEUMONIA"),
        ("NORMAL/PNEUMONIA.tgz!/x.jpeg", "PNEUMONIA"),
        ("o.zip!/NORMAL.zip!/x.jpeg", "NORMAL"),
        ("NORMAL.zip/x.jpeg", None),
        ("NORMAL.txt!/x.jpeg", None),
    ],
)
def test_labels(path: str, label: str | None) -> None:
    """A container counts as a folder where labels are read from folders' names."""
    assert label_of_folder(path, CLASSES) == label


class Desk:
    """An archive and its result."""

    def __init__(self, archive: Path, out: Path, model: Path) -> None:
        self.archive = archive
        self.out = out
        self.model = model

    def scan(self, **options: Any) -> ScanSummary:
        return batchscan.scan(self.archive, self.out, model=self.model, workers=0, **options)

    def rows(self) -> dict[str, dict[str, Any]]:
        return {str(row["path"]): row for row in rows(self.out)}


@pytest.fixture
def desk(tmp_path: Path, tiny_bundle: Path) -> Desk:
    return Desk(tmp_path / "archive", tmp_path / "results.parquet", tiny_bundle)


def pictures(count: int, mean: int) -> dict[str, bytes]:
    return {
        f"{number}.jpeg": encode(picture(mean=mean, seed=number), "jpeg") for number in range(count)
    }


def test_scan_of_containers(desk: Desk) -> None:
    """Images in containers get the scores that the same files get in a folder."""
    files = {f"NORMAL/{name}": data for name, data in pictures(6, 90).items()}
    for name, data in files.items():
        put(desk.archive / "plain" / name, data)
    for kind in KINDS:
        put(desk.archive / f"box{kind}", packed(files, kind))
    summary = desk.scan(shard_size=4)
    found = desk.rows()
    assert (summary.counts.scored, len(found)) == (36, 36)
    for name, data in files.items():
        plain = found[f"plain/{name}"]
        for kind in KINDS:
            row = found[f"box{kind}!/{name}"]
            for column in ("score", "label", "sha256", "bytes", "width", "format"):
                assert row[column] == plain[column]
            assert row["label"] == "NORMAL"
            assert row["bytes"] == len(data)
    assert "5 zip and tar files looked into" in render_summary(summary)


@pytest.mark.parametrize("kind", KINDS)
def test_scan_of_one_container(desk: Desk, kind: str) -> None:
    """A container as the archive is scanned, labelled by its name, resumed, and recorded."""
    desk.archive = put(desk.archive / f"NORMAL{kind}", packed(pictures(3, 90), kind))
    desk.scan()
    assert {path: row["label"] for path, row in desk.rows().items()} == dict.fromkeys(
        ["0.jpeg", "1.jpeg", "2.jpeg"], "NORMAL"
    )
    summary = desk.scan()
    assert (summary.scored_now, summary.unchanged) == (0, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_second_scan(desk: Desk, kind: str) -> None:
    """A second scan scores nothing; after a container is replaced it scores that one alone."""
    first, second = (
        put(desk.archive / f"{name}{kind}", packed(pictures(3, 90), kind)) for name in "ab"
    )
    desk.scan()
    summary = desk.scan()
    assert (summary.scored_now, summary.unchanged, summary.dropped) == (0, 6, 0)
    put(second, packed(pictures(2, 160), kind))
    os.utime(second, (1, 1))
    summary = desk.scan()
    assert (summary.scored_now, summary.unchanged, summary.dropped) == (2, 3, 1)
    assert len(desk.rows()) == 5
    first.unlink()
    summary = desk.scan()
    assert (summary.scored_now, summary.unchanged, summary.dropped) == (0, 2, 3)


def test_interrupted_scan(desk: Desk) -> None:
    """A scan that was interrupted inside a container goes on where it stopped."""
    put(desk.archive / "b.tgz", packed(pictures(9, 90), ".tgz"))
    with pytest.MonkeyPatch.context() as patch:
        finished = []

        def stop(self: Any, shard: Any) -> Any:
            if finished:
                raise KeyboardInterrupt
            finished.append(shard)
            return original(self, shard)

        original = batchscan.run.worker.ShardWorker.run
        patch.setattr("batchscan.run.worker.ShardWorker.run", stop)
        with pytest.raises(KeyboardInterrupt):
            desk.scan(shard_size=4)
    summary = desk.scan(shard_size=4)
    assert (summary.scored_now, summary.unchanged) == (5, 4)
    assert len(desk.rows()) == 9


def test_damage_in_a_scan(desk: Desk) -> None:
    """Everything that is wrong with containers is a row or a line of the summary."""
    put(desk.archive / "cut.tar", tarred(pictures(3, 90))[: 3 * 512 + 200])
    put(desk.archive / "evil.zip", zipped({"../0.jpeg": JPEG, "ok.png": PNG}))
    put(desk.archive / "none.zip", zipped({"a.txt": b"words"}))
    put(desk.archive / "notes.zip", b"no zip at all")
    put(desk.archive / "twice.tar", tarred([("x.png", PNG), ("x.png", PNG)]))
    summary = desk.scan()
    found = {path: row["failure"] for path, row in desk.rows().items()}
    assert found == {
        "cut.tar": "truncated",
        "cut.tar!/0.jpeg": None,
        "cut.tar!/1.jpeg": "truncated",
        "evil.zip!/ok.png": None,
        f"evil.zip!/{UNSAFE}1/0.jpeg": "unsafe_name",
        "notes.zip": "corrupt",
        "twice.tar!/x.png": None,
    }
    text = render_summary(summary)
    assert "5 zip and tar files looked into, 1 of them without images" in text
    assert "twice.tar!/x.png" in text
    again = desk.scan()
    assert (again.scored_now, again.dropped) == (0, 0)
    assert again.unchanged == summary.counts.found
