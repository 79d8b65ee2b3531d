"""Preparation of raw files: conversion of videos, sounds, images, texts and features to arrays, with a report of all
faults.
"""

from counterpoise.data.preparation._doctor import check_folder
from counterpoise.data.preparation._engine import Report, prepare_index
from counterpoise.data.preparation._findings import KINDS, Finding, UnreadableError, summary, to_csv
from counterpoise.data.preparation._flow import optical_flow, quantise
from counterpoise.data.preparation._index import Index, Item, Settings, check_index
from counterpoise.data.preparation._media import read_audio, read_frames
from counterpoise.data.preparation._numbers import ArrayFile, Numbers, Padded
from counterpoise.data.preparation._reader import Reader
from counterpoise.data.preparation._readers import Flow, Frames, Image, Sound
from counterpoise.data.preparation._result import FINDINGS, MANIFEST, check_prepared
from counterpoise.data.preparation._sound import RECIPES, SoundRecipe, sound_features
from counterpoise.data.preparation._texts import Text, swap_padding

__all__ = [
    "FINDINGS",
    "KINDS",
    "MANIFEST",
    "RECIPES",
    "ArrayFile",
    "Finding",
    "Flow",
    "Frames",
    "Image",
    "Index",
    "Item",
    "Numbers",
    "Padded",
    "Reader",
    "Report",
    "Settings",
    "Sound",
    "SoundRecipe",
    "Text",
    "UnreadableError",
    "check_folder",
    "check_index",
    "check_prepared",
    "optical_flow",
    "prepare_index",
    "quantise",
    "read_audio",
    "read_frames",
    "sound_features",
    "summary",
    "swap_padding",
    "to_csv",
]
