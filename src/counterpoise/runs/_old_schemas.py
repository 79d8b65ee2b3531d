"""Records of schemas 1 and 2, whose names were keys with a grammar."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from counterpoise.errors import DataError
from counterpoise.runs._fields import check_known, parse_items, parse_mapping, parse_text, parse_texts
from counterpoise.runs._metrics import split_key
from counterpoise.runs._rows import OWN_RULE, RowId

_SHIFT: Final = "@shift"
_OLD_KINDS: Final = {"noise": "noise", "missing": "zeros", "swap": "permute"}
_OLD_FIELDS: Final = (
    *("key", "data", "method", "rule", "seed", "task", "modalities", "config", "metrics", "validation", "curves"),
    *("valuation", "robustness", "best_epoch", "seconds", "environment", "command", "notes", "label", "class_names"),
)


def from_keys(fields: dict[str, Any], schema: int) -> dict[str, Any]:
    """Return the fields of schema 3 for a record of schema 1 or 2, whose names were keys such as ``accuracy:image``."""
    check_known("the whole", fields, _OLD_FIELDS)
    modalities = parse_texts("modalities", fields.get("modalities", []))
    if len(set(modalities)) < len(modalities) or "fused" in modalities:
        raise _too_old(schema, f"modalities {', '.join(modalities)}")
    score = "r2" if fields.get("task") == "regression" else "accuracy"
    new = {k: v for k, v in fields.items() if k not in ("method", "label", "robustness", "validation", "curves")}
    new["row"] = dataclasses.asdict(_old_row(fields, modalities, schema))
    new["score"] = score
    new["source"] = str(parse_mapping("config", fields.get("config", {})).get("data", ""))
    metrics = [_old_metric(k, v, modalities) for k, v in parse_mapping("metrics", fields.get("metrics", {})).items()]
    for row in parse_items("robustness", fields.get("robustness", [])):
        metrics += _old_corrupted(parse_mapping("robustness", row), schema)
    new["metrics"] = metrics
    new["validation"] = [
        {"value": value, "name": curve["name"], "modality": curve.get("modality")}
        for value, curve in _old_curves("validation", fields, modalities, score)
    ]
    new["curves"] = [{"values": values} | curve for values, curve in _old_curves("curves", fields, modalities, score)]
    return new


def _old_curves(
    section: str, fields: Mapping[str, Any], modalities: Sequence[str], score: str
) -> list[tuple[Any, dict[str, Any]]]:
    """Return each value of a section with the fields of its curve."""
    values = parse_mapping(section, fields.get(section, {}))
    return [(value, _old_curve(key, modalities, score)) for key, value in values.items()]


def _too_old(schema: int, what: str) -> DataError:
    return DataError(
        f"This record is too old: it has schema {schema}, in which {what} cannot be read without guessing. "
        "Train the run again."
    )


def _old_row(fields: Mapping[str, Any], modalities: Sequence[str], schema: int) -> RowId:
    """Return the row, checked against the label: exactly one row may have this text."""
    method, rule = parse_text("method", fields.get("method")), parse_text("rule", fields.get("rule", ""))
    label = parse_text("label", fields.get("label", method)) or method
    config = parse_mapping("config", fields.get("config", {}))
    given = dict(parse_mapping("config.method_args", config.get("method_args", {})))
    single = given.pop("modality", None) if given.get("modality") in modalities else None
    rows = [
        RowId(method, given, m, r)
        for m in ([single] if single is not None else [None, *modalities])
        for r in (OWN_RULE, rule)
    ]
    matching = [row for row in rows if str(row) == label]
    if not matching:
        raise _too_old(schema, f"the row `{label}`")
    return matching[0]


def _old_metric(key: str, value: Any, modalities: Sequence[str]) -> dict[str, Any]:
    name, modality = split_key(key, modalities, alone=key)
    name = f"{name.removesuffix(_SHIFT)}_corrupted" if name.endswith(_SHIFT) else name
    name = f"fused_{name.removesuffix(':fused')}" if name.endswith(":fused") else name
    return {"name": name, "value": value, "modality": modality}


def _old_corrupted(row: dict[str, Any], schema: int) -> list[dict[str, Any]]:
    kind = row.get("corruption")
    if kind not in _OLD_KINDS:
        raise _too_old(schema, f"the corruption {kind!r}")
    corruption = {"kind": _OLD_KINDS[kind], "strength": row.get("strength", 1.0)}
    scores = {k: v for k, v in row.items() if k not in ("modality", "corruption", "strength")}
    return [
        {"name": k, "value": v, "modality": row.get("modality"), "corruption": corruption} for k, v in scores.items()
    ]


def _old_curve(key: str, modalities: Sequence[str], score: str) -> dict[str, Any]:
    """Return kind, name and modality of a curve: those versions wrote losses, validation scores and contributions under
    fixed names, and coefficients under all others.
    """
    if key == "train_loss":
        return {"kind": "loss", "name": "total"}
    if key.startswith("train:"):
        name, modality = split_key(key.removeprefix("train:"), modalities)
        return {"kind": "loss", "name": name, "modality": modality}
    name, modality = split_key(key, modalities)
    if key.startswith("val_"):
        known = {"val_score": score, "val_score:fused": f"fused_{score}"}
        return {"kind": "score", "name": known.get(name, name.removeprefix("val_")), "modality": modality}
    if name in ("phi_mi", "phi_cmi"):
        return {"kind": "contribution", "name": name, "modality": modality}
    return {"kind": "coefficient", "name": name, "modality": modality}
