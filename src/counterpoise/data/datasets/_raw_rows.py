"""Rows of sets that are prepared from files of the user. Importing it needs no torch."""

from __future__ import annotations

from typing import Any

from counterpoise.data.datasets._entry import DataEntry, fit_recipe

__all__ = ["raw_rows"]


_RAW = "counterpoise.data.preparation"
_CHOICES = {"_own:own": ("label", "modality", "task", "allow_outside", "strict"), "_sentiment:sentiment": ("label",)}
"""Fields of `Settings` that a builder depends on besides ``seed`` and those of its readers."""


def raw_rows() -> list[DataEntry]:
    """Return the sets of videos, photographs, texts and features."""
    clips = "audio, video"
    kinetics = (
        "my_train.txt, my_test.txt, KS_train_val.json, or <split>/<class>/<clip>.mp4; clips anywhere below: videos, or "
        "folders of frames and .npy"
    )
    mosei = ("mosei_senti_data_noalign.pkl", "mosei_senti_data.pkl", "mosei_raw.pkl", "mosei.hdf5")
    mosi = ("mosi_data_noalign.pkl", "mosi_data.pkl", "mosi_raw.pkl", "mosi.hdf5")
    rows: list[tuple[str, str, str, str, str, dict[str, Any], str]] = [
        (
            "own",
            "_own:own",
            "your own: a CSV, JSONL or Parquet with paths, texts or numbers, and a label",
            "",
            "one per column",
            {},
            "--source is the table itself",
        ),
        (
            "kinetics-sounds",
            "_audio_visual:kinetics_sounds",
            "31 sounding actions, the public lists: 14,799 / 1,320 / 2,597",
            "Arandjelovic & Zisserman, ICCV 2017",
            clips,
            {"variant": "public"},
            kinetics,
        ),
        (
            "kinetics-sounds-arm",
            "_audio_visual:kinetics_sounds",
            "the class list of ARM's authors: finger_snapping instead of stomping_grapes",
            "Gao et al., AAAI 2025",
            clips,
            {"variant": "arm"},
            "<split>/<class>/<clip>.mp4, or train.txt, val.txt (`name label`), image/<split>/<clip>/, "
            "spec/<split>/<clip>.npy",
        ),
        (
            "crema-d",
            "_audio_visual:crema_d",
            "7,442 clips of 91 actors, 6 emotions, by the lists (every actor is on both sides)",
            "Cao et al. 2014",
            clips,
            {},
            "my_train.csv, val.csv, test.csv or train.csv, test.csv; VideoFlash/*.flv, AudioWAV/*.wav",
        ),
        (
            "crema-d-actors",
            "_audio_visual:crema_d",
            "the same, and no actor is in two splits",
            "Cao et al. 2014",
            clips,
            {"by_actor": True},
            "VideoFlash/*.flv, AudioWAV/*.wav",
        ),
        (
            "ucf101",
            "_ucf:ucf101",
            "101 actions, RGB and optical flow, official split 1",
            "Soomro et al. 2012",
            "rgb, flow",
            {},
            "classInd.txt, trainlist01.txt, testlist01.txt; v_*.avi, or jpegs_256/<video>/ and "
            "tvl1_flow/{u,v}/<video>/",
        ),
        (
            "ucf51",
            "_ucf:ucf101",
            "the classes of UCF-101 whose videos have sound, RGB and audio",
            "Soomro et al. 2012",
            "rgb, audio",
            {"sounding": True, "flow": False},
            "classInd.txt, trainlist01.txt, testlist01.txt; v_*.avi",
        ),
        (
            "ucf51-flow",
            "_ucf:ucf101",
            "the same videos, RGB and optical flow",
            "Soomro et al. 2012",
            "rgb, flow",
            {"sounding": True},
            "classInd.txt, trainlist01.txt, testlist01.txt; v_*.avi",
        ),
        (
            "vggsound",
            "_audio_visual:vggsound",
            "309 classes of sounding clips",
            "Chen et al., ICASSP 2020",
            clips,
            {},
            "vggsound.csv; <id>_<start>.mp4",
        ),
        (
            "ave",
            "_audio_visual:ave",
            "28 audio-visual events, 3,339 / 402 / 402",
            "Tian et al., ECCV 2018",
            clips,
            {},
            "trainSet.txt, valSet.txt, testSet.txt; AVE/<id>.mp4",
        ),
        (
            "balanced-av",
            "_audio_visual:balanced_av",
            "clips chosen so that neither modality is easier",
            "Xia et al., CVPR 2023",
            clips,
            {},
            "a JSON with `database`; the clips: videos, or <clip>.hdf5 of frames and <clip>.pkl of sound features",
        ),
        (
            "food101",
            "_food:food101",
            "101 dishes, photograph and title of the page",
            "Wang et al., ICME Workshops 2015",
            "image, text",
            {},
            "texts/{train,test}_titles.csv, images/{train,test}/<class>/*.jpg",
        ),
        (
            "mosei",
            "_sentiment:sentiment",
            "CMU-MOSEI: sentiment of 23,000 utterances, features",
            "Zadeh et al., ACL 2018",
            "text, audio, vision",
            {"corpus": "CMU-MOSEI", "files": mosei, "expected": {"train": 16327, "test": 4659}},
            " or ".join(mosei),
        ),
        (
            "mosi",
            "_sentiment:sentiment",
            "CMU-MOSI: sentiment of 2,200 utterances, features",
            "Zadeh et al. 2016",
            "text, audio, vision",
            {"corpus": "CMU-MOSI", "files": mosi, "expected": {"train": 1284, "test": 686}},
            " or ".join(mosi),
        ),
        (
            "iemocap",
            "_sentiment:sentiment",
            "IEMOCAP: four emotions, features",
            "Busso et al. 2008",
            "text, audio, vision",
            {"corpus": "IEMOCAP", "files": ("iemocap_data_noalign.pkl", "iemocap_data.pkl", "iemocap.hdf5")},
            "iemocap_data_noalign.pkl, iemocap_data.pkl or iemocap.hdf5",
        ),
    ]
    return [
        DataEntry(
            name,
            f"{_RAW}.{target}",
            summary,
            reference,
            modalities=modalities,
            options=options,
            recipe=fit_recipe(30),
            raw=True,
            layout=layout,
            choices=("seed", *_CHOICES.get(target, ())),
        )
        for name, target, summary, reference, modalities, options, layout in rows
    ]
