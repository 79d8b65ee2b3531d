"""Importing methods is light, and replicas of released code are loaded only when they are asked for."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("lightning", "torchmetrics", "transformers", "datasets", "pandas", "matplotlib", "plotly", "sklearn", "jinja2")


def loaded_after(code: str) -> set[str]:
    program = f"{code}\nimport sys; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_the_catalogue_can_be_read_without_torch() -> None:
    loaded = loaded_after("from counterpoise.methods.catalogue import METHODS; assert METHODS['arm'].summary")
    assert "torch" not in loaded


def test_every_method_loads_without_the_libraries_of_the_engine_and_the_report() -> None:
    loaded = loaded_after("import counterpoise.methods as m\nfor name in m.__all__: getattr(m, name)")
    assert "torch" in loaded
    assert not loaded & set(HEAVY)
    assert not [name for name in loaded if name.startswith(("counterpoise.valuation", "counterpoise.methods.replicas"))]
