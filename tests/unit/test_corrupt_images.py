from __future__ import annotations

import pytest

from bench.corrupt_images import CorruptImage, corrupt_images, poison_image
from signals.catalog import Catalog
from signals.errors import ImageError
from signals.image import decode_image

SAMPLES = corrupt_images()


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_the_decoder_gives_the_verdict_that_the_sample_names(sample: CorruptImage) -> None:
    media = Catalog.load().pipeline("crawled").media
    if not sample.reason:
        assert decode_image(sample.data, media).ndim == 3
        return
    with pytest.raises(ImageError) as caught:
        decode_image(sample.data, media)
    assert caught.value.reason == sample.reason


def test_poison_is_endless_and_each_keeps_the_verdict_of_its_kind() -> None:
    media = Catalog.load().pipeline("crawled").media
    poison = [poison_image(number) for number in range(40)]
    assert poison == [poison_image(number) for number in range(40)]
    assert len({sample.data for sample in poison}) == len({sample.name for sample in poison}) == 40
    for sample in poison:
        with pytest.raises(ImageError) as caught:
            decode_image(sample.data, media)
        assert caught.value.reason == sample.reason


def test_samples_are_reproducible_and_differ_from_each_other() -> None:
    assert corrupt_images() == SAMPLES
    assert len({sample.data for sample in SAMPLES}) == len(SAMPLES)
