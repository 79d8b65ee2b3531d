"""Damaged files, and files of another kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bad_options import good_file
from bad_outcomes import BadInput


def bad_files(folder: Path) -> Iterator[BadInput]:
    good = good_file(folder).read_bytes()
    contents = {
        "empty": b"",
        "text": b"hello",
        "cut in the middle": good[: len(good) // 2],
        "without its end": good[:-30],
        "zeros": bytes(1000),
        "web page": b"<!doctype html><html></html>",
        "not UTF-8": b"\xff\xfe\xfa\x00\xd8" * 20,
        "JSON list": b"[1, 2]",
        "header only": b"a,b,label\n",
        "one column": b"a\n1\n2\n",
        "null bytes": b"a,b,label\n1,\x00,2\n",
        "unclosed quote": b'a,b,label\n1,"2,3\n4,5,6\n',
    }
    readers = {
        "npz": ("diagnose", "--arrays"),
        "csv": ("diagnose", "--table"),
        "parquet": ("diagnose", "--table"),
        "jsonl": ("diagnose", "--table"),
        "csv.gz": ("diagnose", "--table"),
        "tsv": ("prepare", "own", "--out", str(folder / "prepared"), "--source"),
    }
    for suffix, command in readers.items():
        for k, (what, content) in enumerate(contents.items()):
            path = folder / f"bad{k}.{suffix}"
            path.write_bytes(content)
            yield BadInput(command[0], f".{suffix}: {what}", (*command, str(path)))
    for k, (what, content) in enumerate(contents.items()):
        path = folder / f"train{k}.npz"
        path.write_bytes(content)
        words = ("train", "--data", str(path), "--method", "joint", "--fit.epochs", "1", "--out", str(folder / "o"))
        yield BadInput("train", f".npz: {what}", words)
