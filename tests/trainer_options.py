"""The options that trainers document for what an export writes. What a release on PyPI has is read from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TARS = {"train-data": str, "train-num-samples": int}
OPEN_CLIP_TYPES = ("webdataset", "csv", "synthetic", "auto")
FLAIR_TYPES = (*OPEN_CLIP_TYPES, "coco", "flickr")
OPTIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "FLAIR": (
        "src/flair/params.py",
        {
            **TARS,
            "dataset-type": FLAIR_TYPES,
            "train-dataset-type": FLAIR_TYPES,
            "caption-sampling-mode": (
                *("only_raw_caption", "raw_and_random", "random", "short", "dreamlip", "short-long-mixed-random"),
                "diverse_sampling",
            ),
        },
    ),
    "COSMOS": (
        "src/training/params.py",
        {
            **TARS,
            "dataset-type": FLAIR_TYPES,
            "caption-sampling-mode": (
                *("raw", "raw_pixelprose", "random", "random_pixelprose", "short", "long"),
                *("textcrop", "textcrop_pixelprose"),
            ),
        },
    ),
    "DreamLIP": (
        "training/params.py",
        {**TARS, "dataset-type": (*OPEN_CLIP_TYPES, "json", "txt"), "use_longcap": bool, "root_filename": str},
    ),
    "open_clip (main": (
        "src/open_clip_train/params.py",
        {**TARS, "dataset-type": OPEN_CLIP_TYPES, "json-text-key": str, "json-text-key-probs": [float]},
    ),
    "LLaVA": ("llava/train/train.py, DataArguments", {"data_path": str, "image_folder": str}),
    "FG-CLIP 2": (
        "fgclip2/train/train_fgclip2.py, DataArguments",
        {
            **{"data_path": str, "image_folder": str, "cn_pair_root": str, "cn_image_root": str},
            "cn_and_en_2_train": ("True", "False"),
            **{"add_box_loss": ("True", "False"), "use_hard_neg": ("True", "False")},
        },
    ),
    "FG-CLIP (": (
        "fgclip2/train/train_fgclip2.py, DataArguments",
        {"data_path": str, "image_folder": str, "add_box_loss": ("True", "False"), "use_hard_neg": ("True", "False")},
    ),
    "GOAL": ("goal_loss_finetuning.py", {"dataset": str, "model": str, "output_dir": str}),
    "β-CLIP": (
        "main_clip_ft.py",
        {
            "dataset": (
                "cc3m+datacomp@0.2,0.8",
                "yfcc15m",
                "cc3m",
                "cc12m",
                "coco",
                "redcaps",
                "datacomp",
                "sharegpt4v",
            ),
            **{"metadata": str, "root": str, "use-text-conditioned-patches": bool, "use-text-concepts": bool},
        },
    ),
    "Monkey": ("finetune_multitask.py, DataArguments", {"data_path": str}),
    "CE-CLIP": (
        "src/training/params.py",
        {"train-data": str, "dataset-type": (*OPEN_CLIP_TYPES, "npy", "huggingface", "json")},
    ),
    "Structure-CLIP": ("model/utils.py", {"train_path": str, "test_path": str, "name": str, "project": str}),
    "MAKE": (
        "src/open_clip_train/params.py",
        {"train-data": str, "csv-img-key": str, "csv-caption-key": str, "MKCL": bool, "subcaptions": bool},
    ),
    "GIST": (
        "contrastive_training_clip.py",
        {"metadata": str, "captions_file": str, "num_captions": int, "image_folder": str, "output_file": str},
    ),
    "AdaptCLIPZS": (
        "finetune_clip.py",
        {
            "dataset": (
                *("StanfordCars", "FGVCAircraft", "Food101", "ImageNet", "EuroSAT", "DTD", "Sun397", "UCF101"),
                *("CalTech101", "OxfordIIITPets"),
            ),
            **{"im_dir": str, "json_file": str, "save_dir": str, "text_dir": str},
        },
    ),
    "Maya": ("llava/train/train.py, DataArguments", {"data_path": str, "image_folder": str}),
}
"""The documented options by program, with their file: a type, the allowed values, or a list of values of a type."""
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "AdaptCLIPZS": ("im_dir", "json_file"),
    "Structure-CLIP": ("name", "test_path"),
    "GIST": ("output_file",),
}
"""Options without which a program ends, or loses what it trained."""
