"""What is at a path, on a local disk and on an object store; and which build is published."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from recaption.errors import ConfigError, DatasetError, UserError
from recaption.io.store import ObjectStore, open_store
from recaption.output.locate import current_build, find_build, locate


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An output with a finished build `one`, an unfinished one and no published one."""
    url = str(tmp_path / "out") if request.param == "local" else f"memory://{uuid.uuid4().hex}/out"
    store = open_store(url)
    for path in ("builds/one/manifest.json", "builds/half/data/00000.tar", "index/00000.parquet", "pipeline.yaml"):
        store.put(path, b"{}")
    return url


def publish(url: str, target: str) -> None:
    store = open_store(url)
    if isinstance(store, ObjectStore):
        store.put("CURRENT", f"{target}\n".encode())
    else:
        (Path(url) / "dataset").unlink(missing_ok=True)
        (Path(url) / "dataset").symlink_to(target)


def urls(path: str) -> tuple[str, str | None, str | None]:
    found = locate(path)
    return found.kind, found.out and found.out.url, found.build and found.build.url


def test_an_output_has_its_published_build(url: str) -> None:
    assert urls(url) == ("output", url, None)
    publish(url, "builds/one")
    assert urls(url) == ("output", url, f"{url}/builds/one")
    publish(url, "builds/half")
    assert urls(url) == ("output", url, f"{url}/builds/half"), "the callers check the manifest"
    assert current_build(open_store(url)) == "half"


def test_a_build_has_its_output(url: str) -> None:
    publish(url, "builds/one")
    for path in ("builds/one", "builds/half", "builds/one/"):
        assert urls(f"{url}/{path}") == ("build", url, f"{url}/{path.rstrip('/')}")
    kind, out, build = urls(f"{url}/dataset")
    assert (kind in ("build", "output"), out, build) == (True, url, f"{url}/builds/one")


def test_a_build_that_was_copied_has_no_output(url: str) -> None:
    copy = f"{url}-copy/some-name"
    open_store(copy).put("manifest.json", b"{}")
    assert urls(copy) == ("build", None, copy)


def test_a_copy_that_followed_the_link_is_an_output_with_a_folder_dataset(url: str) -> None:
    open_store(url).put("dataset/manifest.json", b"{}")
    assert urls(url) == ("output", url, f"{url}/dataset")
    assert urls(f"{url}/dataset") == ("build", url, f"{url}/dataset")


def test_other_folders_files_and_nothing(url: str) -> None:
    open_store(f"{url}-other").put("a/b.txt", b"")
    kinds = {"-other": "folder", "-other/a": "folder", "-other/a/b.txt": "file", "-none": "nothing"}
    assert {name: locate(f"{url}{name}").kind for name in kinds} == kinds


@pytest.mark.parametrize("target", ["elsewhere/one", "builds/..", "/etc"])
def test_a_target_outside_the_builds_is_an_error(url: str, target: str) -> None:
    publish(url, target)
    with pytest.raises(DatasetError, match="not a build of this output"):
        current_build(open_store(url))
    with pytest.raises(DatasetError, match="not a build of this output"):
        locate(url)


def test_a_local_copy_of_an_object_store_has_current(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("builds/one/manifest.json", b"{}")
    for content in (b"builds/one", b"one\n"):
        store.put("CURRENT", content)
        assert urls(str(tmp_path)) == ("output", str(tmp_path), f"{tmp_path}/builds/one")
    assert current_build(store) is None, "a run publishes with a link"
    store.put("CURRENT", b"\xff")
    with pytest.raises(DatasetError, match="is not text"):
        locate(str(tmp_path))


def test_a_local_path_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "elsewhere/b").mkdir(parents=True)
    (tmp_path / "elsewhere/b/manifest.json").write_text("{}")
    (tmp_path / "link").symlink_to("elsewhere/b")
    (tmp_path / "out/index").mkdir(parents=True)
    (tmp_path / "out/dataset").symlink_to(tmp_path / "elsewhere/b")
    real = str(tmp_path / "elsewhere/b")
    assert urls(str(tmp_path / "link")) == urls(f"file://{tmp_path}/link") == ("build", None, real)
    assert urls(str(tmp_path / "out")) == ("output", str(tmp_path / "out"), real)


def test_an_unknown_protocol_is_an_error_of_the_user() -> None:
    with pytest.raises(ConfigError, match="cannot open 'nosuch://bucket/out'"):
        locate("nosuch://bucket/out")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (lambda url: url, r"no finished build \(no build is published yet\)\. Give an output that `recaption run`"),
        (lambda url: f"{url}/index", "no dataset of recaption is in it"),
        (lambda url: f"{url}/pipeline.yaml", "it is a file"),
        (lambda url: f"{url}/none", "there is no such folder"),
    ],
)
def test_where_there_is_no_build_the_message_says_what_is_there(
    url: str, path: Callable[[str], str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        find_build(path(url))
