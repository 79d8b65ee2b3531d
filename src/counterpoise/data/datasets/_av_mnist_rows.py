"""Rows of AV-MNIST. Importing it needs no torch."""

from __future__ import annotations

import dataclasses

from counterpoise.data.datasets._entry import DataEntry, fit_recipe

__all__ = ["av_mnist_rows"]


def av_mnist_rows() -> list[DataEntry]:
    """Return the variants of AV-MNIST."""
    rows = []
    for speakers in (False, True):
        for weak_image in (False, True):
            for babble in (False, True):
                flags = {"speakers": speakers, "weak-image": weak_image, "babble": babble}
                words = {
                    "speakers": "test speakers never heard in training",
                    "weak-image": "75 % of the image energy removed",
                    "babble": "four other recordings at -6 to 0 dB behind every test digit",
                }
                rows.append(
                    DataEntry(
                        "-".join(["av-mnist", *(flag for flag, on in flags.items() if on)]),
                        "counterpoise.data.datasets._av_mnist:av_mnist",
                        "; ".join(
                            ["written and spoken digits, paired by digit", *(words[f] for f in flags if flags[f])]
                        ),
                        "Vielzeuf et al. 2018 (arXiv 1808.07275)",
                        modalities="image 28x28, audio log-mel 32x32",
                        files=(
                            "mnist/train-images-idx3-ubyte.gz",
                            "mnist/train-labels-idx1-ubyte.gz",
                            "mnist/t10k-images-idx3-ubyte.gz",
                            "mnist/t10k-labels-idx1-ubyte.gz",
                            "free-spoken-digit-dataset/recordings.zip",
                        ),
                        options={
                            "speakers": speakers,
                            "weak_image": weak_image,
                            "babble": "test" if babble else "none",
                        },
                        terms="CC BY-SA (MNIST 3.0, FSDD 4.0)",
                        recipe=fit_recipe(8, width=32),
                        version=2 if babble else 1,
                    )
                )
    full = dataclasses.replace(
        rows[0],
        name="av-mnist-full",
        summary=f"{rows[0].summary}; the published size, 55,000 / 5,000 / 10,000 pairs",
        options={**rows[0].options, "sizes": (55000, 5000, 10000)},
        recipe=fit_recipe(4, width=32),
    )
    return [*rows, full]
