"""Tests of the contact sheets, on phantoms and on real X-rays where they are."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest
from boxes import put, zipped
from conftest import encode, picture
from dicom_phantoms import deep_chest, file
from picture_rows import paths_of, rows_of
from PIL import Image
from s3_server import Bucket, s3_server
from tiny_bundle import write_tiny_class_bundle

import batchscan
from batchscan.model.bundle import Bundle, load_bundle
from batchscan.phantom import draw_phantom
from batchscan.report.document import Picture, Section, Sheet, Table, Text
from batchscan.report.input.rows import Rows
from batchscan.report.sheets.pictures import MOST_BYTES, pictures_section
from batchscan.storage.location import location

KEY = b"0123456789abcdef"


@pytest.fixture(autouse=True)
def reading(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module that reads results, or a stand-in until it is there."""
    name = "batchscan.report.input.reading"
    if importlib.util.find_spec(name) is not None:
        return importlib.import_module(name)
    stand_in = ModuleType(name)
    stand_in.paths_of = paths_of  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, stand_in)
    return stand_in


def phantom(seed: int, pneumonia: bool = False, comment: str = "") -> bytes:
    pixels = draw_phantom(np.random.default_rng(seed), pneumonia, 400, 320)
    return encode(Image.fromarray(pixels), "jpeg", comment=comment)


def scanned(archive: Path | str, folder: Path, **options: object) -> Rows:
    options = {"workers": 0} | options
    batchscan.scan(archive, folder / "result.parquet", **options)  # type: ignore[arg-type]
    return rows_of(folder / "result.parquet")


def write_phantoms(folder: Path) -> Path:
    """Draw phantoms, two of them in a zip and one as DICOM, with labels by folder."""
    for number in range(4):
        put(folder / f"NORMAL/{number}.jpeg", phantom(number))
        put(folder / f"PNEUMONIA/{number}.jpeg", phantom(number + 10, True))
    inner = {"PNEUMONIA/x.jpeg": phantom(20), "y.jpeg": phantom(21, True)}
    put(folder / "some.zip", zipped(inner))
    put(folder / "chest.dcm", file(deep_chest(), BitsStored=12))
    put(folder / "NORMAL/broken.jpeg", b"no image")
    return folder


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rows]:
    folder = tmp_path_factory.mktemp("phantoms")
    archive = write_phantoms(folder / "archive")
    return archive, scanned(archive, folder)


@pytest.fixture
def small(tmp_path: Path, tiny_bundle: Path) -> tuple[Path, Rows, Bundle]:
    """Return an archive of three small images, its rows, and a bundle that gives no maps."""
    archive = tmp_path / "archive"
    for number, name in enumerate(("a", "b", "c")):
        put(archive / f"{name}.png", encode(picture(mean=60 + 70 * number, seed=number), "png"))
    return archive, scanned(archive, tmp_path, model=tiny_bundle), load_bundle(tiny_bundle)


def sheets(section: Section) -> dict[str, Sheet]:
    return {block.key: block for block in section.blocks if isinstance(block, Sheet)}


def texts(section: Section) -> dict[str, str]:
    return {block.key: block.text for block in section.blocks if isinstance(block, Text)}


def pictures(section: Section) -> list[Picture]:
    return [picture for sheet in sheets(section).values() for picture in sheet.pictures]


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_sheets(phantoms: tuple[Path, Rows]) -> None:
    """Images from files, containers and DICOM are shown, each with a heat map of its own size."""
    archive, rows = phantoms
    section = pictures_section(rows, archive, load_bundle())
    assert {"highest", "borderline"} <= set(sheets(section))
    shown = {picture.values["path"]: picture for picture in sheets(section)["highest"].pictures}
    assert set(shown) >= {"some.zip!/y.jpeg", "chest.dcm", "PNEUMONIA/0.jpeg"}
    assert "NORMAL/broken.jpeg" not in shown
    for each in pictures(section):
        assert each.heat_map is not None
        plain, coloured = opened(each.image), opened(each.heat_map)
        assert (plain.mode, coloured.mode) == ("L", "RGB")
        assert plain.size == coloured.size
        assert each.values["score_now"] is None
    assert opened(shown["PNEUMONIA/0.jpeg"].image).size == (320, 256)
    assert "class activation map" in texts(section)["legend"]


def test_captions_tell_what_the_result_says(phantoms: tuple[Path, Rows]) -> None:
    """Captions and values hold path, score, prediction and label of the row."""
    archive, rows = phantoms
    section = pictures_section(rows, archive, load_bundle())
    place = paths_of(rows, list(range(rows.table.num_rows))).index("PNEUMONIA/1.jpeg")
    row = rows.table.slice(place, 1).to_pylist()[0]
    found = next(each for each in pictures(section) if each.values["path"] == "PNEUMONIA/1.jpeg")
    assert found.values["score"] == row["score"]
    assert found.values["label"] == "PNEUMONIA"
    assert found.lines[0] == "PNEUMONIA/1.jpeg"
    assert found.lines[1] == f"Score {row['score']:.4f}, predicted {row['prediction']}"
    assert found.lines[2] == "Label PNEUMONIA"
    assert f"{row['score']:.4f}" in found.alternative


def test_the_picture_is_that_of_the_file(phantoms: tuple[Path, Rows]) -> None:
    """The thumbnail under a path shows that file, and no other."""
    archive, rows = phantoms
    section = pictures_section(rows, archive, load_bundle())
    for each in pictures(section):
        path = str(each.values["path"])
        if path.endswith(".jpeg") and "!" not in path:
            whole = Image.open(archive / path).convert("L").resize((320, 256))
            difference = np.asarray(whole).astype(int) - np.asarray(opened(each.image))
            assert np.abs(difference).mean() < 8


def test_mistakes(small: tuple[Path, Rows, Bundle]) -> None:
    """False positives and false negatives stand in sheets of their own, with labels of any file."""
    archive, rows, bundle = small
    rows = rows_of(rows.result, {"a.png": "PNEUMONIA", "c.png": "NORMAL"})
    found = sheets(pictures_section(rows, archive, bundle))
    assert [each.values["path"] for each in found["false_positives"].pictures] == ["c.png"]
    assert [each.values["path"] for each in found["false_negatives"].pictures] == ["a.png"]


def test_no_mistakes_and_no_labels(small: tuple[Path, Rows, Bundle]) -> None:
    """A text says where there is no mistake, and another where nothing is labelled."""
    archive, rows, bundle = small
    assert "mistakes cannot be shown" in texts(pictures_section(rows, archive, bundle))["no_labels"]
    right = rows_of(rows.result, {"a.png": "NORMAL"})
    found = pictures_section(right, archive, bundle)
    assert "there are none" in texts(found)["false_positives"]
    assert "false_positives" not in sheets(found)


def test_without_maps(small: tuple[Path, Rows, Bundle]) -> None:
    """A bundle without maps gives thumbnails alone, and a text that says why."""
    archive, rows, bundle = small
    section = pictures_section(rows, archive, bundle)
    assert "There are no heat maps: tiny does not tell" in texts(section)["no_heat_maps"]
    assert len(pictures(section)) == 6
    assert all(each.heat_map is None for each in pictures(section))


def test_another_model(small: tuple[Path, Rows, Bundle]) -> None:
    """No map of another model than the one that scored is ever shown."""
    archive, rows, _ = small
    section = pictures_section(rows, archive, load_bundle())
    assert "not the model that made the result" in texts(section)["no_heat_maps"]
    assert all(each.heat_map is None for each in pictures(section))


def test_changed_gone_and_unreadable(small: tuple[Path, Rows, Bundle]) -> None:
    """Images that are gone, or have other content, are left out, counted and listed."""
    archive, rows, bundle = small
    (archive / "a.png").unlink()
    (archive / "b.png").write_bytes(encode(picture(mean=200), "png"))
    section = pictures_section(rows, archive, bundle)
    assert {each.values["path"] for each in pictures(section)} == {"c.png"}
    assert texts(section)["not_shown_count"].startswith("2 of 3 images are left out")
    table = next(block for block in section.blocks if isinstance(block, Table))
    why = {row[0]: row[2] for row in table.rows}
    assert why == {
        "a.png": "it is not in the archive any more",
        "b.png": "its content is another one than when it was scored",
    }


def test_limits_of_the_scan_hold(small: tuple[Path, Rows, Bundle]) -> None:
    """What is larger than the scan's limits is not read for a picture either."""
    archive, rows, bundle = small
    options = rows.footer["options"] | {"max_bytes": 100}
    section = pictures_section(
        replace(rows, footer=rows.footer | {"options": options}), archive, bundle
    )
    assert not pictures(section)
    assert "3: it cannot be read" in texts(section)["not_shown_count"]


def test_scored_otherwise(small: tuple[Path, Rows, Bundle]) -> None:
    """A score that is not the one computed anew marks the picture, and is counted."""
    archive, rows, bundle = small
    scores = rows.table["score"].to_pylist()
    scores[0] += 0.01
    table = rows.table.set_column(
        rows.table.column_names.index("score"), "score", pa.array(scores, pa.float32())
    )
    section = pictures_section(replace(rows, table=table), archive, bundle)
    marked = {
        each.values["path"]: each.lines[-1]
        for each in pictures(section)
        if each.values["score_now"] is not None
    }
    assert set(marked) == {"a.png"}
    assert marked["a.png"].startswith("Scored otherwise than in the result: ")
    assert texts(section)["scored_otherwise"].startswith("1 of 3 images")


def test_a_path_that_leads_out_is_not_followed(
    small: tuple[Path, Rows, Bundle], monkeypatch: pytest.MonkeyPatch, reading: ModuleType
) -> None:
    """A result from elsewhere cannot make the report read files beside the archive."""
    archive, rows, bundle = small
    for name in ("a.png", "b.png", "c.png"):
        (archive / name).rename(archive.parent / name)
    for prefix in ("../", f"{archive.parent}/", "x/../../"):
        made_up = [prefix + name for name in ("a.png", "b.png", "c.png")]
        monkeypatch.setattr(reading, "paths_of", lambda *_, names=made_up: names)
        assert not pictures(pictures_section(rows, archive, bundle))


def test_odd_names(tmp_path: Path, tiny_bundle: Path) -> None:
    """Files whose names are no UTF-8, or break lines, are found; captions stay on their lines."""
    names = [b"bad\xff.png", b"line\nbreak.png", b"look\\x41.png"]
    archive = tmp_path / "archive"
    archive.mkdir()
    for number, name in enumerate(names):
        data = encode(picture(mean=60 + 50 * number, seed=number), "png")
        (archive / os.fsdecode(name)).write_bytes(data)
    rows = scanned(archive, tmp_path, model=tiny_bundle)
    section = pictures_section(rows, archive, load_bundle(tiny_bundle))
    found = {each.lines[0] for each in sheets(section)["highest"].pictures}
    assert found == {"bad\\xff.png", "line\\nbreak.png", "look\\x5cx41.png"}


def test_hidden_paths(tmp_path: Path, tiny_bundle: Path) -> None:
    """Hidden paths stay hidden: pictures need the key, and no name is shown with it either."""
    archive = tmp_path / "archive"
    put(archive / "Miller.png", encode(picture(), "png"))
    key_file = tmp_path / "key"
    key_file.write_bytes(KEY)
    options = {"id_key": key_file, "hide_paths": True, "model": tiny_bundle}
    rows = scanned(archive, tmp_path, **options)
    bundle = load_bundle(tiny_bundle)
    without = pictures_section(rows, archive, bundle)
    assert "without the key" in texts(without)["no_pictures"]
    assert not pictures(without)
    section = pictures_section(rows, archive, bundle, key=KEY)
    assert len(sheets(section)["highest"].pictures) == 1
    assert "Miller" not in repr(section)
    assert not pictures(pictures_section(rows, archive, bundle, key=b"another key, alas"))


def test_nothing_but_pixels_is_kept(tmp_path: Path, tiny_bundle: Path) -> None:
    """What a file says beside its pixels, such as a name in a comment, is in no picture."""
    put(tmp_path / "archive/a.jpeg", phantom(0, comment="Miller^Anna"))
    rows = scanned(tmp_path / "archive", tmp_path, model=tiny_bundle)
    section = pictures_section(rows, tmp_path / "archive", load_bundle(tiny_bundle))
    assert pictures(section)
    assert all(b"Miller" not in each.image for each in pictures(section))


def test_no_archive(small: tuple[Path, Rows, Bundle]) -> None:
    """An archive that is not there is a warning in the report, and no error."""
    archive, rows, bundle = small
    section = pictures_section(rows, archive.with_name("elsewhere"), bundle)
    assert "found nothing there" in texts(section)["no_pictures"]


def test_nothing_scored(tmp_path: Path, tiny_bundle: Path) -> None:
    """A result in which everything failed gives a section without pictures."""
    put(tmp_path / "archive/NORMAL/a.png", b"")
    rows = scanned(tmp_path / "archive", tmp_path, model=tiny_bundle)
    section = pictures_section(rows, tmp_path / "archive", load_bundle(tiny_bundle))
    assert not sheets(section)
    assert "there are none" in texts(section)["highest"]


def test_three_classes(tmp_path: Path) -> None:
    """With more classes there are sheets of mistakes, undecided images and each class."""
    write_tiny_class_bundle(tmp_path / "bundle")
    for number in range(6):
        data = encode(picture(mean=40 + 35 * number, seed=number), "png")
        put(tmp_path / f"archive/VIRUS/{number}.png", data)
    rows = scanned(tmp_path / "archive", tmp_path, model=tmp_path / "bundle")
    section = pictures_section(rows, tmp_path / "archive", load_bundle(tmp_path / "bundle"))
    assert set(sheets(section)) == {
        "mistakes", "borderline", "highest_1", "highest_2", "highest_3"
    }  # fmt: skip
    wrong = sheets(section)["mistakes"].pictures
    assert wrong
    assert all(each.values["prediction"] != "VIRUS" for each in wrong)
    assert all(each.values["score_now"] is None for each in pictures(section))


def test_keys_are_unique(phantoms: tuple[Path, Rows]) -> None:
    """No two blocks of the section have one key."""
    archive, rows = phantoms
    keys = [block.key for block in pictures_section(rows, archive, load_bundle()).blocks]
    assert len(keys) == len(set(keys))


def test_size(tmp_path: Path, tiny_bundle: Path) -> None:
    """Even pictures that cannot be compressed stay within the bytes that a page has for them."""
    rng = np.random.default_rng(0)
    for number in range(40):
        noise = rng.integers(0, 256, (256, 512), dtype=np.uint8) // 2 + 3 * number
        put(tmp_path / f"archive/{number}.png", encode(Image.fromarray(noise), "png"))
    rows = scanned(tmp_path / "archive", tmp_path, model=tiny_bundle)
    section = pictures_section(rows, tmp_path / "archive", load_bundle(tiny_bundle))
    assert len(pictures(section)) == 24
    assert sum(len(each.image) for each in pictures(section)) <= MOST_BYTES


@pytest.mark.parametrize("where", ["container", "store"])
def test_other_places(
    where: str, small: tuple[Path, Rows, Bundle], tmp_path: Path, tiny_bundle: Path
) -> None:
    """Pictures are drawn from an archive that is one zip, or lies on an object store, too."""
    archive, _, bundle = small
    files = {file.name: file.read_bytes() for file in archive.iterdir()}
    if where == "container":
        place = put(tmp_path / "whole.zip", zipped(files))
        rows = scanned(place, tmp_path, model=tiny_bundle, fresh=True)
        assert len(pictures(pictures_section(rows, place, bundle))) == 6
        return
    with s3_server() as server:
        Bucket(server, "xrays").fill(archive, "a")
        address = "s3://xrays/a"
        rows = scanned(address, tmp_path, model=tiny_bundle, fresh=True)
        assert len(pictures(pictures_section(rows, location(address), bundle))) == 6


def test_real_images(real_images: Path, tmp_path: Path) -> None:
    """Real X-rays give full sheets with heat maps, and every score is the one in the result."""
    rows = scanned(real_images, tmp_path)
    section = pictures_section(rows, real_images, load_bundle())
    assert [len(sheets(section)[key].pictures) for key in ("highest", "borderline")] == [12, 12]
    assert all(each.heat_map and each.values["score_now"] is None for each in pictures(section))
    total = sum(len(each.image) + len(each.heat_map or b"") for each in pictures(section))
    assert total <= MOST_BYTES
