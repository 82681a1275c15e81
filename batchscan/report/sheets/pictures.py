"""Contact sheets: the images that people should look at, and where the model looked in them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from batchscan.archive.root import check_archive
from batchscan.errors import UsageError
from batchscan.model.bundle import Bundle
from batchscan.report.document import Block, Column, Picture, Section, Sheet, Table, Text
from batchscan.report.input.rows import Rows
from batchscan.report.sheets.heat_map import heat_map
from batchscan.report.sheets.picture_caption import caption_of, predicted_number
from batchscan.report.sheets.picture_choice import Choice, choose, has_labels
from batchscan.report.sheets.picture_files import (
    Loaded,
    hides_paths,
    load,
    names_by_pseudonym,
    rules_of,
    safe_name,
)
from batchscan.report.sheets.picture_maps import Maps, maps_of
from batchscan.storage.location import Location

KEY, TITLE = "pictures", "Pictures"

MOST_BYTES = 1_500_000
"""Of all pictures together: two megabytes when they are written as text into a page."""

_QUALITIES = (82, 72, 60, 45, 30)


@dataclass(frozen=True)
class _Image:
    """An image that is to be shown. `loaded` holds it, or says why it cannot be."""

    number: int
    path: str
    loaded: Loaded | str


def pictures_section(
    rows: Rows, archive: Location, bundle: Bundle, *, key: bytes | None = None
) -> Section:
    """Make contact sheets with thumbnails and heat maps, of about 2 MB at most.

    `archive` holds the images, `bundle` is the model that scored them. `key` finds the images of a
    result with hidden paths, which stay hidden. What cannot be shown is counted and listed.
    """
    obstacle = _obstacle(rows, archive, key)
    if obstacle is not None:
        return Section(KEY, TITLE, (Text("no_pictures", obstacle, "warning"),))
    choices = choose(rows)
    images = _load(rows, archive, bundle, choices, key)
    loaded = {each.number: each.loaded for each in images if isinstance(each.loaded, Loaded)}
    maps = maps_of(rows, bundle, {number: each.square for number, each in loaded.items()})
    most = MOST_BYTES // max(1, 2 * sum(len(choice.numbers) for choice in choices))
    paths = {image.number: image.path for image in images}
    pictures = {
        number: _picture(rows, number, paths[number], each.grey, maps, most)
        for number, each in loaded.items()
    }
    blocks = (*_introduction(rows, maps, pictures), *_not_shown(rows, images))
    return Section(KEY, TITLE, (*blocks, *(_sheet(choice, pictures) for choice in choices)))


def jpeg(pixels: NDArray[np.uint8], most: int) -> bytes:
    """Encode uint8 (h, w) or (h, w, 3) in up to `most` bytes, or the fewest that are reasonable."""
    image = Image.fromarray(pixels)
    for quality in _QUALITIES:
        stream = io.BytesIO()
        image.save(stream, "jpeg", quality=quality, optimize=True)
        if stream.tell() <= most:
            break
    return stream.getvalue()


def _obstacle(rows: Rows, archive: Location, key: bytes | None) -> str | None:
    """Say why no picture at all can be drawn."""
    if hides_paths(rows) and key is None:
        return (
            "No pictures can be drawn: the result has pseudonyms in place of paths, and without "
            "the key nobody can tell which files they stand for."
        )
    try:
        check_archive(archive)
    except UsageError as error:
        return f"No pictures can be drawn: {error}"
    return None


def _load(
    rows: Rows, archive: Location, bundle: Bundle, choices: Sequence[Choice], key: bytes | None
) -> list[_Image]:
    """Load each image once, in the order of paths, in which containers are read best."""
    from batchscan.report.input.reading import paths_of

    numbers = np.unique(np.concatenate([choice.numbers for choice in choices]))
    paths = paths_of(rows, numbers)
    names = [safe_name(path) for path in paths]
    if hides_paths(rows) and key is not None:
        found = names_by_pseudonym(archive, paths, key)
        names = [found.get(path) for path in paths]
    contents = rows.table["content"].take(pa.array(numbers)).to_pylist()
    rules = rules_of(rows)
    return [
        _Image(number, path, load(archive, name, content, bundle.input_size, rules))
        for number, path, name, content in zip(
            numbers.tolist(), paths, names, contents, strict=True
        )
    ]


def _picture(
    rows: Rows, number: int, path: str, grey: NDArray[np.uint8], maps: Maps, most: int
) -> Picture:
    caption = caption_of(rows, number, path, maps.scores(number))
    places = maps.of(number, predicted_number(rows, number))
    return Picture(
        image=jpeg(grey, most),
        heat_map=None if places is None else jpeg(heat_map(grey, places, maps.full), most),
        alternative=caption.alternative(),
        lines=caption.lines(),
        values=caption.values(),
    )


def _introduction(rows: Rows, maps: Maps, pictures: Mapping[int, Picture]) -> list[Text]:
    texts = [] if maps.problem is None else [Text("no_heat_maps", maps.problem, "warning")]
    if pictures and maps.problem is None:
        texts.append(Text("legend", _legend(rows, maps), "note"))
    if not has_labels(rows):
        texts.append(Text("no_labels", "No image has a label: mistakes cannot be shown.", "note"))
    other = sum(picture.values["score_now"] is not None for picture in pictures.values())
    if other:
        text = (
            f"{other} of {len(pictures)} images are scored otherwise than in the result now: the "
            "pictures are marked. Verify the result."
        )
        texts.append(Text("scored_otherwise", text, "warning"))
    return texts


def _legend(rows: Rows, maps: Maps) -> str:
    """Say what the colours mean, and what they don't."""
    assert maps.explained is not None
    assert maps.explained.maps is not None
    height, width = maps.explained.maps.shape[-2:]
    what = rows.classes[-1] if len(rows.classes) == 2 else "the predicted class"
    return (
        "The second picture of each image shows where its score comes from (class activation map). "
        f"Orange places speak for {what}, blue ones against it, uncoloured ones say little; the "
        f"line encloses what is orange by half or more. All pictures have one scale: full colour "
        f"stands for {maps.full:.0f} logits or more, and the mean of all places is the logit of "
        f"the score. The map has {height} x {width} places, each of which also sees its "
        "surroundings: edges are no more exact than one place. It tells what the model reacted "
        "to, which may lie outside of the lungs or be no finding at all. It does not outline "
        "disease, and must not be used to find any."
    )


def _not_shown(rows: Rows, images: Sequence[_Image]) -> list[Block]:
    """Count and list the images that could not be shown."""
    missing = [image for image in images if isinstance(image.loaded, str)]
    if not missing:
        return []
    reasons = Counter(str(image.loaded).partition(":")[0] for image in missing)
    counted = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common())
    text = f"{len(missing)} of {len(images)} images are left out of the pictures ({counted})."
    columns = (Column("path", "Image"), Column("score", "Score", "score"), Column("why", "Why"))
    lines = []
    for image in missing:
        caption = caption_of(rows, image.number, image.path, None)
        lines.append((caption.lines()[0], caption.score, str(image.loaded)))
    table = Table("not_shown", "Images left out of the pictures", columns, tuple(lines))
    return [Text("not_shown_count", text, "warning"), table]


def _sheet(choice: Choice, pictures: Mapping[int, Picture]) -> Block:
    if not choice.numbers.size:
        return Text(choice.key, choice.nothing)
    shown = tuple(pictures[number] for number in choice.numbers.tolist() if number in pictures)
    return Sheet(choice.key, choice.caption, choice.note, shown)
