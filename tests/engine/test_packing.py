"""recaption.engine.packing: tensors out of the pickle and back again."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from recaption.engine.packing import Packed, pack, unpack

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "uint8", "int64", "bool"])
def test_tensors_of_every_kind_and_shape_come_back(dtype: str) -> None:
    kind = getattr(torch, dtype)
    tensors = [torch.arange(24).to(kind).reshape(2, 3, 4), torch.tensor(1).to(kind), torch.empty(0, 3, dtype=kind)]
    tensors.append(tensors[0].transpose(0, 2))
    for old, new in zip(tensors, unpack(pack(tensors)), strict=True):
        assert new.dtype == old.dtype and new.shape == old.shape
        assert torch.equal(new, old)


def test_bytes_lie_in_arrays_and_not_in_the_pickle() -> None:
    packed = pack({"ids": [1, 2, 3], "pixels": torch.ones(3, 100, 100), "mask": np.ones(1000, dtype=np.int32)})
    assert sorted(array.nbytes for array in packed.arrays) == [4000, 120_000]
    assert len(packed.meta) < 500
    assert packed.nbytes == 124_000 + len(packed.meta)


def test_it_crosses_a_process_border_and_may_be_written_to() -> None:
    packed = pack([torch.zeros(10)])
    buffers: list[Any] = []
    data = pickle.dumps(packed, protocol=5, buffer_callback=buffers.append)
    assert len(buffers) == 1  # out of band: Ray puts it into shared memory as it is
    frozen = pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers])
    assert isinstance(frozen, Packed)
    (tensor,) = unpack(frozen)
    tensor += 1
    assert tensor.sum() == 10
    assert unpack(packed)[0].sum() == 0
