"""Conversion of arrays and tables of the user: features as floats, labels, and the task.

pandas, SciPy and torch are not imported here; their objects are recognised by their attributes.
"""

from counterpoise._arrays._copies import find_copies
from counterpoise._arrays._features import as_matrix
from counterpoise._arrays._labels import TaskGuess, as_labels, guess_task
from counterpoise._arrays._numpy import as_numpy, missing_entries
from counterpoise._arrays._pairing import check_index, named_arrays

__all__ = [
    "TaskGuess",
    "as_labels",
    "as_matrix",
    "as_numpy",
    "check_index",
    "find_copies",
    "guess_task",
    "missing_entries",
    "named_arrays",
]
