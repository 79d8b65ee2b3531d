"""Diagnosis: how much information each modality carries, how much of it a model uses, and a verdict in words.

`diagnose` examines a model, `diagnose_arrays` (and `diagnose_file`, `diagnose_csv`) features without one. Verdicts are
balanced, under-trained, uninformative, overfitting, and undecided where there are too few samples.
"""

from counterpoise.diagnosis._adapter import Adapter, adapt
from counterpoise.diagnosis._arrays import diagnose_arrays
from counterpoise.diagnosis._batches import batches_of
from counterpoise.diagnosis._diagnose import diagnose
from counterpoise.diagnosis._diagnosis import Diagnosis
from counterpoise.diagnosis._evidence import Evidence, Finding, Thresholds
from counterpoise.diagnosis._options import DiagnosisOptions
from counterpoise.diagnosis._progress import Progress
from counterpoise.diagnosis._tables import diagnose_csv, diagnose_file
from counterpoise.diagnosis._targets import split_target
from counterpoise.evaluation.sample_lists import ClassShare, SampleLists

__all__ = [
    "Adapter",
    "ClassShare",
    "Diagnosis",
    "DiagnosisOptions",
    "Evidence",
    "Finding",
    "Progress",
    "SampleLists",
    "Thresholds",
    "adapt",
    "batches_of",
    "diagnose",
    "diagnose_arrays",
    "diagnose_csv",
    "diagnose_file",
    "split_target",
]
