"""Diagnosis: what each modality contributes, what a model makes of it, and a verdict in plain words.

`diagnose` looks at a model, `diagnose_arrays` (and `diagnose_file`, `diagnose_csv`) at features without one. Verdicts are
balanced, under-trained, uninformative, overfitting, and undecided where there are too few samples.
"""

from counterpoise.diagnosis._adapt import Adapter, adapt
from counterpoise.diagnosis._arrays import diagnose_arrays, diagnose_csv, diagnose_file
from counterpoise.diagnosis._diagnose import diagnose
from counterpoise.diagnosis._diagnosis import Damage, Diagnosis
from counterpoise.diagnosis._verdicts import Evidence, Finding, Thresholds
from counterpoise.evaluation._sample_lists import ClassShare, SampleLists

__all__ = [
    "Adapter",
    "ClassShare",
    "Damage",
    "Diagnosis",
    "Evidence",
    "Finding",
    "SampleLists",
    "Thresholds",
    "adapt",
    "diagnose",
    "diagnose_arrays",
    "diagnose_csv",
    "diagnose_file",
]
