from __future__ import annotations

from pathlib import Path

import pytest

from signals.catalog import Catalog
from signals.errors import ConfigurationError

PIPELINE = """
[pipelines.{name}]
galaxy = "{galaxy}"
formats = ["jpeg", "png"]
max_bytes = {max_bytes}
max_pixels = 1000
priority = {priority}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "catalog.toml"
    path.write_text(text)
    return path


def pipeline(name: str = "a", galaxy: str = "g", max_bytes: object = 10, priority: object = 1) -> str:
    return PIPELINE.format(name=name, galaxy=galaxy, max_bytes=max_bytes, priority=priority)


def test_shipped_catalog_has_the_five_pipelines_and_shares_a_galaxy() -> None:
    catalog = Catalog.load()
    assert list(catalog.pipelines) == [
        "pinner_uploads",
        "crawled",
        "shopping",
        "video_keyframes",
        "profile_images",
    ]
    assert catalog.galaxies == ("pins", "products", "videos", "profiles")
    assert catalog.pipeline("crawled").galaxy == catalog.pipeline("pinner_uploads").galaxy == "pins"
    assert catalog.media("pins").limits == catalog.pipeline("crawled").media.limits


def test_pipelines_of_a_galaxy_may_differ_in_priority_only(tmp_path: Path) -> None:
    text = pipeline("a", priority=1) + pipeline("b", priority=3)
    assert Catalog.load(write(tmp_path, text)).pipeline("b").media.priority == 3
    text = pipeline("a", max_bytes=10) + pipeline("b", max_bytes=11)
    with pytest.raises(ConfigurationError, match="a and b feed galaxy g with different"):
        Catalog.load(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (pipeline() + "colour = 1", "unknown key colour in pipelines.a"),
        ("speed = 1\n" + pipeline(), "unknown key speed at the top level"),
        (pipeline().replace('galaxy = "g"', ""), "missing key galaxy in pipelines.a"),
        ("", "missing key pipelines"),
        ("[pipelines]", "at least one pipeline"),
        ("[pipelines]\na = 1", "must be a table"),
        (pipeline(galaxy="a/b"), "lower case letters"),
        (pipeline(name="A"), "lower case letters"),
        (pipeline().replace('"png"', '"gif"'), "formats in pipelines.a must be"),
        (pipeline().replace('["jpeg", "png"]', "[]"), "formats in pipelines.a must be"),
        (pipeline(priority=4), "priority in pipelines.a must be a whole number from 1 to 3"),
        (pipeline(max_bytes="true"), "max_bytes in pipelines.a"),
        (pipeline(max_bytes=0), "max_bytes in pipelines.a"),
        (pipeline().replace("1000", "90_000_000"), "max_pixels in pipelines.a"),
        ("= nonsense", "not valid TOML"),
    ],
)
def test_what_can_not_work_is_said_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        Catalog.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_or_name_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read"):
        Catalog.load(tmp_path / "none.toml")
    with pytest.raises(ConfigurationError, match="no pipeline 'x'"):
        Catalog.load().pipeline("x")
    with pytest.raises(ConfigurationError, match="no galaxy 'x'"):
        Catalog.load().media("x")
