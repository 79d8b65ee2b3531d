"""Samples to inspect, as plain data: pictures of the inputs, the predictions, and the HTML that shows both.

A gallery is JSON: `picture` makes small views of single samples (image, spectrogram, sound, frames, words, traces,
bars), `Gallery.read` checks what a file holds before a page shows it, and `render` writes the HTML. Torch-free.
"""

from counterpoise.gallery._cards import Gallery, ModalityPrediction, ModalityView, SampleCard
from counterpoise.gallery._html import css, render
from counterpoise.gallery._pictures import Described, caption, picture

__all__ = [
    "Described",
    "Gallery",
    "ModalityPrediction",
    "ModalityView",
    "SampleCard",
    "caption",
    "css",
    "picture",
    "render",
]
