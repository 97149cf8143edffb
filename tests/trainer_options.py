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
        {**TARS, "dataset-type": FLAIR_TYPES, "train-dataset-type": FLAIR_TYPES},
    ),
    "COSMOS": (
        "src/training/params.py",
        {
            **TARS,
            "dataset-type": FLAIR_TYPES,
            "caption-sampling-mode": ("raw", "random", "short", "long", "textcrop"),
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
    "β-CLIP": ("main_clip_ft.py", {"metadata": str, "root": str}),
    "Monkey": ("finetune_multitask.py, DataArguments", {"data_path": str}),
    "CE-CLIP": ("src/training/params.py", {"train-data": str, "dataset-type": (*OPEN_CLIP_TYPES, "npy")}),
    "Structure-CLIP": ("model/train.py", {"train_path": str}),
    "MAKE": (
        "src/open_clip_train/params.py",
        {"train-data": str, "csv-img-key": str, "csv-caption-key": str, "MKCL": bool, "subcaptions": bool},
    ),
    "GIST": (
        "contrastive_training_clip.py",
        {"metadata": str, "captions_file": str, "num_captions": int, "image_folder": str, "output_file": str},
    ),
    "AdaptCLIPZS": ("finetune_clip.py", {"text_dir": str}),
    "Maya": ("llava/train/train.py, DataArguments", {"data_path": str, "image_folder": str}),
}
"""The documented options by program, with their file: a type, the allowed values, or a list of values of a type."""
