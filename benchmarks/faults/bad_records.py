"""Records and descriptions of data with wrong fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from bad_outcomes import BadInput


def bad_records() -> Iterator[BadInput]:
    from counterpoise.runs import Curve, Metric, RowId, RunRecord

    whole = RunRecord("k", "d", RowId("joint"), 0, task="multiclass", modalities=("a", "b"), score="accuracy")
    parts = {"metrics": (Metric("accuracy", 0.5),), "curves": (Curve("loss", "total", None, (1.0,)),)}
    good = json.loads(replace(whole, **parts).to_json())
    wrong = {"text": "x", "number": 3.5, "list": [[1]], "mapping": {"x": {}}, "null": None}
    harmless = {("config", "mapping"), ("valuation", "mapping"), ("seconds", "number"), ("seconds", "null")}
    fine = {str: "text", int: "", float: "number", list: "", dict: ""}
    for name, value in good.items():
        for what, other in wrong.items():
            if (
                (name, what) in harmless
                or what == fine.get(type(value))
                or (isinstance(value, float) and what == "number")
            ):
                continue
            text = json.dumps({**good, name: other})
            yield BadInput("record.json", f"{name}: {what}", call=partial(RunRecord.from_json, text))
    for what, text in {"empty": "", "list": "[]", "cut": '{"key": ', "deep": "[" * 5000, "no key": "{}"}.items():
        yield BadInput("record.json", what, call=partial(RunRecord.from_json, text))


def bad_descriptions() -> Iterator[BadInput]:
    from dataclasses import asdict

    from counterpoise.data import DataInfo, Modality
    from counterpoise.data._schema import read_info

    info = DataInfo("x", (Modality("a", "vector", (2,)), Modality("b", "vector", (2,))), "multiclass", 2)
    good = json.loads(json.dumps(asdict(info)))
    for name in good:
        for what, other in {"number": 3.5, "null": None, "list of lists": [[1]], "mapping": {"x": 1}}.items():
            spoilt = {**good, name: other}
            yield BadInput("counterpoise.json", f"{name}: {what}", call=partial(read_info, spoilt))
