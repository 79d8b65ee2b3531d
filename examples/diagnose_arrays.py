"""Measure the information of two sets of features about a label, without a model: NumPy arrays and one call.

Run it: python examples/diagnose_arrays.py
"""

import numpy as np

from counterpoise.diagnosis import diagnose_arrays


def main(n: int = 1000, seed: int = 0) -> object:
    rng = np.random.default_rng(seed)
    disease = rng.integers(3, size=n)
    features = {
        "blood": rng.normal(size=(n, 5)) + 2.0 * np.eye(3, 5)[disease],  # most informative
        "scan": rng.normal(size=(n, 5)) + 1.0 * np.eye(3, 5)[disease],  # less informative, and different
        "shoe_size": rng.normal(size=n),  # carries no information
    }
    diagnosis = diagnose_arrays(features, disease, class_names=["none", "flu", "cold"])
    print(diagnosis)
    return diagnosis


if __name__ == "__main__":
    main()
