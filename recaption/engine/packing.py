"""Serialises objects with torch tensors for other processes: a small pickle and contiguous byte arrays.

A tensor would be copied into the pickle. An array stays outside (pickle protocol 5, PEP 574), so that Ray places it in
shared memory and a reader on the same node does not copy it.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """A packed object. `arrays` are uint8 [n], the bytes of its tensors and arrays."""

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
    """The packed object. Tensors are copies, because shared memory is read-only."""
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
