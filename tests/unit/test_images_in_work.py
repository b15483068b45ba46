from __future__ import annotations

import threading

import pytest

from lambda_pipeline.online.images_in_work import ImagesInWork

ONE, TWO = ("organic", "1"), ("organic", "2")
PATIENCE_SECONDS = 30.0


def test_what_is_in_work_elsewhere_is_left_out() -> None:
    images = ImagesInWork()
    with images.begin([ONE], 0.0) as first, images.begin([ONE, TWO], 0.0) as second:
        assert (first, second) == ({ONE}, {TWO})
    with images.begin([ONE, TWO], 0.0) as later:
        assert later == {ONE, TWO}


def test_one_waits_for_an_image_and_no_longer_than_it_has_patience() -> None:
    images = ImagesInWork()
    got: list[set[tuple[str, str]]] = []

    def wait() -> None:
        with images.begin([ONE], PATIENCE_SECONDS) as begun:
            got.append(begun)

    with images.begin([ONE], 0.0):
        with images.begin([ONE], 0.01) as begun:
            assert not begun
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got
    waiting.join(PATIENCE_SECONDS)
    assert got == [{ONE}]


def test_an_image_whose_group_failed_may_be_begun_again() -> None:
    images = ImagesInWork()
    with pytest.raises(RuntimeError), images.begin([ONE], 0.0):
        raise RuntimeError
    with images.begin([ONE], 0.0) as begun:
        assert begun == {ONE}
