"""Records of finished runs: typed rows, metrics and curves, stored as JSON. Importing it needs no torch."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from counterpoise._corruption import Corruption
from counterpoise._files import json_safe, write_atomic
from counterpoise.errors import CounterpoiseError, DataError

__all__ = [
    "Curve",
    "CurveId",
    "CurveKind",
    "Metric",
    "MetricId",
    "RowId",
    "RunRecord",
    "corrupted_means",
    "read_records",
    "split_key",
    "write_records",
]

SCHEMA: Final = 3

SAMPLES: Final = "samples.json"
"""File beside ``record.json`` with the samples of a run."""

OWN_RULE: Final = "default"
"""Name of the rule of a row that uses the default decision rule of its method."""

CurveKind: TypeAlias = Literal["loss", "score", "contribution", "coefficient", "gradient"]


class MetricId(NamedTuple):
    """Identity of a metric: its name, its modality, and the corruption of that modality's input."""

    name: str
    modality: str | None = None
    corruption: Corruption | None = None

    def __str__(self) -> str:
        text = self.name if self.modality is None else f"{self.name}:{self.modality}"
        return text if self.corruption is None else f"{text} ({self.corruption})"


class CurveId(NamedTuple):
    """Identity of a curve: its kind, its name, and its modality."""

    kind: CurveKind
    name: str
    modality: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in self if part is not None)


@dataclass(frozen=True)
class RowId:
    """Identity of a row of a comparison. Its text is for display only and is never parsed.

    Attributes:
        method: Name in the catalogue, or import path of a user's own class.
        arguments: Hyper-parameters that differ from the defaults.
        modality: The one modality that is trained, for methods that train one; else None.
        rule: Name of the decision rule, ``default`` if it is the method's own.
        settings: Settings of the run by which rows of one comparison differ, such as ``{"optim.lr": 0.01}``; empty in
            a record.

    Example:
        >>> str(RowId("arm", {"loss_weights": False})), str(RowId("joint", rule="calibrated"))
        ('arm [loss_weights=False]', 'joint (calibrated)')
        >>> str(RowId("unimodal", modality="audio"))
        'unimodal:audio'
    """

    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    modality: str | None = None
    rule: str = OWN_RULE
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.method, self.modality, self.rule, *(repr(sorted(p.items())) for p in self._pairs)))

    @property
    def _pairs(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        return self.arguments, self.settings

    @property
    def is_plain(self) -> bool:
        """Whether all hyper-parameters and settings are the defaults."""
        return not self.arguments and not self.settings

    def __str__(self) -> str:
        text = self.method if self.modality is None else f"{self.method}:{self.modality}"
        pairs = [f"{k}={v}" for part in self._pairs for k, v in sorted(part.items())]
        text += f" [{', '.join(pairs)}]" if pairs else ""
        return text if self.rule == OWN_RULE else f"{text} ({self.rule})"


@dataclass(frozen=True)
class Metric:
    """One number measured on the test (or validation) set.

    Attributes:
        name: Name of the quantity: a score of the task (``accuracy``, ``macro_f1``, ``nll``, ``ece``, ``r2``,
            ``rmse``), ``probe``, ``phi_mi``, ``phi_cmi``, ``phi_shared``, ``phi_synergy``, ``entropy``, ``step_ms``,
            ...
        value: The number; NaN if it is not finite.
        modality: Modality of the number (score of its own head, probe of its encoder, or its contribution); None for
            the whole model.
        corruption: The corruption of the input of ``modality`` under which the whole model was scored; None for clean
            inputs.
    """

    name: str
    value: float
    modality: str | None = None
    corruption: Corruption | None = None

    @property
    def id(self) -> MetricId:
        """Everything but the value."""
        return MetricId(self.name, self.modality, self.corruption)


@dataclass(frozen=True)
class Curve:
    """One number per epoch.

    Attributes:
        kind: ``loss`` (a term of the training loss; ``total`` is their sum), ``score`` (on the validation set),
            ``contribution`` (on the validation set, nats), ``coefficient`` (chosen by the method) or ``gradient`` (of
            the fused loss by the features of validation samples: ``energy``, ``balance`` and ``non-conflict``).
        name: Name of the quantity.
        modality: Modality of the curve; None for the whole model.
        values: The numbers, epoch by epoch; NaN where an epoch has none.
    """

    kind: CurveKind
    name: str
    modality: str | None = None
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))

    @property
    def id(self) -> CurveId:
        """Everything but the values."""
        return CurveId(self.kind, self.name, self.modality)


@dataclass(frozen=True)
class RunRecord:
    """One finished run = data set x row x seed x configuration.

    Attributes:
        key: Hash of everything that determines the run.
        data: Name of the data set.
        row: The row of a comparison that the run belongs to.
        seed: The seed.
        task: Name of the task.
        modalities: Names of the modalities in order.
        rule: Name of the decision rule that was used.
        score: Name of the metric by which the task is judged; larger is better.
        source: Source of the data: the path of a file or folder, or the name in the catalogue. Data sets with the same
            name and different sources are different data sets, unless their fingerprints agree.
        fingerprint: Hash of the data.
        config: The resolved configuration.
        metrics: Numbers on the test set, with the weights that validation selected. ``phi_mi`` is the unimodal
            information of a modality (shared + unique), ``phi_cmi`` its conditional information (unique + synergy), in
            nats; ``entropy`` is H(Y); ``<score>_corrupted`` the mean score over all corruptions, and over those of one
            modality.
        validation: Numbers on the validation set, at the selected epoch.
        curves: Numbers per epoch.
        valuation: The held-out valuation on the test set, as `Valuation.to_dict` gives it, with ``parts`` added: by
            modality the ``redundant``, ``unique`` and ``synergistic`` information of
            `counterpoise.valuation.decompose`.
        best_epoch: The epoch that validation selected, from 0; -1 if unknown.
        seconds: Wall time of the whole run.
        environment: Versions, threads, device.
        command: Command line of the run.
        notes: Notes on the data and the run that affect the interpretation of the numbers.
        class_names: Names of the classes, or empty.
        presence: Scores on incomplete data: by pattern of presence (``patterns``), over rates of absence
            (``severity``), and the indices ``mei``, ``mli`` and ``equity`` of `counterpoise.evaluation.incomplete`.
        samples: Some test samples with pictures and predictions, as `counterpoise.gallery.Gallery` reads them. They are
            stored in ``samples.json`` next to ``record.json``, and are not part of `to_json`.

    Example:
        >>> record = RunRecord("k", "smartwatch", RowId("joint"), 0, metrics=(Metric("accuracy", 0.5),))
        >>> RunRecord.from_json(record.to_json()) == record
        True
        >>> record.value("accuracy")
        0.5
    """

    key: str
    data: str
    row: RowId
    seed: int
    task: str = "multiclass"
    modalities: tuple[str, ...] = ()
    rule: str = ""
    score: str = "accuracy"
    source: str = ""
    fingerprint: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    validation: tuple[Metric, ...] = ()
    curves: tuple[Curve, ...] = ()
    valuation: dict[str, Any] = field(default_factory=dict)
    best_epoch: int = -1
    seconds: float = math.nan
    environment: dict[str, str] = field(default_factory=dict)
    command: str = ""
    notes: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    presence: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("modalities", "metrics", "validation", "curves", "notes", "class_names"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.row.method

    @property
    def label(self) -> str:
        """Text of the row, for printing."""
        return str(self.row)

    def value(self, name: str, modality: str | None = None, corruption: Corruption | None = None) -> float:
        """Return a metric on the test set, NaN if the run does not have it."""
        wanted = MetricId(name, modality, corruption)
        return next((m.value for m in self.metrics if m.id == wanted), math.nan)

    def curve(self, kind: CurveKind, name: str, modality: str | None = None) -> tuple[float, ...]:
        """Return the values of a curve, empty if the run does not have it."""
        wanted = CurveId(kind, name, modality)
        return next((c.values for c in self.curves if c.id == wanted), ())

    def to_json(self) -> str:
        """Return one line of JSON (non-finite numbers as null)."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "samples"}
        fields["row"] = dataclasses.asdict(self.row)
        if not self.presence:
            del fields["presence"]
        for name in ("metrics", "validation", "curves"):
            fields[name] = [_compact(part) for part in fields[name]]
        return json.dumps(json_safe({"schema": SCHEMA} | fields), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> RunRecord:
        """Read the output of `to_json`, or a record of schema 1 or 2.

        Raises:
            DataError: If the line is not a record, has a field of another type, or is of another version's schema.
        """
        fields = _object(line)
        schema = fields.pop("schema", 0)
        if schema in (1, 2):
            fields = _from_keys(fields, schema)
        elif schema != SCHEMA:
            age = "newer than" if isinstance(schema, int) and schema > SCHEMA else "not one that is known to"
            raise DataError(
                f"This record has schema {schema!r}, which is {age} this version of counterpoise (it reads 1 to "
                f"{SCHEMA}). Update counterpoise, or train the run again."
            )
        return _record(fields)


def split_key(key: str, modalities: Sequence[str], *, alone: str = "unimodal") -> tuple[str, str | None]:
    """Return the name and the modality of a quantity that a method calls ``name:modality``.

    The modality is found among the given names and not by splitting, because names of modalities may hold any
    character.

    Args:
        key: The method's own key.
        modalities: Names of the modalities.
        alone: Name of a quantity whose key is only the name of a modality.

    Example:
        >>> split_key("kappa:audio", ["audio"]), split_key("audio", ["audio"]), split_key("fused", ["audio"])
        (('kappa', 'audio'), ('unimodal', 'audio'), ('fused', None))
    """
    for m in sorted(modalities, key=len, reverse=True):
        if key == m:
            return alone, m
        if key.endswith(f":{m}"):
            return key[: -len(m) - 1], m
    return key, None


def corrupted_means(metrics: Iterable[Metric], score: str) -> tuple[Metric, ...]:
    """Return the mean score over all corruptions, and over the corruptions of each modality.

    Args:
        metrics: Metrics of a run; those of clean inputs and of other names are ignored.
        score: Name of the score.

    Example:
        >>> zeros = Corruption("zeros")
        >>> rows = [Metric("accuracy", 0.5, "a", zeros), Metric("accuracy", 0.7, "b", zeros)]
        >>> [(m.name, m.modality, round(m.value, 2)) for m in corrupted_means(rows, "accuracy")]
        [('accuracy_corrupted', None, 0.6), ('accuracy_corrupted', 'a', 0.5), ('accuracy_corrupted', 'b', 0.7)]
    """
    values: dict[str | None, list[float]] = {}
    for metric in metrics:
        if metric.corruption is not None and metric.name == score:
            for m in (None, metric.modality):
                values.setdefault(m, []).append(metric.value)
    return tuple(Metric(f"{score}_corrupted", math.fsum(v) / len(v), m) for m, v in values.items())


# -- reading -------------------------------------------------------------------------------------------------------


def _compact(part: Metric | Curve) -> dict[str, Any]:
    """Return a metric or curve as a dictionary without empty entries."""
    fields = dataclasses.asdict(part)
    return {k: v for k, v in fields.items() if v is not None}


_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def _object(line: str) -> dict[str, Any]:
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


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(name, "text", value)
    return value


def _optional_text(name: str, value: object) -> str | None:
    return None if value is None else _text(name, value)


def _texts(name: str, value: object) -> tuple[str, ...]:
    return tuple(_text(name, part) for part in _items(name, value))


def _items(name: str, value: object) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise _wrong(name, "a list", value)
    return list(value)


def _mapping(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(name, "an object", value)
    return value


def _text_mapping(name: str, value: object) -> dict[str, str]:
    return {k: _text(name, v) for k, v in _mapping(name, value).items()}


def _number(name: str, value: object) -> float:
    """Return a float; null stands for a number that was not finite."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e300:
        raise _wrong(name, "a number", value)
    return float(value)


def _numbers(name: str, value: object) -> tuple[float, ...]:
    items = _items(name, value)
    if all(type(x) is float for x in items) and max(map(abs, items), default=0.0) <= 1e300:
        return tuple(items)
    return tuple(_number(name, x) for x in items)


def _integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise _wrong(name, "a whole number", value)
    return value


def _parse_row(name: str, value: object) -> RowId:
    fields = _only(name, _mapping(name, value), ("method", "arguments", "modality", "rule", "settings"))
    return RowId(
        _text(f"{name}.method", fields.get("method")),
        _mapping(f"{name}.arguments", fields.get("arguments", {})),
        _optional_text(f"{name}.modality", fields.get("modality")),
        _text(f"{name}.rule", fields.get("rule", OWN_RULE)),
        _mapping(f"{name}.settings", fields.get("settings", {})),
    )


def _parse_metrics(name: str, value: object) -> tuple[Metric, ...]:
    return tuple(_parse_metric(name, part) for part in _items(name, value))


def _parse_metric(name: str, value: object) -> Metric:
    fields = _only(name, _mapping(name, value), ("name", "value", "modality", "corruption"))
    given = fields.get("corruption")
    corruption = None
    if given is not None:
        parts = _only(f"{name}.corruption", _mapping(f"{name}.corruption", given), ("kind", "strength"))
        kind = _text(f"{name}.corruption.kind", parts.get("kind"))
        corruption = Corruption(kind, _number(f"{name}.corruption.strength", parts.get("strength", 1.0)))
    modality = _optional_text(f"{name}.modality", fields.get("modality"))
    return Metric(_text(f"{name}.name", fields.get("name")), _number(name, fields.get("value")), modality, corruption)


def _parse_curves(name: str, value: object) -> tuple[Curve, ...]:
    return tuple(_parse_curve(name, part) for part in _items(name, value))


def _parse_curve(name: str, value: object) -> Curve:
    fields = _only(name, _mapping(name, value), ("kind", "name", "modality", "values"))
    kind: Any = fields.get("kind")
    if kind not in get_args(CurveKind):
        raise _wrong(f"{name}.kind", f"one of {', '.join(get_args(CurveKind))}", kind)
    values = _numbers(f"{name}.values", fields.get("values", []))
    modality = _optional_text(f"{name}.modality", fields.get("modality"))
    return Curve(kind, _text(f"{name}.name", fields.get("name")), modality, values)


def _only(name: str, fields: dict[str, Any], known: Sequence[str]) -> dict[str, Any]:
    if not fields.keys() <= set(known):
        unknown = [k for k in fields if k not in known]
        raise DataError(f"`{name}` of a record has the unknown field `{unknown[0]}`. Known: {', '.join(known)}.")
    return fields


_FIELDS: Final[dict[str, Callable[[str, object], Any]]] = {
    "key": _text,
    "data": _text,
    "row": _parse_row,
    "seed": _integer,
    "task": _text,
    "modalities": _texts,
    "rule": _text,
    "score": _text,
    "source": _text,
    "fingerprint": _text,
    "config": _mapping,
    "metrics": _parse_metrics,
    "validation": _parse_metrics,
    "curves": _parse_curves,
    "valuation": _mapping,
    "best_epoch": _integer,
    "seconds": _number,
    "environment": _text_mapping,
    "command": _text,
    "notes": _texts,
    "class_names": _texts,
    "presence": _mapping,
}


def _record(fields: dict[str, Any]) -> RunRecord:
    missing = [name for name in ("key", "data", "row", "seed") if name not in fields]
    if missing:
        raise DataError(f"A record should have at least key, data, row and seed. Missing: {', '.join(missing)}.")
    _only("the whole", fields, tuple(_FIELDS))
    return RunRecord(**{name: _FIELDS[name](name, value) for name, value in fields.items()})


# -- schemas 1 and 2: keys with a grammar --------------------------------------------------------------------------

_SHIFT: Final = "@shift"
_OLD_KINDS: Final = {"noise": "noise", "missing": "zeros", "swap": "permute"}
_OLD_FIELDS: Final = (
    *("key", "data", "method", "rule", "seed", "task", "modalities", "config", "metrics", "validation", "curves"),
    *("valuation", "robustness", "best_epoch", "seconds", "environment", "command", "notes", "label", "class_names"),
)


def _from_keys(fields: dict[str, Any], schema: int) -> dict[str, Any]:
    """Return the fields of schema 3 for a record of schema 1 or 2, whose names were keys such as ``accuracy:image``."""
    _only("the whole", fields, _OLD_FIELDS)
    modalities = _texts("modalities", fields.get("modalities", []))
    if len(set(modalities)) < len(modalities) or "fused" in modalities:
        raise _too_old(schema, f"modalities {', '.join(modalities)}")
    score = "r2" if fields.get("task") == "regression" else "accuracy"
    new = {k: v for k, v in fields.items() if k not in ("method", "label", "robustness", "validation", "curves")}
    new["row"] = dataclasses.asdict(_old_row(fields, modalities, schema))
    new["score"] = score
    new["source"] = str(_mapping("config", fields.get("config", {})).get("data", ""))
    metrics = [_old_metric(k, v, modalities) for k, v in _mapping("metrics", fields.get("metrics", {})).items()]
    for row in _items("robustness", fields.get("robustness", [])):
        metrics += _old_corrupted(_mapping("robustness", row), schema)
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
    values = _mapping(section, fields.get(section, {}))
    return [(value, _old_curve(key, modalities, score)) for key, value in values.items()]


def _too_old(schema: int, what: str) -> DataError:
    return DataError(
        f"This record is too old: it has schema {schema}, in which {what} cannot be read without guessing. "
        "Train the run again."
    )


def _old_row(fields: Mapping[str, Any], modalities: Sequence[str], schema: int) -> RowId:
    """Return the row, checked against the label: exactly one row may have this text."""
    method, rule = _text("method", fields.get("method")), _text("rule", fields.get("rule", ""))
    label = _text("label", fields.get("label", method)) or method
    config = _mapping("config", fields.get("config", {}))
    given = dict(_mapping("config.method_args", config.get("method_args", {})))
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


# -- files ---------------------------------------------------------------------------------------------------------


def write_records(path: Path, records: Iterable[RunRecord]) -> None:
    """Write JSON lines."""
    write_atomic(path, "".join(record.to_json() + "\n" for record in records))


def _record_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif (path / "record.json").is_file():
        yield path / "record.json"
    elif (path / "runs.jsonl").is_file():
        yield path / "runs.jsonl"
    else:
        yield from sorted(path.rglob("record.json"))


def read_records(paths: Iterable[Path | str]) -> tuple[list[RunRecord], list[str]]:
    """Read every record below ``paths`` (files, run folders, or folders of runs).

    Returns:
        The records (each key once), and one line for every file that cannot be read or is not a record.

    Raises:
        DataError: If a path does not exist.
    """
    records: dict[str, RunRecord] = {}
    skipped: list[str] = []
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"There is no `{path}`. Give a run folder, a folder of runs, or a runs.jsonl.")
        files = list(_record_files(path))
        if not files:
            skipped.append(f"{path}: no record.json or runs.jsonl in it")
        for file in files:
            twice = [record.key for record in _read_file(file, skipped) if _is_second(record, records, file, skipped)]
            if twice:
                skipped.append(
                    f"{file}: {len(twice)} records repeat a key with other numbers (first: {twice[0]}); the numbers "
                    "that were read first are used"
                )
    return list(records.values()), skipped


def _is_second(record: RunRecord, records: dict[str, RunRecord], file: Path, skipped: list[str]) -> bool:
    """Add a record unless its key is known; return whether it is known with other numbers."""
    if record.key in records:
        return records[record.key] != record and records[record.key].to_json() != record.to_json()
    records[record.key] = _with_samples(record, file, skipped)
    return False


def _read_file(file: Path, skipped: list[str]) -> Iterator[RunRecord]:
    """Yield the records of a file; unreadable content becomes one line of ``skipped``."""
    broken: list[str] = []
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        skipped.append(f"{file}: {error.strerror or error}")
        return
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield RunRecord.from_json(line)
        except CounterpoiseError as error:
            broken.append(f"{file}:{number}: {error}")
        except Exception as error:  # any error of a foreign file becomes one line and does not end the report
            broken.append(f"{file}:{number}: {type(error).__name__}: {error}")
    if broken:
        more = f" And {len(broken) - 1} more lines of it." if len(broken) > 1 else ""
        skipped.append(broken[0] + more)


def _with_samples(record: RunRecord, file: Path, skipped: list[str]) -> RunRecord:
    """Return the record with the samples that lie next to it, if there are any."""
    folder = file.parent if file.name == "record.json" else file.parent / "runs" / record.key
    path = folder / SAMPLES
    try:
        if "/" in record.key or not path.is_file():
            return record
        samples = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError) as error:
        skipped.append(f"{path}: the samples of this run cannot be read ({error}); its numbers are shown")
        return record
    return dataclasses.replace(record, samples=samples) if isinstance(samples, dict) else record
