"""Arrow files and Hugging Face data sets, written a few rows at a time."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from counterpoise._extras import extra
from counterpoise.errors import OutputError

__all__ = ["quiet_datasets", "write_arrow", "write_dataset", "write_splits"]

FILE: Final = 1 << 27
"""Approximate size in bytes of a file of the result."""
BATCH: Final = 1 << 23
"""Approximate size in bytes of the rows that are in memory at once."""
MOST_ROWS: Final = 4096


def write_arrow(path: Path, batches: Iterable[Mapping[str, Any]]) -> None:
    """Write batches of columns as one Arrow stream: arrays ``(n, ...)`` as fixed-size lists, the rest as it is.

    The file gets its name only when it is complete and on the disk.

    Raises:
        OutputError: If it cannot be written.
    """
    with extra("data"):
        import pyarrow as pa

    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            writer = None
            for columns in batches:
                table = pa.table({k: _column(v) for k, v in columns.items()})
                writer = writer or pa.ipc.new_stream(file, table.schema)
                writer.write_table(table)
            if writer is not None:
                writer.close()
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        raise OutputError(
            f"Could not write `{path}`: {error.strerror or error}. Free some disk space and run the same command "
            "again; it resumes."
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _column(values: Any) -> Any:
    with extra("data"):
        import pyarrow as pa

    if isinstance(values, np.ndarray) and values.ndim > 1:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))
    return pa.array(values)


def write_dataset(
    folder: Path,
    rows: int,
    row_bytes: int,
    columns: Callable[[int, int], Mapping[str, Any]],
    *,
    fingerprint: str,
) -> None:
    """Write a Hugging Face ``Dataset`` in files of about 128 MiB, a few rows at a time.

    Args:
        folder: Folder to write; its parent exists.
        rows: Number of rows.
        row_bytes: Approximate size of one row in bytes.
        columns: Function that returns the columns of the rows from a start to a stop.
        fingerprint: Name of the content, for the cache of ``datasets``.

    Raises:
        OutputError: If it cannot be written.
    """
    with extra("data"):
        import datasets

    folder.mkdir(exist_ok=True)
    step = min(max(BATCH // max(row_bytes, 1), 1), MOST_ROWS)
    in_file = max(FILE // max(row_bytes, 1) // step, 1) * step
    starts = range(0, rows, in_file)
    names = [f"data-{k:05d}-of-{len(starts):05d}.arrow" for k in range(len(starts))]
    sketch = folder.with_suffix(".arrow")
    write_arrow(sketch, [columns(0, 1)])
    with quiet_datasets():  # datasets describes one row; the files of all of them take its place
        datasets.Dataset.from_file(str(sketch)).save_to_disk(str(folder))
    sketch.unlink()
    for name, start in zip(names, starts, strict=True):
        stops = range(start, min(start + in_file, rows), step)
        write_arrow(folder / name, (columns(a, min(a + step, start + in_file, rows)) for a in stops))
    state = folder / "state.json"
    described = json.loads(state.read_text())
    for file in described["_data_files"]:
        if file["filename"] not in names:
            (folder / file["filename"]).unlink()
    described |= {"_data_files": [{"filename": name} for name in names], "_fingerprint": fingerprint}
    state.write_text(json.dumps(described, indent=1))


def write_splits(folder: Path, names: Sequence[str]) -> None:
    """Write the file that lists the splits of a ``DatasetDict``."""
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(names)}))


@contextlib.contextmanager
def quiet_datasets() -> Iterator[None]:
    """Switch the progress bars of `datasets` off inside this context, and on again afterwards if they were on."""
    with extra("data"):
        import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
