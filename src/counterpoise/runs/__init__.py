"""Records of finished runs: typed rows, metrics and curves, stored as JSON. Importing it needs no torch."""

from counterpoise.runs._files import SAMPLES, read_records, write_records
from counterpoise.runs._metrics import Curve, CurveId, CurveKind, Metric, MetricId, corrupted_means, split_key
from counterpoise.runs._record import RunRecord
from counterpoise.runs._rows import RowId

__all__ = [
    "SAMPLES",
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
