"""The arguments that an export prints are taken by the programs that they are for.

Those of open_clip are parsed by its releases; the others by parsers with the options that the program documents.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exported_tables import full_tables
from trainer_options import OPTIONS

from recaption.export import MODULES, beta_clip, sharegpt4v, tars
from recaption.export.rows import PLACE

WITHOUT_TRAINER = {
    "recap",
    "pixelprose",
    "mllms_augmented",
    "grain",
    "cocu",
    "imagefolder",
    "coco",
    "txt",
    "sa_co",
    "openvision",
}
"""Formats of datasets: no program that trains from them documents arguments, or it reads a configuration file."""
PATHS = ("train_data", "data_path", "metadata", "train_path", "text_dir", "dataset")
"""Options with the data."""
MAPS = {"make": {"visual_concept_caption": "look", "ontology_caption": "diagnosis"}}
TYPES = {"dreamlip": "csv", "ce_clip": "npy"}


def documented(program: str) -> Callable[[list[str]], argparse.Namespace]:
    parser = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for name, kind in OPTIONS[program][1].items():
        if kind is bool:
            parser.add_argument(f"--{name}", action="store_true")
        elif isinstance(kind, tuple):
            parser.add_argument(f"--{name}", choices=kind)
        elif isinstance(kind, list):
            parser.add_argument(f"--{name}", type=kind[0], nargs="+")
        else:
            parser.add_argument(f"--{name}", type=kind)
    return parser.parse_args


def open_clip_release(folder: Path) -> Callable[[list[str]], argparse.Namespace]:
    file = folder / "open_clip_train" / "params.py"
    spec = importlib.util.spec_from_file_location("open_clip_params", file)
    assert spec and spec.loader, f"{file} is missing: run `make setup`"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    parse: Callable[[list[str]], argparse.Namespace] = module.parse_args
    return parse


def parsers(program: str) -> list[Callable[[list[str]], argparse.Namespace]]:
    """All parsers of a program: of its oldest and newest release, or the one of its documented options."""
    if program.startswith("open_clip (3.2"):
        import open_clip_train

        newest = Path(str(open_clip_train.__file__)).parents[1]
        return [open_clip_release(folder) for folder in (newest, Path(sys.prefix) / "compat/open_clip_torch-3.2.0")]
    return [documented(name) for name in OPTIONS if program.startswith(name)]


def tars_of(pattern: str) -> list[str]:
    """The files of a pattern with one range, as webdataset expands it."""
    found = re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*)", pattern)
    if found is None:
        return [pattern]
    before, first, last, after = found.groups()
    return [f"{before}{number:0{len(first)}}{after}" for number in range(int(first), int(last) + 1)]


@pytest.mark.parametrize("name", MODULES)
def test_its_arguments_are_taken_and_name_the_files(
    name: str, build: Any, plain: Any, exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tars, "PER_TAR", 4)
    for module in (sharegpt4v, beta_clip):
        monkeypatch.setattr(module, "LAYOUT", replace(module.LAYOUT, least=1))
    kinds = {"short": "short", "long": "long", "long_zh": "long", "short_zh": "short"}
    rows = [{**plain, "long_zh": "风筝。", "short_zh": "风筝"}] * 12
    dataset = build(rows, kinds=kinds, langs={"long_zh": "zh", "short_zh": "zh"}, tables=full_tables())
    _, done = exported(name, dataset, map=MAPS.get(name, {}))
    assert bool(done.usage) != (name in WITHOUT_TRAINER)
    printed = [*done.notes, *(usage.arguments for usage in done.usage)]
    assert not any(PLACE in text for text in printed), "the folder of the images is not named"
    assert any("FOLDER" in text for text in printed) == any("FOLDER is the folder" in text for text in printed)
    for usage in done.usage:
        found = parsers(usage.program)
        assert found, f"no parser for {usage.program}"
        for parse in found:
            taken = vars(parse(shlex.split(usage.arguments)))
            files = tars_of(next(taken[option] for option in PATHS if option in taken))
            assert files and all(Path(file).exists() for file in files)
            assert taken.get("train_num_samples") in {None, done.samples}
            kind = taken.get("train_dataset_type") or taken.get("dataset_type")  # FLAIR has both and uses the first
            assert kind in {None, TYPES.get(name, "webdataset")}


def test_the_releases_of_open_clip_do_not_know_the_options_of_main(build: Any, plain: Any, exported: Any) -> None:
    _, done = exported("open_clip", build([plain] * 4))
    main, release = done.usage
    for parse in parsers(release.program):
        with pytest.raises(SystemExit):
            parse(shlex.split(main.arguments))


@pytest.mark.parametrize("program", OPTIONS)
def test_the_documented_options_refuse_others(program: str) -> None:
    for arguments in (["--no-such-option", "1"], ["--train-num-samples", "many"]):
        with pytest.raises((argparse.ArgumentError, SystemExit)):
            documented(program)(arguments)
