"""An Arrow file written around a hole: everything but one great buffer, which goes into its place afterwards.

Arrow writes a buffer only from memory or a mapped file, so what comes in pieces would have to be collected in a file of its own and
copied. Here a mapping that nobody reads stands for it, and the pieces are written once, where they belong.
"""

import mmap
import os
from collections.abc import Callable
from typing import Any

import pyarrow as pa


class Around:
    """A sink for Arrow that leaves one buffer out. `hole`: where that buffer belongs in the file, in bytes, once it has passed."""

    def __init__(self, descriptor: int, left_out: pa.Buffer) -> None:
        self._descriptor, self._address, self._at = descriptor, left_out.address, 0
        self.hole = -1
        self.closed = False

    def write(self, data: pa.Buffer | bytes) -> int:
        """Arrow hands over buffers as they are, and what it writes itself as bytes. Raises OSError."""
        size = len(data)
        if isinstance(data, pa.Buffer) and data.address == self._address:
            self.hole = self._at
        else:
            write_all(self._descriptor, memoryview(data), self._at)
        self._at += size
        return size

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


def write_around(
    descriptor: int, size: int, batch_of: Callable[[pa.Buffer, Any], pa.RecordBatch], expected: Any, fill: Callable[[int], Any]
) -> None:
    """Write an Arrow IPC file of one record batch to an open, empty, readable file.

    batch_of: makes the batch from the buffer of `size` bytes, which it must take as it is, and a value that is known only when all
    of the buffer is; `expected` is one of the same length as JSON. fill: writes the buffer's bytes from the given place of the
    file on, and returns that value. Raises OSError.
    """
    os.ftruncate(descriptor, size)
    buffer = pa.py_buffer(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))
    value = fill(_write(descriptor, buffer, batch_of(buffer, expected)))
    _write(descriptor, buffer, batch_of(buffer, value))


def _write(descriptor: int, buffer: pa.Buffer, batch: pa.RecordBatch) -> int:
    sink = Around(descriptor, buffer)
    with pa.PythonFile(sink, "w") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    if sink.hole < 0:
        raise RuntimeError("this version of Arrow does not write a buffer as it is")
    return sink.hole


def write_all(descriptor: int, data: memoryview, at: int) -> None:
    """Write all of `data` (bytes) at a place of a file. Raises OSError, e.g. where the disk is full after half of it."""
    while len(data):
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written
