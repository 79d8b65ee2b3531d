"""Files and JSON: atomic writes, JSON without NaN, and `.npz` archives without Python objects."""

from __future__ import annotations

import contextlib
import glob
import math
import os
import re
import socket
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise._validation import nearest
from counterpoise.errors import DataError, NotFoundError, OutputError

__all__ = [
    "RESERVED",
    "check_memory",
    "check_unpacked",
    "csv_text",
    "json_safe",
    "read_npz",
    "remove_temporary",
    "replacing",
    "write_atomic",
]

TEMPORARY: Final = ".partial"
"""Suffix of temporary files."""

RESERVED: Final = ("label", "split", "group", "task", "num_classes", "class_names")
"""Entries of an `.npz` data set that are not modalities. ``rate_<modality>`` and ``present_<modality>`` are not
modalities either."""
LARGE: Final = 1 << 26
"""Arrays of at most this number of bytes (64 MiB) are unpacked whatever their compression ratio."""
RATIO: Final = 200
"""Larger arrays whose compression ratio exceeds this number are refused."""


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; the file written there replaces ``path`` at the end.

    The content is on the disk before it replaces the old file, so that a crash leaves the old or the new one. After an
    error the temporary file is removed and the old file stays.

    Raises:
        OutputError: If the folder cannot be created or written to, or the disk is full.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent.glob(f".{glob.escape(path.name)}.*{TEMPORARY}"))
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.{_host()}.{os.getpid()}.", suffix=TEMPORARY
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"Could not write `{path}`: {error.strerror or error}. No partial file was left. "
            "Free some disk space, or choose another output path."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_atomic(path: Path | str, content: str | bytes) -> Path:
    """Write a file atomically.

    The content goes to a temporary file in the same folder, which then replaces ``path``. Several processes may write
    the same path at the same time; the last one wins.

    Args:
        path: The file.
        content: Text (written as UTF-8) or bytes.

    Returns:
        The path.

    Raises:
        OutputError: If the folder cannot be created or written to, or the disk is full.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)


def remove_temporary(folder: Path) -> None:
    """Remove the temporary files of `replacing` whose process has ended.

    Files of other machines that share the folder are removed once they are a day old.

    Args:
        folder: The folder.
    """
    _remove_abandoned(folder.glob(f".*{TEMPORARY}"))


def _remove_abandoned(paths: Iterable[Path]) -> None:
    """Remove the temporary files whose process has ended."""
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            host, pid = path.name.removesuffix(TEMPORARY).split(".")[-3:-1]
            if host != _host():
                abandoned = time.time() - path.stat().st_mtime > 86_400
            else:
                abandoned = not _runs(int(pid))
            if abandoned:
                path.unlink()


def _host() -> str:
    return re.sub(r"\W", "-", socket.gethostname())


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def json_safe(value: Any) -> Any:
    """Return nested data in which non-finite floats are None and keys are strings, as JSON requires.

    Example:
        >>> json_safe({"a": [1.0, float("nan")], 2: float("inf")})
        {'a': [1.0, None], '2': None}
    """
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): json_safe(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(part) for part in value]
    return value


def csv_text(value: str) -> str:
    """Return text for a cell that no spreadsheet interprets as a formula.

    An apostrophe precedes ``=``, ``+``, ``-`` and ``@``; control characters become spaces.

    Example:
        >>> csv_text("=HYPERLINK(1)"), csv_text("joint")
        ("'=HYPERLINK(1)", 'joint')
    """
    value = re.sub(r"[\x00-\x1f]+", " ", value)
    return f"'{value}" if value.lstrip()[:1] in tuple("=+-@") else value


def _check_entries(path: Path, file: Any, needed: Sequence[str]) -> None:
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise DataError(
            f"`{path.name}` should be an .npz archive. Found a single array. Save one array per modality: "
            "np.savez(path, a=..., b=..., label=...)."
        )
    missing = [name for name in needed if name not in file.files]
    if missing:
        raise DataError(
            f"`{path.name}` should hold {', '.join(needed)}. Missing: {', '.join(missing)}. "
            f"Found: {', '.join(file.files) or 'nothing'}.{nearest(missing[0], file.files)}"
        )


def read_npz(path: Path | str, needed: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read all arrays of an ``.npz`` archive. Nothing is unpickled.

    The sizes declared in the archive are checked before anything is unpacked.

    Args:
        path: The archive.
        needed: Names that must be in it.

    Returns:
        The arrays by name, in the order of the archive.

    Raises:
        NotFoundError: If the file does not exist.
        DataError: If the file is not a readable ``.npz`` archive, holds Python objects, lacks a needed array, or
            unpacks to hundreds of times its size.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(
            f"There is no file `{path}`. Give the path of an .npz with one array (N, ...) per modality."
        )
    try:
        with path.open("rb") as handle:  # numpy does not close a broken file
            file = np.load(handle, allow_pickle=False)
            _check_entries(path, file, needed)
            _check_sizes(path, file)
            return {name: _read_entry(path, file, name) for name in file.files}
    except DataError:
        raise
    except (
        OSError,
        ValueError,
        EOFError,
        AttributeError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = error if zipfile.is_zipfile(path) else "it is not a zip archive"
        raise DataError(f"`{path.name}` is not a readable .npz archive: {reason}. Write it with np.savez.") from error


def check_unpacked(what: str, packed: int, unpacked: int, remedy: str) -> None:
    """Raise `DataError` for content that unpacks to hundreds of times its size.

    Args:
        what: Name of the content in the message.
        packed: Bytes in the file.
        unpacked: Bytes in memory.
        remedy: Advice if content of that size is intended.
    """
    if unpacked > LARGE and unpacked > RATIO * max(packed, 1):
        raise DataError(f"{what} unpacks from {packed:,} to {unpacked:,} bytes. If this is intended, {remedy}.")


def check_memory(what: str, needed: int) -> None:
    """Raise `DataError` for content that does not fit into the memory that is free.

    Args:
        what: Name of the content in the message.
        needed: Bytes in memory.
    """
    free = _free_memory()
    if free is not None and needed > max(free, LARGE):
        raise DataError(
            f"`{what}` needs {needed:,} bytes of memory. Found {free:,} free. Prepare the data in parts: a prepared "
            "set stays on the disk."
        )


def _free_memory() -> int | None:
    """Return the number of free bytes of memory, or None if the system does not report it."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _check_sizes(path: Path, file: Any) -> None:
    """Raise `DataError` for arrays that unpack to far more than the archive, or whose header declares another size."""
    check_memory(path.name, sum(entry.file_size for entry in file.zip.infolist()))
    for entry in file.zip.infolist():
        what = f"Array `{entry.filename.removesuffix('.npy')}` of `{path.name}`"
        check_unpacked(what, entry.compress_size, entry.file_size, "save it uncompressed: np.savez")
        with file.zip.open(entry) as content:
            version = np.lib.format.read_magic(content)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(content)
        promised = math.prod(shape) * dtype.itemsize
        if not dtype.hasobject and promised > entry.file_size:
            raise DataError(f"{what} should have {promised:,} bytes by its header. Found {entry.file_size:,}.")


def _read_entry(path: Path, file: Any, name: str) -> np.ndarray:
    try:
        array: np.ndarray = file[name]
    except ValueError as error:
        raise DataError(
            f"Array `{name}` of `{path.name}` holds Python objects (dtype object), which can run code when they are "
            "read. Save numbers or strings: np.stack ragged rows to one length, or use np.asarray(names, dtype=str)."
        ) from error
    return array
