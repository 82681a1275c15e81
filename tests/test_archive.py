"""Tests of the listing of an archive, and of reading its files."""

from __future__ import annotations

import io
import os
import random
import string
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import FAILED, OTHER, SCORED, encode, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscan.archive import reading, recognition, walk
from batchscan.archive.display import display_path
from batchscan.archive.listing import list_images
from batchscan.archive.local_file import FileState
from batchscan.archive.notes import ListingNotes
from batchscan.archive.reading import file_state, read_image
from batchscan.archive.root import check_archive
from batchscan.archive.selection import Selection
from batchscan.errors import ImageFailure, UsageError
from batchscan.rules import DEFAULT_RULES
from batchscan.schema import TRANSIENT

JPEG = encode(picture(8, 8), "jpeg")


def listed(root: Path, notes: ListingNotes | None = None, **options: object) -> list[str]:
    return list(list_images(root, notes or ListingNotes(), **options))  # type: ignore[arg-type]


def put(root: Path, *names: str, data: bytes = JPEG) -> None:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


# --- order ---------------------------------------------------------------------------------------

# Characters on both sides of "/" (0x2F) and beyond ASCII, in the order of their UTF-8 bytes.
LETTERS = st.sampled_from(list(" !-.+0aAzZ~\x01\x7fäß\u0fffz\uffe5\U0001f9b4"))
NAMES = st.text(LETTERS, min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
# Latin-1 and other bytes that are no UTF-8, as they come from old archives.
ODD_NAMES = st.binary(min_size=1, max_size=4).filter(
    lambda name: not {0, ord("/")} & set(name) and name not in (b".", b"..")
)
# Names that look like the escapes by which those bytes are shown.
ESCAPES = st.sampled_from([r"\xe9", r"\xff", r"\x5c", r"\x5cxe9", r"\x5z", "\\", r"\\xe9", r"\x5"])
ODD_BYTES = st.sampled_from([b"\xe9", b"\xff", b"\\\xe9", b"\x80"])
RAW_NAMES = st.one_of(NAMES.map(os.fsencode), ODD_NAMES, ESCAPES.map(os.fsencode), ODD_BYTES)
TREES = st.recursive(
    st.none(), lambda inner: st.dictionaries(RAW_NAMES, inner, max_size=5), max_leaves=25
)


def build(folder: bytes, tree: dict[bytes, object]) -> list[bytes]:
    """Make the tree's files and folders; returns the files' paths."""
    os.mkdir(folder)  # noqa: PTH102 - a folder whose name is no text
    files = []
    for name, inner in tree.items():
        path = folder + b"/" + name
        if isinstance(inner, dict):
            files += build(path, inner)
        else:
            with open(path, "wb") as stream:  # noqa: PTH123
                stream.write(JPEG)
            files.append(path)
    return files


@given(TREES.filter(lambda tree: isinstance(tree, dict)))
@settings(max_examples=60)
def test_order_is_that_of_the_paths(tree: dict[bytes, object]) -> None:
    """Every file of any tree is listed once, in the order of the UTF-8 bytes of its path."""
    with TemporaryDirectory() as folder:
        root = os.fsencode(folder) + b"/root"
        files = [os.fsdecode(path.removeprefix(root + b"/")) for path in build(root, tree)]
        found = listed(Path(os.fsdecode(root)))
    shown = [display_path(name).encode() for name in found]
    assert sorted(found) == sorted(files)
    assert shown == sorted(set(shown))  # also: no two files are shown as one


def test_slash_sorts_between_dot_and_zero(tmp_path: Path) -> None:
    """A folder's files come where their whole paths belong, not where the folder's name does."""
    names = [
        "a b.jpg",
        "a!/x.jpg",
        "a-1.jpg",
        "a-1/x.jpg",
        "a.jpg",
        "a/x.jpg",
        "a0.jpg",
        "a0/x.jpg",
    ]
    shuffled = random.Random(5).sample(names, len(names))
    put(tmp_path, *shuffled)
    assert listed(tmp_path) == names


def test_order_outside_the_basic_plane(tmp_path: Path) -> None:
    """Order follows code points (as Parquet sorts), not UTF-16 units."""
    put(tmp_path, "\uffe5.jpg", "\U0001f9b4.jpg", "z.jpg", "ä.jpg")
    assert listed(tmp_path) == ["z.jpg", "ä.jpg", "\uffe5.jpg", "\U0001f9b4.jpg"]


def test_bytes_that_are_no_text_show_as_escapes(tmp_path: Path) -> None:
    r"""A name that is no UTF-8 is shown with `\xNN`, and its file can still be read."""
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(JPEG)
    (name,) = listed(tmp_path)
    assert display_path(name) == r"caf\xe9.jpg"
    assert read_image(str(tmp_path), name)[0] == JPEG
    assert display_path("café.jpg") == "café.jpg"


def test_deep_tree(tmp_path: Path) -> None:
    """Depth is limited by the file system, not by the program."""
    depth = 300
    folder = tmp_path / "/".join(["d"] * depth)
    folder.mkdir(parents=True)
    (folder / "x.jpg").write_bytes(JPEG)
    assert listed(tmp_path) == ["d/" * depth + "x.jpg"]


def test_listing_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first image comes before later folders are read."""
    put(tmp_path, "a/x.jpg", "b/x.jpg", "c/x.jpg")
    seen = record_scandir(monkeypatch)
    images = list_images(tmp_path, ListingNotes())
    assert next(images) == "a/x.jpg"
    assert seen == [str(tmp_path), str(tmp_path / "a")]


def record_scandir(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    real = os.scandir

    def scandir(path: str) -> object:
        seen.append(os.fspath(path))
        return real(path)

    monkeypatch.setattr(walk.os, "scandir", scandir)
    return seen


# --- what counts ---------------------------------------------------------------------------------


def test_what_is_an_image(archive: Path) -> None:
    """Named like an image, or with an image's content: both count; anything else is counted."""
    notes = ListingNotes()
    assert listed(archive, notes) == sorted([*SCORED, *FAILED])
    assert notes.other_files == {".txt": 1, ".pdf": 1}
    assert notes.other_files.total() == len(OTHER)
    assert notes.unreadable_folders == []


@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_content_decides_without_an_extension(tmp_path: Path, format: str) -> None:
    """An image under a name that says nothing, or something else, is found by its content."""
    put(tmp_path, "IM0001", "scan.dat", "sub.folder/1.2.840", data=encode(picture(8, 8), format))
    assert listed(tmp_path) == ["IM0001", "scan.dat", "sub.folder/1.2.840"]
    assert listed(tmp_path, peek=False) == []


@pytest.mark.parametrize("name", ["a.jpeg", "a.JPG", "a.Png", "a.jpe", "a.jfif"])
def test_name_decides_without_content(tmp_path: Path, name: str) -> None:
    """A file named like an image is a row even where its content is text, or nothing."""
    put(tmp_path, name, data=b"no picture")
    put(tmp_path, "empty/" + name, data=b"")
    assert listed(tmp_path) == [name, "empty/" + name]


def test_other_files_are_counted_by_extension(tmp_path: Path) -> None:
    """Files that are left out are counted by extension, in lower case."""
    put(tmp_path, "a.TXT", "b.txt", "README", "c.pdf", ".hidden", data=b"words")
    notes = ListingNotes()
    assert listed(tmp_path, notes) == []
    assert notes.other_files == {".txt": 2, ".pdf": 1, "(no extension)": 2}


def test_empty_archive(tmp_path: Path) -> None:
    """An archive of empty folders has no images, and that is no error of the listing."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert listed(tmp_path) == []


def test_special_files_are_ignored(tmp_path: Path) -> None:
    """A pipe in the tree is neither listed nor opened, whatever its name; but it is counted."""
    os.mkfifo(tmp_path / "pipe.jpeg")
    os.mkfifo(tmp_path / "pipe")
    put(tmp_path, "x.jpg")
    notes = ListingNotes()
    assert listed(tmp_path, notes) == ["x.jpg"]
    assert dict(notes.other_files) == {"(special file)": 2}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["link.jpeg", "link"])
def test_links_to_special_files_are_ignored(tmp_path: Path, name: str) -> None:
    """A link to a pipe is left alone like the pipe itself: opening it would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / name).symlink_to("../pipe")
    put(tmp_path, "x.jpg")
    assert listed(tmp_path) == ["x.jpg"]


# --- links ---------------------------------------------------------------------------------------


def test_link_to_a_file_is_a_row_of_its_own(tmp_path: Path) -> None:
    """A path that leads to an image is an image of the archive."""
    put(tmp_path / "archive", "a.jpg")
    put(tmp_path, "outside.bin")
    (tmp_path / "archive" / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "archive" / "c").symlink_to(tmp_path / "outside.bin")
    assert listed(tmp_path / "archive") == ["a.jpg", "b.jpg", "c"]


def test_dangling_link(tmp_path: Path) -> None:
    """A link to nothing counts if its name says image: its row says what is missing."""
    (tmp_path / "gone.jpeg").symlink_to("nowhere.jpeg")
    (tmp_path / "gone").symlink_to("nowhere")
    assert listed(tmp_path) == ["gone.jpeg"]
    with pytest.raises(ImageFailure) as caught:
        read_image(str(tmp_path), "gone.jpeg")
    assert caught.value.category == "vanished"


@pytest.mark.parametrize("name", ["loop", "loop.jpeg"])
def test_link_to_itself(tmp_path: Path, name: str) -> None:
    """A link to itself costs no other file of its folder; with an image's name it is a row."""
    put(tmp_path, "a.jpg", "sub/b.jpg")
    (tmp_path / name).symlink_to(name)
    notes = ListingNotes()
    expected = ["a.jpg", "sub/b.jpg"] if name == "loop" else ["a.jpg", name, "sub/b.jpg"]
    assert listed(tmp_path, notes) == expected
    assert notes.unreadable_folders == []
    with pytest.raises(ImageFailure):
        read_image(str(tmp_path), name)


def test_links_to_each_other(tmp_path: Path) -> None:
    """Two links that lead to each other cost no other file of their folder."""
    put(tmp_path, "x.jpg")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert listed(tmp_path) == ["x.jpg"]


@pytest.mark.parametrize("target", [".", "..", "../..", "{root}", "{root}/.", "sibling"])
def test_folder_loops(tmp_path: Path, target: str) -> None:
    """A link to a folder above or beside it, inside the archive, repeats no image."""
    root = tmp_path / "archive"
    put(root, "a/b/x.jpg", "a/b/sibling/y.jpg")
    (root / "a" / "b" / "link").symlink_to(target.format(root=root))
    notes = ListingNotes()
    assert listed(root, notes) == ["a/b/sibling/y.jpg", "a/b/x.jpg"]
    assert notes.repeated_links == 1


def test_folders_linked_to_each_other(tmp_path: Path) -> None:
    """Folders that link to one another are each listed once."""
    put(tmp_path, "a/x.jpg", "b/y.jpg")
    (tmp_path / "a" / "to-b").symlink_to("../b")
    (tmp_path / "b" / "to-a").symlink_to("../a")
    assert listed(tmp_path) == ["a/x.jpg", "b/y.jpg"]


def test_link_to_an_outside_folder(tmp_path: Path) -> None:
    """Images of a folder elsewhere belong to the archive that links to it, once."""
    root = tmp_path / "archive"
    put(root, "a.jpg")
    put(tmp_path / "disk2", "m.jpg", "sub/n.jpg")
    (root / "first").symlink_to(tmp_path / "disk2")
    (root / "second").symlink_to(tmp_path / "disk2")
    notes = ListingNotes()
    assert listed(root, notes) == ["a.jpg", "first/m.jpg", "first/sub/n.jpg"]
    assert notes.repeated_links == 1


def test_overlapping_outside_folders(tmp_path: Path) -> None:
    """Links to a folder and to its sub-folder list each image once."""
    root = tmp_path / "archive"
    put(tmp_path / "disk2", "m.jpg", "sub/n.jpg")
    root.mkdir()
    (root / "inner").symlink_to(tmp_path / "disk2" / "sub")
    (root / "outer").symlink_to(tmp_path / "disk2")
    assert listed(root) == ["inner/n.jpg", "outer/m.jpg"]


def test_link_to_the_folder_above_the_archive(tmp_path: Path) -> None:
    """A link that leads out and contains the archive itself does not list the archive again."""
    root = tmp_path / "home" / "archive"
    put(root, "a.jpg", "sub/b.jpg")
    put(tmp_path / "home", "other/c.jpg")
    (root / "up").symlink_to(tmp_path / "home")
    assert listed(root) == ["a.jpg", "sub/b.jpg", "up/other/c.jpg"]


def test_outside_folder_that_links_back(tmp_path: Path) -> None:
    """A way out of the archive and back in lists nothing twice."""
    root = tmp_path / "archive"
    put(root, "a.jpg", "sub/b.jpg")
    put(tmp_path / "disk2", "c.jpg")
    (root / "out").symlink_to(tmp_path / "disk2")
    (tmp_path / "disk2" / "back").symlink_to(root / "sub")
    (tmp_path / "disk2" / "self").symlink_to(".")
    assert listed(root) == ["a.jpg", "out/c.jpg", "sub/b.jpg"]


def test_archive_named_by_a_link(tmp_path: Path) -> None:
    """The archive itself may be a link."""
    put(tmp_path / "real", "a/x.jpg", "b.jpg")
    (tmp_path / "link").symlink_to("real")
    assert listed(tmp_path / "link") == ["a/x.jpg", "b.jpg"]


# --- selection -----------------------------------------------------------------------------------

TREE = ["a/x.jpg", "a/y.png", "b/a/x.jpg", "b/z.jpeg", "site-b/2024/x.jpg", "x.jpg"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), TREE),
        (("*.png",), (), ["a/y.png"]),
        (("*.png", "*.jpeg"), (), ["a/y.png", "b/z.jpeg"]),
        (("a",), (), ["a/x.jpg", "a/y.png", "b/a/x.jpg"]),  # a folder's name, at any depth
        (("a/*",), (), ["a/x.jpg", "a/y.png"]),  # with a slash: from the archive's root
        (("site-b/*",), (), ["site-b/2024/x.jpg"]),  # * also matches /
        (("**/x.jpg",), (), ["a/x.jpg", "b/a/x.jpg", "site-b/2024/x.jpg", "x.jpg"]),
        (("x.jpg",), (), ["a/x.jpg", "b/a/x.jpg", "site-b/2024/x.jpg", "x.jpg"]),
        (("?/x.jpg",), (), ["a/x.jpg"]),
        (("[xz].*",), ("b",), ["a/x.jpg", "site-b/2024/x.jpg", "x.jpg"]),
        ((), ("*.jpg",), ["a/y.png", "b/z.jpeg"]),
        ((), ("a",), ["b/z.jpeg", "site-b/2024/x.jpg", "x.jpg"]),
        ((), ("b/a",), ["a/x.jpg", "a/y.png", "b/z.jpeg", "site-b/2024/x.jpg", "x.jpg"]),
        ((), ("b/*", "x.jpg"), ["a/y.png"]),
        (("*.jpg",), ("a/*",), ["b/a/x.jpg", "site-b/2024/x.jpg", "x.jpg"]),  # exclude wins
        (("*.JPG",), (), []),  # case counts
        (("none",), (), []),
    ],
)
def test_include_and_exclude(
    tmp_path: Path, include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    """Patterns pick files by name, by folder and by path, as the help text says."""
    put(tmp_path, *TREE)
    assert listed(tmp_path, selection=Selection(include, exclude)) == expected


def test_excluded_folders_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Excluding a folder saves reading it."""
    put(tmp_path, "keep/x.jpg", "old/deep/x.jpg")
    seen = record_scandir(monkeypatch)
    assert listed(tmp_path, selection=Selection(exclude=("old",))) == ["keep/x.jpg"]
    assert str(tmp_path / "old") not in seen


def test_unselected_files_are_not_counted_as_others(tmp_path: Path) -> None:
    """What the user left out is no news to the user."""
    put(tmp_path, "a.jpg", "b.txt", "c.pdf", data=b"x")
    notes = ListingNotes()
    listed(tmp_path, notes, selection=Selection(exclude=("*.txt",)))
    assert notes.other_files == {".pdf": 1}


def test_skipped_folders(tmp_path: Path) -> None:
    """A folder can be passed over by its real path, under whatever name it is reached."""
    put(tmp_path / "archive", "a.jpg", "results.parquet.work/x.jpg")
    put(tmp_path, "work/y.jpg")
    (tmp_path / "archive" / "w").symlink_to(tmp_path / "work")
    skip = {tmp_path / "archive" / "results.parquet.work", tmp_path / "work"}
    real = frozenset(os.path.realpath(folder) for folder in skip)
    assert listed(tmp_path / "archive", skip=real) == ["a.jpg"]


@given(st.text(string.printable, max_size=6), st.text(string.printable, max_size=6))
def test_any_pattern_is_a_pattern(path: str, pattern: str) -> None:
    """No pattern is an error, and what is excluded is never taken."""
    assert not Selection((), (pattern,)).takes(path) or not Selection((pattern,), ()).takes(path)


# --- trouble -------------------------------------------------------------------------------------


def fail_scandir(monkeypatch: pytest.MonkeyPatch, *folders: Path, error: OSError) -> None:
    """Make folders unreadable, also for root."""
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path) in folders:
            raise error
        return real(path)

    monkeypatch.setattr(walk.os, "scandir", scandir)


def test_unreadable_folder_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be read is named, and the others are listed."""
    put(tmp_path, "a/x.jpg", "b/c/x.jpg", "b/x.jpg", "d/x.jpg")
    fail_scandir(monkeypatch, tmp_path / "b" / "c", error=PermissionError(13, "denied"))
    notes = ListingNotes()
    assert listed(tmp_path, notes) == ["a/x.jpg", "b/x.jpg", "d/x.jpg"]
    assert notes.unreadable_folders == ["b/c"]


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), OSError(116, "stale")])
def test_unreadable_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """A file that cannot be read counts whatever its name, for it may be an image."""
    put(tmp_path, "a.jpg", "b", "c.txt")

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(recognition, "open", refuse, raising=False)
    notes = ListingNotes()
    assert listed(tmp_path, notes) == ["a.jpg", "b", "c.txt"]
    assert not notes.other_files


def test_link_that_cannot_be_followed(tmp_path: Path) -> None:
    """What is behind a link that the system refuses to follow may be a file, or a folder: both."""
    for name in ("link", "link.jpg"):
        (tmp_path / name).symlink_to("x" * 300)  # Too long a name, for root, too.
    notes = ListingNotes()
    assert listed(tmp_path, notes) == ["link", "link.jpg"]
    assert notes.unreadable_folders == ["link"]


def test_folder_that_goes_away(tmp_path: Path) -> None:
    """A folder that is removed while the listing runs is noted, not an error."""
    put(tmp_path, "a.jpg", "b/x.jpg", "c.jpg")
    notes = ListingNotes()
    images = list_images(tmp_path, notes)
    assert next(images) == "a.jpg"
    (tmp_path / "b" / "x.jpg").unlink()
    (tmp_path / "b").rmdir()
    assert list(images) == ["c.jpg"]
    assert notes.unreadable_folders == ["b"]


def test_file_that_goes_away_before_its_turn(tmp_path: Path) -> None:
    """An image that is removed during the listing may be listed; one without a name is not."""
    put(tmp_path, "a.jpg", "b", "c.jpg")
    images = list_images(tmp_path, ListingNotes())
    assert next(images) == "a.jpg"
    (tmp_path / "b").unlink()
    (tmp_path / "c.jpg").unlink()
    assert list(images) == ["c.jpg"]


def test_check_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that is missing, a file or unreadable is refused in one line that names it."""
    check_archive(tmp_path)
    put(tmp_path, "file.jpg")
    for wrong in (tmp_path / "missing", tmp_path / "file.jpg"):
        with pytest.raises(UsageError, match="expected a folder of X-rays") as caught:
            check_archive(wrong)
        assert str(wrong) in str(caught.value)
        assert "\n" not in str(caught.value)
    fail_scandir(monkeypatch, tmp_path, error=PermissionError(13, "Permission denied"))
    with pytest.raises(UsageError, match=r"cannot be read \(Permission denied\)"):
        check_archive(tmp_path)


# --- reading -------------------------------------------------------------------------------------


def test_read_image_returns_content_and_state(tmp_path: Path) -> None:
    """Content, size and time of modification (microseconds, UTC) belong together."""
    put(tmp_path, "a/x.jpg")
    os.utime(tmp_path / "a/x.jpg", ns=(0, 1_700_000_000_123_456_789))
    expected = FileState(len(JPEG), 1_700_000_000_123_456)
    assert read_image(str(tmp_path), "a/x.jpg") == (JPEG, expected)
    assert file_state(str(tmp_path), "a/x.jpg") == expected


def test_state_before_1970(tmp_path: Path) -> None:
    """A file from before 1970 has a negative time, not an error."""
    put(tmp_path, "x.jpg")
    os.utime(tmp_path / "x.jpg", ns=(0, -1_500))
    state = file_state(str(tmp_path), "x.jpg")
    assert state == FileState(len(JPEG), -2)
    assert read_image(str(tmp_path), "x.jpg")[1] == state


def test_state_of_nothing(tmp_path: Path) -> None:
    """A file that is gone has no state."""
    assert file_state(str(tmp_path), "gone.jpg") is None
    put(tmp_path, "file")
    assert file_state(str(tmp_path), "file/x.jpg") is None


def make_folder(root: Path) -> None:
    (root / "x.jpg").mkdir()


def make_file_above(root: Path) -> None:
    root.rmdir()
    root.write_bytes(b"")


@pytest.mark.parametrize("change", [lambda _: None, make_folder, make_file_above])
def test_vanished(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """A file that is gone, or has become a folder, is `vanished`."""
    root = tmp_path / "archive"
    root.mkdir()
    change(root)
    with pytest.raises(ImageFailure) as caught:
        read_image(str(root), "x.jpg")
    assert caught.value.category == "vanished"


def test_device_is_not_read(tmp_path: Path) -> None:
    """A device under an image's name is not read without end."""
    (tmp_path / "x.jpg").symlink_to("/dev/zero")
    with pytest.raises(ImageFailure) as caught:
        read_image(str(tmp_path), "x.jpg")
    assert caught.value.category == "vanished"


def test_too_large_a_file_is_not_read(tmp_path: Path) -> None:
    """A file beyond a gibibyte is refused by its size alone."""
    with (tmp_path / "x.jpg").open("wb") as stream:
        stream.truncate(DEFAULT_RULES.max_bytes + 1)
    with pytest.raises(ImageFailure, match="1,073,741,825 bytes") as caught:
        read_image(str(tmp_path), "x.jpg")
    assert caught.value.category == "too_large"


@pytest.mark.parametrize(
    "change",
    [
        lambda file: os.truncate(file, 2),
        lambda file: os.truncate(file, 0),
        lambda file: file.write_bytes(JPEG * 1000),
        lambda file: os.utime(file, ns=(0, 0)),
    ],
    ids=["shrinks", "is emptied", "grows", "is written anew"],
)
def test_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    """A file that changes while it is read is `changed`: nobody scores half of two images."""
    put(tmp_path, "x.jpg")

    class Changing(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            change(tmp_path / "x.jpg")
            return super().read(size)

    def open_changing(path: str, *_: object, **__: object) -> Changing:
        return Changing(path)

    monkeypatch.setattr(reading, "open", open_changing, raising=False)
    with pytest.raises(ImageFailure) as caught:
        read_image(str(tmp_path), "x.jpg")
    assert caught.value.category == "changed"
    assert caught.value.category in TRANSIENT


def test_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the system gives out in pieces is read to its end."""
    put(tmp_path, "x.jpg")

    class Slow(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 3))

    monkeypatch.setattr(reading, "open", lambda path, *_, **__: Slow(path), raising=False)
    assert read_image(str(tmp_path), "x.jpg")[0] == JPEG


@pytest.mark.parametrize(
    ("error", "category"),
    [
        (PermissionError(13, "Permission denied"), "permission_denied"),
        (OSError(5, "Input/output error"), "read_error"),
        (OSError(116, "Stale file handle"), "read_error"),
        (FileNotFoundError(2, "No such file"), "vanished"),
    ],
)
def test_errors_of_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, category: str
) -> None:
    """What the storage says ends up in the image's failure."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(reading, "open", refuse, raising=False)
    with pytest.raises(ImageFailure) as caught:
        read_image(str(tmp_path), "x.jpg")
    assert caught.value.category == category
    if category == "read_error":
        assert str(error.strerror) in caught.value.reason
