"""Inputs that are larger than the memory allowed for them are not held all at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHILD = """
import resource
import torch
from counterpoise import diagnose

torch.set_num_threads(1)

def batches(samples, size=112, count=20):
    for start in range(0, samples, count):
        g = torch.Generator().manual_seed(start)
        label = torch.randint(2, (count,), generator=g)
        image = (torch.rand(count, 3, 1, 1, generator=g) + label[:, None, None, None]).repeat(1, 1, size, size)
        yield {"left": image, "right": image.flip(0)}, label

def model(left, right):
    score = left[:, :, 0, 0].mean(1) - 1
    return torch.stack([-score, score], 1)

peaks = []
for samples in (400, 1200):
    diagnosis = diagnose(model, batches(samples), damage=False, background_size=1, batch_size=20)
    assert diagnosis.clean["accuracy"] > 0.9 and diagnosis.gallery
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
print(*peaks)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss depends on the system")
def test_the_peak_of_a_diagnosis_hardly_grows_with_the_number_of_samples() -> None:
    """800 more samples are 241 MB of inputs."""
    output = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True).stdout
    first, second = map(int, output.split())
    assert second - first < 80
