"""What programs do with the arguments that an export prints, from the command line to the last sample that they read.

The arguments are parsed by open_clip's releases, and else by parsers with the options that a program documents
(`trainer_options`). Then all samples are read as the program reads them (`trainers`), with the images that they name.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import trainers
from PIL import Image
from trainer_options import OPTIONS, REQUIRED

DOCUMENT = Path(__file__).parent.parent / "docs" / "training.md"
Taken = Mapping[str, Any]


def documented(program: str, required: bool = False) -> Callable[[list[str]], argparse.Namespace]:
    """A parser with the documented options; `required`: those that the program needs must be there."""
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for name, kind in OPTIONS[program][1].items():
        more: dict[str, Any] = {"type": kind}
        if kind is bool:
            more = {"action": "store_true"}
        elif isinstance(kind, tuple):
            more = {"choices": kind}
        elif isinstance(kind, list):
            more = {"type": kind[0], "nargs": "+"}
        if required and name in REQUIRED.get(program, ()):
            more["required"] = True
        parser.add_argument(f"--{name}", **more)
    return parser.parse_args


@cache
def open_clip_release(folder: Path) -> Callable[[list[str]], argparse.Namespace]:
    file = folder / "open_clip_train" / "params.py"
    assert file.is_file(), f"{file} is missing: run `make setup`"
    spec = importlib.util.spec_from_file_location("open_clip_params", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    parse: Callable[[list[str]], argparse.Namespace] = module.parse_args
    return parse


def open_clip_folders() -> list[Path]:
    """The folders of the newest and the oldest release of open_clip."""
    import open_clip_train

    return [Path(str(open_clip_train.__file__)).parents[1], Path(sys.prefix) / "compat/open_clip_torch-3.2.0"]


def parsers(program: str, required: bool = False) -> list[Callable[[list[str]], argparse.Namespace]]:
    """All parsers of a program: of its oldest and newest release, or the one of its documented options."""
    if program.startswith("open_clip (3.2"):
        return [open_clip_release(folder) for folder in open_clip_folders()]
    return [documented(name, required) for name in OPTIONS if program.startswith(name)]


@cache
def starts() -> dict[str, tuple[str, str]]:
    """The start command of each format, with the options that a user adds: the table in docs/training.md."""
    table = DOCUMENT.read_text("utf-8").partition("| export | start command")[2].partition("\n\n")[0]
    found = {}
    for line in table.splitlines()[2:]:
        formats, command = line.strip("| ").split(" | ")
        shown = re.findall(r"`([^`]+)`", command)
        values = {"--dataset": "StanfordCars"}
        more = " ".join(f"{option} {values.get(option, 'mine')}" for option in shown[1:] if option.startswith("--"))
        found.update({name: (shown[0], more) for name in re.findall(r"`(\w+)`", formats)})
    return found


def call(line: str, folder: Path, bin: Path) -> list[str]:
    """Run a line in a shell, in `folder`, and return the words that the program got."""
    bin.mkdir(exist_ok=True)
    said = bin / "words"
    for name in ("torchrun", "deepspeed", "python"):
        if not (bin / name).exists():
            (bin / name).write_text(f"#!/bin/sh\nprintf '%s\\0' {name} \"$@\" > {str(said)!r}\n")
            (bin / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin}:/usr/bin:/bin"}
    command = ["bash", "-ec", line]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    words = said.read_text().split("\0")[:-1]
    said.unlink()
    return words


def tars_of(pattern: str) -> list[str]:
    """The files of a pattern with one range, as webdataset expands it."""
    found = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*)", pattern)
    if found is None:
        return [pattern]
    before, first, last, after = found.groups()
    return [f"{before}{number:0{len(first)}}{after}" for number in range(int(first), int(last) + 1)]


def _tars(taken: Taken, draw: Callable[[dict[str, Any]], object]) -> int:
    """Samples of the tars. `draw` returns the texts of a sample."""
    files = [Path(file) for file in tars_of(taken["train_data"])]
    assert all(file.is_file() for file in files) and len({file.parent for file in files}) == 1
    samples = [s for s in trainers.tar_samples(files[0].parent) if s["__tar__"] in {file.name for file in files}]
    assert all(draw(sample) for sample in samples)
    assert len(samples) == taken["train_num_samples"]
    return len(samples)


def opened(paths: Iterable[str | Path], folder: Path | None) -> None:
    """Open the images as they are named, from `folder`; None: there are none yet."""
    for path in paths if folder is not None else ():
        with Image.open(folder / path) as image:  # type: ignore[operator]
            image.convert("RGB")


def _flair(taken: Taken, folder: Path | None) -> int:
    if taken["train_dataset_type"] != "webdataset":
        raise ValueError(f"Unsupported training dataset type: {taken['train_dataset_type']}")
    if taken["caption_sampling_mode"] != "diverse_sampling":  # sample_dict
        raise NotImplementedError("Please select a valid sampling method")
    return _tars(taken, lambda sample: trainers.flair(sample, random.Random(0)))


def _cosmos(taken: Taken, folder: Path | None) -> int:
    assert taken["dataset_type"] == "webdataset"
    return _tars(taken, lambda sample: trainers.cosmos(sample, taken["caption_sampling_mode"], random.Random(0)))


def _open_clip(taken: Taken, folder: Path | None) -> int:
    assert taken["dataset_type"] == "webdataset"
    keys = (taken.get("json_text_key") or "").split(";")
    if keys == [""]:
        return _tars(taken, lambda sample: sample["txt"].decode().strip())
    weights = taken["json_text_key_probs"]
    return _tars(taken, lambda sample: trainers.open_clip(sample, keys, weights, random.Random(0)))


def _dreamlip(taken: Taken, folder: Path | None) -> int:
    assert taken["dataset_type"] == "csv" and taken["use_longcap"]
    rows = trainers.dreamlip(Path(taken["train_data"]), random.Random(0))
    opened((Path(taken["root_filename"]) / image for image, _ in rows), folder)
    return len(rows)


def _llava(taken: Taken, folder: Path | None) -> int:
    rows = trainers.llava(Path(taken["data_path"]))
    opened((Path(taken["image_folder"]) / image for image, _, _ in rows), folder)
    return len(rows)


def _maya(taken: Taken, folder: Path | None) -> int:
    rows = trainers.maya(Path(taken["data_path"]))
    files = Path(taken["data_path"]).glob("*.json")
    images = [row["image"] for file in files for row in json.loads(file.read_text("utf-8"))]
    opened((Path(taken["image_folder"]) / image for image in images), folder)
    return len({*images}) if rows else 0


def _fg_clip(taken: Taken, folder: Path | None) -> int:
    boxes, negatives = (taken[name] == "True" for name in ("add_box_loss", "use_hard_neg"))
    rows = trainers.fg_clip(Path(taken["data_path"]), random.Random(0), boxes=boxes, negatives=negatives)
    assert not negatives or any("hard" in row for row in rows)
    opened((Path(taken["image_folder"]) / row["image"] for row in rows), folder)
    return len(rows)


def _fgclip2(taken: Taken, folder: Path | None) -> int:
    english = Path(taken["data_path"])
    assert taken["cn_and_en_2_train"] == "True" and english.parent.name == "en"
    assert Path(taken["cn_pair_root"]) == english.parents[1] / "cn"
    samples = trainers.fgclip2(english.parents[1], random.Random(0))
    for file, root in ((english, "image_folder"), *((f, "cn_image_root") for f in english.parents[1].glob("cn/*"))):
        opened((Path(taken[root]) / row["f_path"] for row in json.loads(file.read_text("utf-8"))), folder)
    return sum(sample["group"] == "en" for sample in samples)


def _goal(taken: Taken, folder: Path | None) -> int:
    return len(trainers.goal(Path(taken["dataset"])))


def _beta_clip(taken: Taken, folder: Path | None) -> int:
    if taken["dataset"] != "sharegpt4v":
        raise ValueError("the default, yfcc15m, reads the metadata with pickle")
    path = Path(taken["metadata"])
    texts, train = trainers.sharegpt4v(path)
    opened((Path(taken["root"]) / row["image"] for row in json.loads(path.read_text("utf-8"))), folder)
    return len(texts) + len(train)


def _monkey(taken: Taken, folder: Path | None) -> int:
    pairs = trainers.monkey(Path(taken["data_path"]))
    opened((re.findall(r"<img>(.+)</img>", "".join(pair))[0] for pair in pairs), folder)
    return len(pairs)


def _ce_clip(taken: Taken, folder: Path | None) -> int:
    assert taken["dataset_type"] == "npy"
    rows = trainers.ce_clip(Path(taken["train_data"]))
    opened((image for image, _, _ in rows), folder)
    return len({image for image, _, _ in rows})


def _structure_clip(taken: Taken, folder: Path | None) -> int:
    return len(trainers.structure_clip(Path(taken["train_path"])))  # its images: see `settings`


def _make(taken: Taken, folder: Path | None) -> int:
    assert taken["MKCL"] and taken["subcaptions"]
    assert (taken["csv_img_key"], taken["csv_caption_key"]) == ("filename", "truncated_caption")
    rows = trainers.make(Path(taken["train_data"]))
    opened((row["image"] for row in rows), folder)
    return len(rows)


def _gist(taken: Taken, folder: Path | None) -> int:
    place = Path(taken["metadata"]).parent
    assert Path(taken["captions_file"]) == place / "captions_top5.json"
    pairs = trainers.gist(place, taken["image_folder"], taken["num_captions"])
    opened((image for image, _ in pairs), folder)
    return len({image for image, _ in pairs})


def _adaptclipzs(taken: Taken, folder: Path | None) -> int:
    place = Path(taken["text_dir"])
    names = [file.stem for file in place.glob("*.txt")]
    assert names and all(trainers.adaptclipzs(place, name, "a photo of a {}") for name in names)
    return len(names)


READERS: Mapping[str, Callable[[Taken, Path | None], int]] = {
    "FLAIR": _flair,
    "COSMOS": _cosmos,
    "DreamLIP": _dreamlip,
    "open_clip": _open_clip,
    "LLaVA": _llava,
    "Maya": _maya,
    "FG-CLIP 2": _fgclip2,
    "FG-CLIP": _fg_clip,
    "GOAL": _goal,
    "β-CLIP": _beta_clip,
    "Monkey": _monkey,
    "CE-CLIP": _ce_clip,
    "Structure-CLIP": _structure_clip,
    "MAKE": _make,
    "GIST": _gist,
    "AdaptCLIPZS": _adaptclipzs,
}
"""Each returns the number of samples that the program reads with these options. With a folder, where the program
starts, images are opened, too."""


def reader(program: str) -> Callable[[Taken, Path | None], int]:
    """The reader of a program, by the longest name that its line begins with."""
    names = [name for name in READERS if program.startswith(name)]
    assert names, f"no reader for {program!r}: add it to READERS in {Path(__file__).name}"
    return READERS[max(names, key=len)]


def _long_clip(found: re.Match[str], folder: Path | None) -> None:
    root, name, images = found.groups()
    texts, train = trainers.sharegpt4v(Path(root + name))  # data4v_root + json_name
    rows = json.loads(Path(root + name).read_text("utf-8"))
    assert len(texts) + len(train) == len(rows) > 0
    opened((images + row["image"] for row in rows), folder)


def _structure_images(found: re.Match[str], folder: Path | None) -> None:
    rows = json.loads((Path(found.string.split("\n")[0]) / "train_adjchange.json").read_text("utf-8"))
    opened((found[1] + row["image_path"] for row in rows), folder)


def _openvision(found: re.Match[str], folder: Path | None) -> None:
    name, split, place = found.groups()
    info = json.loads((Path(place) / "dataset_info.json").read_bytes())
    assert (info["name"], [one["name"] for one in info["splits"]]) == (name, [split])
    assert trainers.openvision(Path(place))


def _openvision2(found: re.Match[str], folder: Path | None) -> None:
    features = json.loads((Path(found.string.split("\n")[0]) / "features.json").read_bytes())
    assert found[1] in features["featuresDict"]["features"]


def _grain(found: re.Match[str], folder: Path | None) -> None:
    assert trainers.grain(Path(found[1]), random.Random(0))
    rows = (Path(found[1]) / "captions_pooled.csv").read_text("utf-8").splitlines()
    opened((Path(found[2]) / row.partition(",")[0] for row in rows), folder)


def _mllms_augmented(found: re.Match[str], folder: Path | None) -> None:
    for file in Path(found.string.split("\n")[0]).glob("*.json"):
        opened((Path(found[1]) / row["image"] for row in json.loads(file.read_text("utf-8"))), folder)


def _sd_scripts(found: re.Match[str], folder: Path | None) -> None:
    images = [*Path(found[1]).glob("*.jpg")]
    assert images and all(image.with_suffix(found[2]).read_text("utf-8").strip() for image in images)
    opened(images, Path("/"))


def _own_tars(found: re.Match[str], folder: Path | None) -> None:
    samples = trainers.tar_samples(Path(found[1]))
    assert samples and all(json.loads(s["json"])["caption_long"] and s["txt"] and s["jpg"] for s in samples)


def _start_in_the_folder(found: re.Match[str], folder: Path | None) -> None:
    rows = np.load(next(Path(found.string.split("\n")[0]).glob("*.npy")), allow_pickle=True).tolist()
    if folder is not None:
        opened((row["image_path"] for row in rows), folder / "FOLDER")


def _concepts(found: re.Match[str], folder: Path | None) -> None:
    """trainers.beta_clip reads with it."""
    (parse,) = parsers("β-CLIP")
    taken = parse(found[1].split())
    assert taken.use_text_concepts and taken.use_text_conditioned_patches


def _nothing(found: re.Match[str], folder: Path | None) -> None:
    """The line reports; it asks for nothing."""


SETTINGS: Mapping[str, Callable[[re.Match[str], Path | None], None]] = {
    r"[\d,]+ samples? in [\d,]+ files? → .+": _nothing,
    r"left out: .+": _nothing,
    r"texts: .+": _nothing,
    r"openers removed: .+": _nothing,
    r"phrases with boxes: .+": _nothing,
    r"the first 1,000 rows are the validation set": _nothing,
    r"samples without a (raw caption|sentence in the seven lists): .+": _nothing,
    r"samples with both Chinese captions: [\d,]+ of [\d,]+": _nothing,
    r"tars: .+; --samples-per-shard sets the size of a tar": _nothing,  # the options of messages: test_printed_commands
    r"(?:FOLDER is the folder with|DEST is without) the unpacked images, KEY.jpg; --images jpg writes them": _nothing,
    r"\S+ is without the images, KEY.jpg: unpack them there, or use --images jpg": _nothing,
    r"in datasets.py, set load_concepts=True; .+ with the options (--.+), which .+": _concepts,
    r"Long-CLIP, HiMo-CLIP: in train/sharegpt4v.py, set data4v_root to (\S+), json_name to (\S+), "
    r"image_root to (\S+)": _long_clip,
    r"in model/dataloader_downstream.py, replace /root/data/coco_data/ by (\S+)": _structure_images,
    r"OpenVision: in config.input.data, set name to (\w+), split to (\w+), data_dir to (\S+)": _openvision,
    r"OpenVision 2: the same, and txt_key=(\w+)": _openvision2,
    r"set data_dir to (\S+); the paths are below (\S+)": _grain,
    r"image is a path below (\S+)": _mllms_augmented,
    r"sd-scripts: in a \[\[datasets.subsets\]\] of its --dataset_config, set image_dir to (\S+) and caption_extension "
    r"to (\S+)": _sd_scripts,
    r"the build's own tars have the same fields and can be used, too: (\S+)": _own_tars,
    r"image_path is KEY.jpg: start the training in the folder of the images, or use --images jpg": _start_in_the_folder,
}
"""The other lines that an export prints, as patterns, and what a trainer does with the settings that they name."""


def follow(line: str, dest: Path, folder: Path | None) -> None:
    """Do what a line asks for. Raises AssertionError for a line that no pattern describes."""
    for pattern, check in SETTINGS.items():
        found = re.fullmatch(rf"(?:.*\n)?{pattern}", f"{dest}\n{line}")
        if found is not None:
            check(found, folder)
            return
    raise AssertionError(f"nothing runs what this line offers: {line!r}. Add it to SETTINGS in {Path(__file__).name}")
