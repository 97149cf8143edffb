"""Features in a file: computed once, standardised by the training images, never half written."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from PIL import Image

from recaption.errors import UserError
from recaption.probe.pictures import PictureFile, Pictures, write_features, write_pixels


def pictures() -> Pictures:
    noise = torch.Generator().manual_seed(0)
    return Pictures(
        train=3 + 2 * torch.randn(50, 4, generator=noise), queries=3 + 2 * torch.randn(9, 4, generator=noise)
    )


def never(path: Path) -> None:
    raise AssertionError("computed twice")


def test_the_file_is_computed_once(tmp_path: Path) -> None:
    file = PictureFile(path=tmp_path / "features.npy", train=50)
    file.ensure(lambda path: write_features(path, pictures()))
    file.ensure(never)
    assert [path.name for path in tmp_path.iterdir()] == ["features.npy"]


def test_columns_are_standardised_by_the_training_images(tmp_path: Path) -> None:
    file = PictureFile(path=tmp_path / "features.npy", train=50)
    file.ensure(lambda path: write_features(path, pictures()))
    made, given = file.read(), pictures()
    assert torch.allclose(made.train.mean(0), torch.zeros(4), atol=1e-6)
    assert torch.allclose(made.train.std(0), torch.ones(4), atol=1e-6)
    mean, deviation = given.train.mean(0), given.train.std(0)
    assert torch.equal(made.train, (given.train - mean) / deviation)
    assert torch.equal(made.queries, (given.queries - mean) / deviation)


def test_a_file_that_cannot_be_read_or_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "features.npy").write_text("no")
    with pytest.raises(UserError, match=r"features\.npy cannot be read: .* Delete it"):
        PictureFile(path=tmp_path / "features.npy", train=1).read()
    with pytest.raises(UserError, match=r"f\.npy cannot be written"):
        PictureFile(path=tmp_path / "nothing" / "f.npy", train=1).ensure(lambda path: write_features(path, pictures()))


def test_a_full_disk_is_an_error_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(UserError, match=r"f\.npy cannot be written"):
        PictureFile(path=tmp_path / "f.npy", train=50).ensure(lambda path: write_features(path, pictures()))
    assert not list(tmp_path.iterdir())


def test_pixels_are_the_middle_square(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (0, 0, 9, 20))  # outside of the middle
    file = PictureFile(path=tmp_path / "pixels.npy", train=1)
    file.ensure(lambda path: write_pixels(path, [image, image.convert("L")], 2, 8))
    read = file.read()
    assert read.train.shape == (1, 8, 8, 3) and (read.train == torch.tensor([255, 0, 0])).all()
    assert read.queries.shape == (1, 8, 8, 3) and read.queries.dtype == torch.uint8
