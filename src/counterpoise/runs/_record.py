"""The record of a run, as an object and as a line of JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Final

from counterpoise._corruption import Corruption
from counterpoise._files import json_safe
from counterpoise.errors import DataError
from counterpoise.runs._fields import parse_fields, parse_object
from counterpoise.runs._metrics import Curve, CurveId, CurveKind, Metric, MetricId
from counterpoise.runs._old_schemas import from_keys
from counterpoise.runs._rows import RowId

SCHEMA: Final = 3


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
        fields = parse_object(line)
        schema = fields.pop("schema", 0)
        if schema in (1, 2):
            fields = from_keys(fields, schema)
        elif schema != SCHEMA:
            age = "newer than" if isinstance(schema, int) and schema > SCHEMA else "not one that is known to"
            raise DataError(
                f"This record has schema {schema!r}, which is {age} this version of counterpoise (it reads 1 to "
                f"{SCHEMA}). Update counterpoise, or train the run again."
            )
        return cls(**parse_fields(fields))


def _compact(part: Metric | Curve) -> dict[str, Any]:
    """Return a metric or curve as a dictionary without empty entries."""
    fields = dataclasses.asdict(part)
    return {k: v for k, v in fields.items() if v is not None}
