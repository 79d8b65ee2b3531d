"""Published lists of classes."""

from typing import Final

__all__ = ["KINETICS_SOUNDS", "KINETICS_SOUNDS_ARM"]

KINETICS_SOUNDS: Final = (
    "blowing_nose",
    "blowing_out_candles",
    "bowling",
    "chopping_wood",
    "dribbling_basketball",
    "laughing",
    "mowing_lawn",
    "playing_accordion",
    "playing_bagpipes",
    "playing_bass_guitar",
    "playing_clarinet",
    "playing_drums",
    "playing_guitar",
    "playing_harmonica",
    "playing_keyboard",
    "playing_organ",
    "playing_piano",
    "playing_saxophone",
    "playing_trombone",
    "playing_trumpet",
    "playing_violin",
    "playing_xylophone",
    "ripping_paper",
    "shoveling_snow",
    "shuffling_cards",
    "singing",
    "stomping_grapes",
    "tap_dancing",
    "tapping_guitar",
    "tapping_pen",
    "tickling",
)
"""The 31 classes of the public lists (OGM-GE, BML, InfoReg, ARL)."""
KINETICS_SOUNDS_ARM: Final = tuple(sorted({*KINETICS_SOUNDS, "finger_snapping"} - {"stomping_grapes"}))
"""The 31 classes of ARM's list: with finger_snapping, without stomping_grapes, so that ids from 5 on are shifted."""
