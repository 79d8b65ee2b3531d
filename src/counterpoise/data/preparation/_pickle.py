"""Reading pickles of arrays without running code that they contain."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, Final

from counterpoise.errors import DataError

__all__ = ["read_pickle"]

ADMITTED: Final = (
    "numpy",
    "numpy.core.multiarray",
    "numpy._core.multiarray",
    "numpy._core.numeric",
    "numpy.core.numeric",
    "collections",
    "_codecs",
)


class _Unpickler(pickle.Unpickler):
    """Unpickler of arrays, lists and dicts, which refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        safe = {"ndarray", "dtype", "_reconstruct", "scalar", "_frombuffer", "OrderedDict", "defaultdict", "encode"}
        if module in ADMITTED and (name in safe or name.endswith("DType")):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")


def read_pickle(path: Path) -> Any:
    """Return the content of a pickle of arrays; nothing in it is executed.

    Raises:
        DataError: If the file is broken, or holds other objects than arrays.
    """
    try:
        return _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        AttributeError,
        ImportError,
        IndexError,
        ValueError,
        TypeError,
        KeyError,
        MemoryError,
        OverflowError,
        RecursionError,
    ) as error:
        raise DataError(f"`{path}` is not a readable pickle of arrays ({error}). Download it again.") from error
