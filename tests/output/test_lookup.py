"""Finding an image by its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import jpeg, sample, write_tar
from small_output import answer_all, pipeline_data

from recaption.errors import UserError
from recaption.io.store import open_store
from recaption.output.lookup import find_image


def test_an_image_is_found_by_its_source_key_too(tmp_path: Path) -> None:
    write_tar(tmp_path / "source" / "a.tar", [sample("dir/one cat", jpeg(1)), sample("two", jpeg(2))])
    answer_all(pipeline_data(tmp_path))
    store = open_store(str(tmp_path / "out"))
    image = find_image(store, "dir/one cat")
    assert (image.key, image.source_key) == ("000000_000000", "dir/one cat")
    assert find_image(store, image.key) == image


def test_a_source_key_of_several_images_asks_for_the_key(tmp_path: Path) -> None:
    for name in "ab":
        write_tar(tmp_path / "source" / f"{name}.tar", [sample("one cat", jpeg(ord(name)))])
    answer_all(pipeline_data(tmp_path))
    with pytest.raises(UserError, match=r"2 images have the source key 'one cat'.*000000_000000, 000001_000000"):
        find_image(open_store(str(tmp_path / "out")), "one cat")
