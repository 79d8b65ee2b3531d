"""Methods on a model that stays as it is: `wrap` names the encoders inside any module.

The module is not rebuilt. Its named submodules are the encoders, what comes after them is the fusion, and one linear
head per modality is added, so that every method that needs no fusion of its own trains the module itself.
"""

from counterpoise.wrapping._model import WrappedModel, wrap

__all__ = ["WrappedModel", "wrap"]
