"""`recaption push` uploads a build, and nothing else, through the Hub's own client to a server on loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import TOKEN, Hub, Repository, hub_server

from recaption import push as module
from recaption.cli import main
from recaption.errors import DatasetError, UserError
from recaption.push import PushError, push

OUTPUT = Path(__file__).parent / "golden" / "output"
NAME = "org/scenes"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    with hub_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # other tests set it
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server
        _http.close_session()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    made = tmp_path / "out"
    shutil.copytree(OUTPUT, made, symlinks=True)
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.mark.parametrize("build", [None, "parquet"])
def test_the_build_is_on_the_hub_and_nothing_else(
    hub: Hub, out: Path, build: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "builds" / "parquet" / ".left-over.tmp").write_text("hidden")
    assert main(["push", str(out), NAME, *(["--build", build] if build else [])]) == 0
    folder = out / "builds" / (build or (out / "dataset").resolve().name)
    wanted = {name: data for name, data in contents(folder).items() if name != ".left-over.tmp"}
    assert hub.repositories[NAME].files == wanted and not hub.repositories[NAME].private
    assert f"{len(wanted)} files" in (printed := capsys.readouterr().out) and f"{hub.url}/datasets/{NAME}" in printed


def test_a_build_by_its_folder_and_a_private_repository(hub: Hub, out: Path) -> None:
    done = push(str(out / "builds" / "sidecar"), NAME, private=True)
    assert hub.repositories[NAME].private and done.files == len(hub.repositories[NAME].files)


def test_the_hubs_loader_reads_what_was_pushed(hub: Hub, out: Path) -> None:
    """The card names the files of each split; they are those that were uploaded."""
    import fnmatch

    import yaml

    push(str(out), NAME, build="webdataset")
    files = hub.repositories[NAME].files
    card = yaml.safe_load(files["README.md"].decode().split("---")[1])
    for split in card["configs"][0]["data_files"]:
        assert any(fnmatch.fnmatch(file, split["path"]) for file in files)


def test_after_an_error_the_same_command_uploads_only_what_is_missing(
    hub: Hub, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import _upload_pipeline

    monkeypatch.setattr(_upload_pipeline, "COMMIT_SIZE_SCALE", [5] * 10)
    hub.fail_commits = 1
    with pytest.raises(UserError, match="storage is on fire"):
        push(str(out), NAME, build="parquet")
    first = [file for commit in hub.repositories[NAME].commits for file in commit]
    assert 0 < len(first) < len(contents(out / "builds" / "parquet"))
    push(str(out), NAME, build="parquet")
    all_files = [file for commit in hub.repositories[NAME].commits for file in commit]
    assert sorted(all_files) == sorted(contents(out / "builds" / "parquet"))  # each once
    commits = len(hub.repositories[NAME].commits)
    push(str(out), NAME, build="parquet")  # nothing is left to do
    assert len(hub.repositories[NAME].commits) == commits


def test_files_of_an_earlier_build_go_and_other_files_stay(hub: Hub, out: Path) -> None:
    hub.repositories[NAME] = Repository(files={"data/00099.tar": b"old", "LICENSE": b"text", "paper/figure.png": b"1"})
    done = push(str(out), NAME, build="webdataset")
    files = hub.repositories[NAME].files
    assert "data/00099.tar" not in files and done.removed == 1
    assert files["LICENSE"] == b"text" and files["paper/figure.png"] == b"1"


def test_a_public_repository_does_not_get_a_private_dataset(hub: Hub, out: Path) -> None:
    hub.repositories[NAME] = Repository()
    with pytest.raises(UserError, match="exists and is public"):
        push(str(out), NAME, private=True)
    assert not hub.repositories[NAME].files


@pytest.mark.parametrize(
    ("repository", "build", "message"),
    [
        ("scenes", None, "'scenes' is not the name of a repository. Write ORG/NAME"),
        ("a/b/c", None, "is not the name of a repository"),
        ("-org/scenes", None, "'-org/scenes' is not the name of a repository: "),
        ("../scenes", None, "is not the name of a repository: "),
        ("org/sc--enes", None, "is not the name of a repository: "),
        ("org/sc\u00e8nes", None, "is not the name of a repository"),
        ("org/sce nes", None, "is not the name of a repository"),
        ("forbidden/scenes", None, "refuses to write forbidden/scenes: You don't have the rights"),
        (NAME, "nosuch", "has no build 'nosuch'. It has: parquet, sidecar, webdataset"),
    ],
)
def test_what_cannot_be_pushed_says_why(hub: Hub, out: Path, repository: str, build: str | None, message: str) -> None:
    with pytest.raises(UserError) as caught:
        push(str(out), repository, build=build)
    assert message in str(caught.value) and not any(r.files for r in hub.repositories.values())


def test_an_output_without_a_build_and_an_unfinished_build(hub: Hub, out: Path, tmp_path: Path) -> None:
    (out / "builds" / "sidecar" / "manifest.json").unlink()
    with pytest.raises(DatasetError, match=r"manifest\.json is missing"):
        push(str(out), NAME, build="sidecar")
    shutil.rmtree(out / "builds")
    (out / "dataset").unlink()
    with pytest.raises(UserError, match="there is no finished build"):
        push(str(out), NAME)
    with pytest.raises(UserError, match="there is no such folder"):
        push(str(tmp_path / "nothing"), NAME)
    with pytest.raises(UserError, match="--build chooses among the builds"):
        push(str(tmp_path / "nothing"), NAME, build="b")


def test_without_a_token_or_with_a_wrong_one(hub: Hub, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match="refuses the token"):
        push(str(out), NAME)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
    with pytest.raises(UserError, match="this machine has no token"):
        push(str(out), NAME)


def test_a_hub_that_cannot_be_reached_is_infrastructure(
    hub: Hub, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(PushError, match="cannot be reached"):
        push(str(out), NAME)
    assert main(["push", str(out), NAME]) == 3
    assert "Run the same command again" in capsys.readouterr().err


def test_a_remote_build_is_refused_before_anything_is_written(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from recaption.io.store import LocalStore
    from recaption.output.locate import Build

    class Remote(LocalStore):
        def local(self, path: str) -> None:
            return None

    store = Remote(OUTPUT / "builds" / "parquet")
    monkeypatch.setattr(module, "find_build", lambda path: Build(store=store, out=None))
    with pytest.raises(UserError, match="the Hub's client reads local files"):
        push("s3://bucket/out", NAME)
    assert not hub.requests
