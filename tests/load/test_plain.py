"""`records` yields each sample once, with the bytes that the dataset has, in every format."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import jpeg, sample, write_tar

from recaption.errors import DatasetError, UserError
from recaption.load import CaptionDataset, policy, records

Built = Callable[[str], Path]
FORMATS = ("webdataset", "sidecar", "parquet")


@pytest.mark.parametrize("format", FORMATS)
def test_each_sample_comes_once_in_order_with_its_bytes(format: str, built: Built) -> None:
    out = built(format)
    found = list(records(out))
    assert len({sample.record.key for sample in found}) == len(found) == 51
    for split, part in (("train", found[:48]), ("val", found[48:])):
        loaded = CaptionDataset(out, policy=policy.raw(), batch_size=1, split=split, tags=True)
        assert [loaded.sample(n) for n in range(len(part))] == part == list(records(out, split=split))


def test_all_formats_have_the_same_records(built: Built) -> None:
    of_format = [[(s.record.key, s.record.captions) for s in records(built(format), tags=False)] for format in FORMATS]
    assert sorted(of_format[0]) == sorted(of_format[1]) == sorted(of_format[2])


def test_tars_of_others_have_no_splits(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [sample(f"{n:04d}", jpeg(n), f"text {n}") for n in range(3)])
    found = list(records(tmp_path))
    assert [s.record.texts()["raw"] for s in found] == ["text 0", "text 1", "text 2"] and found[0].image == jpeg(0)


def test_what_cannot_be_read_says_where(own_copy: Built, tmp_path: Path) -> None:
    out = own_copy("webdataset")
    (out / "dataset" / "data" / "00001.tar").unlink()
    with pytest.raises(DatasetError, match="shard 00001"):
        list(records(out))
    with pytest.raises(UserError, match="nothing to load at"):
        list(records(tmp_path / "nothing"))
    with pytest.raises(UserError, match="split is 'test'; it can be all, train or val"):
        list(records(out, split="test"))  # type: ignore[arg-type]


def test_it_needs_no_torch(built: Built) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from recaption.load import records\n"
        "print(*(sum(1 for _ in records(path)) for path in sys.argv[1:]))"
    )
    outs = [str(built(format)) for format in FORMATS]
    done = subprocess.run([sys.executable, "-c", code, *outs], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["51"] * 3, done.stderr
