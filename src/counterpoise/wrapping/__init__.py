"""Methods on an unchanged model: `wrap` names the encoders inside any module.

The module is not rebuilt. Its named submodules are the encoders, the rest of the module is the fusion, and one linear
head per modality is added. Every method that needs no special fusion then trains the module itself.
"""

from counterpoise.wrapping._model import WrappedModel, wrap

__all__ = ["WrappedModel", "wrap"]
