"""recaption.models: names become commits, and what is not available gives one clear error."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from recaption import models
from recaption.errors import ConfigError
from recaption.models import hash_folder, resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def write_model(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "x"}')
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "README.md").write_text("about")
    return folder


def cache_model(tmp_path: Path, name: str, commit: str = COMMIT) -> Path:
    """A model as huggingface_hub keeps it: refs/main -> snapshots/<commit>."""
    base = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    (base / "refs").mkdir(parents=True)
    (base / "refs" / "main").write_text(commit)
    return write_model(base / "snapshots" / commit)


def test_the_commit_of_a_folder_is_its_hash(tmp_path: Path) -> None:
    first, second = write_model(tmp_path / "a"), write_model(tmp_path / "b")
    found = resolve(str(first))
    assert found.local and found.path_or_id == str(first)
    assert found.commit.startswith("sha256:") and len(found.commit) == 7 + 64
    assert resolve(str(second)).commit == found.commit  # the place does not matter
    assert found.chat_template_sha256 == hashlib.sha256(b"{{ messages }}").hexdigest()


@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja", "model.safetensors", "extra/tokenizer.json"])
def test_every_file_of_a_model_changes_the_hash(tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path / "a")
    before = hash_folder(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"other ")
    assert hash_folder(folder) != before


def test_file_names_change_the_hash_and_a_readme_does_not(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "a")
    before = hash_folder(folder)
    (folder / "README.md").write_text("changed")
    (folder / ".hidden.json").write_text("{}")
    assert hash_folder(folder) == before
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    assert hash_folder(folder) != before


def test_hashes_of_large_files_are_cached_until_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_CACHED_FROM", 5)
    folder = write_model(tmp_path / "a")
    weights = folder / "model.safetensors"
    os.utime(weights, (1_000_000_000, 1_000_000_000))
    before = hash_folder(folder)
    memory = tmp_path / "cache" / "recaption" / "file-hashes.json"
    known = json.loads(memory.read_text())
    assert known[str(weights)][3] == hashlib.sha256(b"weights").hexdigest()
    assert str(folder / "chat_template.jinja") not in known  # changed this moment: its time proves nothing
    known[str(weights)][3] = "0" * 64
    memory.write_text(json.dumps(known))
    assert hash_folder(folder) != before  # it was not read again
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, (1_000_000_001, 1_000_000_001))
    changed = hash_folder(folder)
    weights.write_bytes(b"weights")
    assert changed != before and hash_folder(folder) == before


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", '{"a": 3}'])
def test_a_broken_cache_of_hashes_is_ignored(tmp_path: Path, content: str) -> None:
    folder = write_model(tmp_path / "a")
    before = hash_folder(folder)
    memory = tmp_path / "cache" / "recaption" / "file-hashes.json"
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(content)
    assert hash_folder(folder) == before


@pytest.mark.parametrize("place", ["chat_template.json", "tokenizer_config.json", "processor_config.json"])
def test_the_chat_template_is_found_where_older_models_keep_it(tmp_path: Path, place: str) -> None:
    folder = write_model(tmp_path / "a")
    (folder / "chat_template.jinja").unlink()
    assert resolve(str(folder)).chat_template_sha256 is None
    (folder / place).write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert resolve(str(folder)).chat_template_sha256 == hashlib.sha256(b"{{ messages }}").hexdigest()


def test_a_folder_without_a_complete_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json"):
        resolve(str(tmp_path))
    folder = write_model(tmp_path / "a")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="weights"):
        resolve(str(folder))
    (folder / "model-1.safetensors").write_bytes(b"")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match="only some of them"):
        resolve(str(folder))
    (folder / "model-2.safetensors").write_bytes(b"")
    assert resolve(str(folder)).local


def test_a_revision_of_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="revision 'main'"):
        resolve(str(write_model(tmp_path / "a")), "main")


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a b", "a/b/c", "", "~/nope"])
def test_a_name_that_is_neither_a_folder_nor_a_hub_id_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="Allowed: "):
        resolve(name)


def test_a_cached_hub_model_resolves_to_its_commit_and_snapshot(tmp_path: Path) -> None:
    snapshot = cache_model(tmp_path, "some/model")
    for revision in (None, "main", COMMIT):
        found = resolve("some/model", revision)
        assert (found.commit, found.path_or_id) == (COMMIT, str(snapshot))
        assert not found.local  # what was named is a hub id, wherever it lies
        assert found.chat_template_sha256 == hashlib.sha256(b"{{ messages }}").hexdigest()


def test_the_error_for_an_unreachable_model_advises_a_download(tmp_path: Path) -> None:
    cache_model(tmp_path, "some/model")
    for name, revision in (("some/other", None), ("some/model", "v2"), ("some/model", "f" * 40)):
        with pytest.raises(ConfigError) as caught:
            resolve(name, revision)
        message = str(caught.value)
        assert name in message and "hf download" in message and "scene" in message
        assert (revision or "") in message


def test_an_incomplete_download_is_not_used(tmp_path: Path) -> None:
    snapshot = cache_model(tmp_path, "some/model")
    (snapshot / "model.safetensors").unlink()
    (snapshot / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="only a part"):
        resolve("some/model")


def test_the_embedded_model_is_resolved() -> None:
    from recaption.demo import model_path

    if not (model_path() / "model.safetensors").is_file():
        pytest.skip("the embedded model is not built yet")
    found = resolve("scene")
    assert found.local and Path(found.path_or_id) == model_path() and found.chat_template_sha256
