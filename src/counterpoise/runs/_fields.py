"""Fields of a record, read from JSON that anybody may have written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, get_args

from counterpoise._corruption import Corruption
from counterpoise.errors import DataError
from counterpoise.runs._metrics import Curve, CurveKind, Metric
from counterpoise.runs._rows import OWN_RULE, RowId

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def parse_object(line: str) -> dict[str, Any]:
    """Return the fields of one line of JSON."""
    try:
        line.encode()
        fields = json.loads(line)
        if _SURROGATE.search(line):  # an escaped half of a surrogate pair
            json.dumps(fields, ensure_ascii=False).encode()
    except (json.JSONDecodeError, RecursionError, UnicodeEncodeError) as error:
        raise DataError(f"A record should be one line of JSON in UTF-8. {type(error).__name__}: {error}.") from error
    if not isinstance(fields, dict):
        raise DataError(f"A record should be a JSON object. Found {type(fields).__name__}.")
    return fields


def _wrong(name: str, expected: str, value: object) -> DataError:
    shown = repr(value)
    return DataError(f"Field `{name}` of a record should be {expected}. Found {shown[:60]}{'…' * (len(shown) > 60)}.")


def parse_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(name, "text", value)
    return value


def _parse_optional_text(name: str, value: object) -> str | None:
    return None if value is None else parse_text(name, value)


def parse_texts(name: str, value: object) -> tuple[str, ...]:
    return tuple(parse_text(name, part) for part in parse_items(name, value))


def parse_items(name: str, value: object) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise _wrong(name, "a list", value)
    return list(value)


def parse_mapping(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(name, "an object", value)
    return value


def _parse_text_mapping(name: str, value: object) -> dict[str, str]:
    return {k: parse_text(name, v) for k, v in parse_mapping(name, value).items()}


def _parse_number(name: str, value: object) -> float:
    """Return a float; null stands for a number that was not finite."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e300:
        raise _wrong(name, "a number", value)
    return float(value)


def _parse_numbers(name: str, value: object) -> tuple[float, ...]:
    items = parse_items(name, value)
    if all(type(x) is float for x in items) and max(map(abs, items), default=0.0) <= 1e300:
        return tuple(items)
    return tuple(_parse_number(name, x) for x in items)


def _parse_integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise _wrong(name, "a whole number", value)
    return value


def _parse_row(name: str, value: object) -> RowId:
    fields = check_known(name, parse_mapping(name, value), ("method", "arguments", "modality", "rule", "settings"))
    return RowId(
        parse_text(f"{name}.method", fields.get("method")),
        parse_mapping(f"{name}.arguments", fields.get("arguments", {})),
        _parse_optional_text(f"{name}.modality", fields.get("modality")),
        parse_text(f"{name}.rule", fields.get("rule", OWN_RULE)),
        parse_mapping(f"{name}.settings", fields.get("settings", {})),
    )


def _parse_metrics(name: str, value: object) -> tuple[Metric, ...]:
    return tuple(_parse_metric(name, part) for part in parse_items(name, value))


def _parse_metric(name: str, value: object) -> Metric:
    fields = check_known(name, parse_mapping(name, value), ("name", "value", "modality", "corruption"))
    given = fields.get("corruption")
    corruption = None
    if given is not None:
        parts = check_known(f"{name}.corruption", parse_mapping(f"{name}.corruption", given), ("kind", "strength"))
        kind = parse_text(f"{name}.corruption.kind", parts.get("kind"))
        corruption = Corruption(kind, _parse_number(f"{name}.corruption.strength", parts.get("strength", 1.0)))
    modality = _parse_optional_text(f"{name}.modality", fields.get("modality"))
    return Metric(
        parse_text(f"{name}.name", fields.get("name")), _parse_number(name, fields.get("value")), modality, corruption
    )


def _parse_curves(name: str, value: object) -> tuple[Curve, ...]:
    return tuple(_parse_curve(name, part) for part in parse_items(name, value))


def _parse_curve(name: str, value: object) -> Curve:
    fields = check_known(name, parse_mapping(name, value), ("kind", "name", "modality", "values"))
    kind: Any = fields.get("kind")
    if kind not in get_args(CurveKind):
        raise _wrong(f"{name}.kind", f"one of {', '.join(get_args(CurveKind))}", kind)
    values = _parse_numbers(f"{name}.values", fields.get("values", []))
    modality = _parse_optional_text(f"{name}.modality", fields.get("modality"))
    return Curve(kind, parse_text(f"{name}.name", fields.get("name")), modality, values)


def check_known(name: str, fields: dict[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """Return the fields, of which none may be unknown."""
    if not fields.keys() <= set(known):
        unknown = [k for k in fields if k not in known]
        raise DataError(f"`{name}` of a record has the unknown field `{unknown[0]}`. Known: {', '.join(known)}.")
    return fields


_FIELDS: Final[dict[str, Callable[[str, object], Any]]] = {
    "key": parse_text,
    "data": parse_text,
    "row": _parse_row,
    "seed": _parse_integer,
    "task": parse_text,
    "modalities": parse_texts,
    "rule": parse_text,
    "score": parse_text,
    "source": parse_text,
    "fingerprint": parse_text,
    "config": parse_mapping,
    "metrics": _parse_metrics,
    "validation": _parse_metrics,
    "curves": _parse_curves,
    "valuation": parse_mapping,
    "best_epoch": _parse_integer,
    "seconds": _parse_number,
    "environment": _parse_text_mapping,
    "command": parse_text,
    "notes": parse_texts,
    "class_names": parse_texts,
    "presence": parse_mapping,
}


def parse_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `RunRecord` that the fields of schema 3 stand for."""
    missing = [name for name in ("key", "data", "row", "seed") if name not in fields]
    if missing:
        raise DataError(f"A record should have at least key, data, row and seed. Missing: {', '.join(missing)}.")
    check_known("the whole", fields, tuple(_FIELDS))
    return {name: _FIELDS[name](name, value) for name, value in fields.items()}
