"""counterpoise: measure what each modality contributes to a multimodal model, and train so that none is wasted."""

__version__ = "0.1.0"
