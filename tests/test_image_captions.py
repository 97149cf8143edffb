from __future__ import annotations

import pytest
from image_captions import Score, add, certainty, entries


def test_labels_name_sub_captions_of_the_image_and_repeats_earlier_ones() -> None:
    found = entries()
    assert {entry["part"] for entry in found} == {"dev", "train", "heldout"}
    assert len({caption["sha256"] for entry in found for caption in entry["captions"]}) > 500
    for entry in found:
        count = sum(len(caption["spans"]) for caption in entry["captions"])
        for labels in entry["readers"]:
            for number, given in labels.items():
                assert 0 <= int(number) < count
                for label in given:
                    assert label in ("M", "m") or (label[0] in "Rr" and 0 <= int(label[1:]) < int(number)), entry


@pytest.mark.parametrize(
    ("readers", "letter", "certain"),
    [
        ([{"3": ["R1"]}, {"3": ["r1", "M"]}], "R", 0.75),
        ([{"3": ["R1"]}, {}], "R", 0.5),
        ([{"3": ["R1"]}, {"3": ["r1", "M"]}], "M", 0.5),
        ([{"2": ["M"]}], "M", 0.0),
    ],
)
def test_the_certainty_of_a_label_is_the_mean_of_its_readers(
    readers: list[dict[str, list[str]]], letter: str, certain: float
) -> None:
    assert certainty(readers, 3, letter) == certain


def test_debatable_cases_are_neither_right_nor_to_be_found() -> None:
    score = Score()
    for certain, flagged in ((1.0, True), (0.5, True), (0.0, True), (1.0, False), (0.5, False)):
        add(score, certain, flagged)
    assert str(score) == "precision 1/3, without debatable 1/2, recall 1/2"
