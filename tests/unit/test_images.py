from __future__ import annotations

import os
from pathlib import Path

import pytest
import simplejpeg

from bench.corrupt_images import corrupt_images
from bench.images import dataset_descriptions, load_dataset
from signals.errors import ConfigurationError
from signals.image import image_signature

CROPS = """
description = "a few"
kind = "crops"
count = 12
seed = 5
min_side_px = 64
max_side_px = 96
min_quality = 80
max_quality = 90
sources = ["skimage/chelsea.png", "sklearn/china.jpg"]
"""


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LKBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def definition(tmp_path: Path, text: str = CROPS) -> str:
    path = tmp_path / "few.toml"
    path.write_text(text)
    return str(path)


def test_crops_are_distinct_and_within_their_bounds(tmp_path: Path, own_cache: Path) -> None:
    images = load_dataset(definition(tmp_path)).images
    assert len({image.image_signature for image in images}) == 12
    for image in images:
        data = image.path.read_bytes()
        assert image.image_signature == image_signature(data)
        assert image.size_bytes == len(data)
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        assert 64 <= min(height, width) <= max(height, width) <= 96


def test_crops_are_the_same_every_time_and_cut_once(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    first = load_dataset(definition(tmp_path), notes.append)
    assert load_dataset(definition(tmp_path), notes.append) == first
    assert notes == ["cutting 12 images"]
    monkeypatch.setenv("LKBENCH_CACHE", str(tmp_path / "another"))
    again = load_dataset(definition(tmp_path))
    assert [i.image_signature for i in again.images] == [i.image_signature for i in first.images]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 5", "sed = 5", "sed"),
        ("seed = 5", "", "seed"),
        ("count = 12", 'count = "many"', "count"),
        ("count = 12", "count = 0", "count"),
        ("max_side_px = 96", "max_side_px = 9", "max_side_px"),
        ("max_quality = 90", "max_quality = 190", "max_quality"),
        ('kind = "crops"', 'kind = "video"', "kind"),
        ("sklearn/china.jpg", "../china.jpg", "china"),
        ("sources = [", "sources = ", "few.toml"),
    ],
)
def test_a_bad_definition_names_what_is_wrong(
    tmp_path: Path, own_cache: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_dataset(definition(tmp_path, CROPS.replace(old, new)))


def test_a_folder_is_searched_whole_and_copies_count_once(tmp_path: Path) -> None:
    samples = corrupt_images()
    photo = next(sample for sample in samples if sample.name == "gray.jpg")
    truncated = next(sample for sample in samples if sample.name == "truncated.jpg")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "b.JPG").write_bytes(photo.data)
    (tmp_path / "deep" / "copy.jpg").write_bytes(photo.data)
    (tmp_path / "deep" / "er" / "no suffix").write_bytes(truncated.data)
    (tmp_path / "deep" / "empty.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden" / "thumb.jpg").write_bytes(truncated.data)
    os.mkfifo(tmp_path / "pipe.jpg")
    dataset = load_dataset(str(tmp_path))
    assert [image.name for image in dataset.images] == ["b.JPG", "deep/empty.png", "deep/er/no suffix"]
    assert not dataset.is_shipped


def test_a_file_is_not_taken_for_an_unknown_name(tmp_path: Path) -> None:
    (tmp_path / "pin.jpg").touch()
    with pytest.raises(ConfigurationError, match=r"pin\.jpg is no folder: give one that holds images"):
        load_dataset(str(tmp_path / "pin.jpg"))


def test_a_folder_without_images_and_an_unknown_name_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no image"):
        load_dataset(str(tmp_path))
    with pytest.raises(ConfigurationError, match="crops"):
        load_dataset("no-such-data-set")


def test_every_shipped_data_set_is_described() -> None:
    assert {"crops", "corrupt"} <= set(dataset_descriptions())


def test_the_corrupt_data_set_holds_every_sample(own_cache: Path) -> None:
    dataset = load_dataset("corrupt")
    assert {image.name for image in dataset.images} == {sample.name for sample in corrupt_images()}
