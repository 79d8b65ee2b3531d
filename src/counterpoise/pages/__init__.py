"""Shared parts of all pages: colours, the style sheet, and the frame around the content. It does not import torch."""

from counterpoise.pages._templates import page_css, templates

__all__ = ["page_css", "templates"]
