"""Objects that hold torch tensors, in a form that crosses processes well: a small pickle and contiguous byte arrays.

A pickled tensor is copied into the pickle; an array is taken out of it (pickle protocol 5, PEP 574), so that Ray lays
it into shared memory as it is and the reader on the same node does not copy it to get at it.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """An object as `pack` leaves it; `arrays` are uint8 [n], the bytes of its tensors and arrays."""

    meta: bytes
    arrays: tuple[np.ndarray, ...]

    @property
    def nbytes(self) -> int:
        return len(self.meta) + sum(array.nbytes for array in self.arrays)


def pack(value: Any) -> Packed:
    """Pack a picklable object; tensors come back on the CPU."""
    buffers: list[pickle.PickleBuffer] = []
    file = io.BytesIO()
    _Pickler(file, protocol=5, buffer_callback=buffers.append).dump(value)
    arrays = tuple(np.frombuffer(buffer.raw(), dtype=np.uint8) for buffer in buffers)
    return Packed(meta=file.getvalue(), arrays=arrays)


def unpack(packed: Packed) -> Any:
    """What was packed. Tensors are copies of their own: what lies in shared memory must not be written to."""
    return pickle.loads(packed.meta, buffers=packed.arrays)


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        import torch

        if not isinstance(value, torch.Tensor):
            return NotImplemented
        raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return _tensor, (pickle.PickleBuffer(raw), str(value.dtype).removeprefix("torch."), tuple(value.shape))


def _tensor(raw: Any, dtype: str, shape: tuple[int, ...]) -> Any:
    import torch

    kind = getattr(torch, dtype)
    data = bytearray(raw)
    return (torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)).reshape(shape)
