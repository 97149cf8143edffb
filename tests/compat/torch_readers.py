"""Readers that live on torch, in a process of their own with the webdataset that PYTHONPATH names:

    python torch_readers.py BUILD webdataset open_clip timm < TEXTS    prints a JSON object, what each reader found

TEXTS is a JSON list; open_clip's tokens of them are in the answer, so that nothing else has to import it. Written as
their users write it; images come out as `pixels_of` hashes them.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from pixels import pixels_of


def webdataset(build: Path, texts: list[str]) -> dict[str, Any]:
    import webdataset as wds

    def read(pattern: str) -> list[dict[str, Any]]:
        shards = sorted(map(str, build.glob(pattern)))
        return [
            {
                "key": sample["__key__"],
                "names": sorted(name for name in sample if not name.startswith("__")),
                "txt": sample["txt"],
                "texts": {c["generation"]: c["text"] for c in sample["json"]["captions"]},
                "flat": {
                    name: text for name, text in sample["json"].items() if "caption" in name and name != "captions"
                },
                "pixels": pixels_of(sample["jpg"]),
            }
            for sample in wds.WebDataset(shards, shardshuffle=False).decode("rgb8")
        ]

    return {"version": wds.__version__, "train": read("data/*.tar"), "val": read("data/val/*.tar")}


def open_clip(build: Path, texts: list[str]) -> dict[str, Any]:
    """`get_data` of the training script, sizes from sizes.json, the tokenizer of ViT-B-32."""
    import open_clip as clip
    import torch
    from open_clip_train.data import get_data

    tokenizer = clip.get_tokenizer("ViT-B-32")
    args = Namespace(
        dataset_type="webdataset",
        train_data=str(build / "data" / "{00000..00001}.tar"),
        val_data="::".join(sorted(map(str, build.glob("data/val/*.tar")))),
        train_num_samples=None,
        val_num_samples=None,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        imagenet_val=None,
        imagenet_v2=None,
        batch_size=1,
        workers=0,
        world_size=1,
        seed=0,
    )

    def preprocess(image: Any) -> Any:
        return torch.from_numpy(np.asarray(image).copy())

    made: dict[str, Any] = {"version": clip.__version__, "tokens": tokenizer(texts).tolist()}
    for split, info in get_data(args, (preprocess, preprocess), tokenizer=tokenizer).items():
        made[split] = [
            {"tokens": tokens.tolist(), "pixels": pixels_of(image.numpy())}
            for images, texts in info.dataloader
            for image, tokens in zip(images, texts, strict=True)
        ]
        made[f"{split}_size"] = info.dataloader.num_samples
    return made


def timm(build: Path, texts: list[str]) -> dict[str, Any]:
    """`create_dataset("wds/", …)`: the splits of _info.json; a number of the .json is the target."""
    import timm as tim
    from timm.data import create_dataset

    made: dict[str, Any] = {"version": tim.__version__}
    for split in ("train", "val"):
        dataset = create_dataset("wds/", root=str(build), split=split, is_training=False, target_key="row")
        made[split] = [{"row": target, "pixels": pixels_of(image)} for image, target in dataset]
        made[f"{split}_size"] = len(dataset)
    training = create_dataset("wds/", root=str(build), split="train", is_training=True, batch_size=1, target_key="row")
    made["training"] = sorted(target for _, target in training)
    return made


if __name__ == "__main__":
    import warnings

    warnings.simplefilter("ignore")  # of third parties, in a process of their own
    readers = {"webdataset": webdataset, "open_clip": open_clip, "timm": timm}
    given = json.load(sys.stdin)
    print(json.dumps({name: readers[name](Path(sys.argv[1]), given) for name in sys.argv[2:]}))
