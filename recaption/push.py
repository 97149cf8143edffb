"""Uploads a build to the Hugging Face Hub, as a dataset repository with the build's card.

The upload is `HfApi.upload_folder`, which does not upload again what an interrupted upload has finished. Only the
folder of the build is uploaded, never the answers, rejects, index or log of the output.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recaption.errors import MissingExtra, RecaptionError, UserError
from recaption.io.store import open_store
from recaption.output.locate import find_build, locate, read_manifest
from recaption.output.paths import BUILDS, build_folder

REPOSITORY: Final = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


class PushError(RecaptionError):
    """The Hub cannot be reached, or it failed. The same command continues the upload."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """A build on the Hub. `size` is in bytes; `removed` counts files of earlier builds that are no longer there."""

    url: str
    files: int
    size: int
    removed: int


def push(path: str, repository: str, *, build: str | None = None, private: bool = False) -> Pushed:
    """Upload a build of the output at `path`, by default the published one. `path` may also be a build.

    The repository is made if it does not exist. `private` is for new repositories. In the folders that the build has,
    files of earlier builds are removed from the repository; its other files are kept. Raises
    UserError for what cannot be uploaded, for a missing token, and for a repository that may not be written;
    PushError if the Hub fails.
    """
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.utils import HFValidationError, validate_repo_id
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "hub") from error
    if not REPOSITORY.fullmatch(repository):
        raise UserError(f"{repository!r} is not the name of a repository. Write ORG/NAME, or USER/NAME")
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(f"{repository!r} is not the name of a repository: {_line(error)}. Write ORG/NAME") from error
    folder = _folder(path, build)
    paths = list(_files(folder))
    hub = HfApi()
    with _explained(repository):
        hub.whoami()
        hub.create_repo(repository, repo_type="dataset", private=private or None, exist_ok=True)
        info = hub.repo_info(repository, repo_type="dataset")
        if private and not info.private:
            raise UserError(
                f"the repository {repository} exists and is public. Name a new one, make it private in its settings on "
                "the Hub, or leave --private out"
            )
        own = {file.split("/", 1)[0] for file in paths if "/" in file}
        stale = {sibling.rfilename for sibling in info.siblings or ()} - set(paths)
        removed = [file for file in stale if "/" in file and file.split("/", 1)[0] in own]
        done = hub.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=folder,
            ignore_patterns=[".*", "**/.*"],
            delete_patterns=sorted(map(glob.escape, removed)) or None,
            commit_message=f"Upload the build {folder.name} with recaption",
        )
    url = str(done.commit_url).split("/commit/")[0]
    size = sum((folder / file).stat().st_size for file in paths)
    return Pushed(url=url, files=len(paths), size=size, removed=len(removed))


def _folder(path: str, build: str | None) -> Path:
    """The local folder of a finished build."""
    if build is None:
        store = find_build(path).store
    else:
        found = locate(path)
        if found.kind != "output" or found.out is None:
            raise UserError(
                f"--build chooses among the builds of an output, and {path} is not an output. Leave out --build"
            )
        names = sorted(found.out.folders(BUILDS))
        if build not in names:
            raise UserError(f"{path} has no build {build!r}. It has: {', '.join(names) or 'none'}")
        store = open_store(f"{found.out.url}/{build_folder(build)}")
    read_manifest(store)
    folder = store.local("")
    if folder is None:
        raise UserError(
            f"cannot push {store.url}: the Hub's client reads local files. Copy the folder to a disk, and push the copy"
        )
    return folder.resolve()


def _files(folder: Path) -> Iterator[str]:
    """Paths relative to the folder, without hidden files."""
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in relative.parts):
            yield relative.as_posix()


@contextmanager
def _explained(repository: str) -> Iterator[None]:
    """Turns errors of the Hub's client into errors with advice."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError

    again = "Run the same command again: files that are on the Hub are not uploaded again"
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise UserError(
            "this machine has no token of the Hugging Face Hub. Set HF_TOKEN, or run hf auth login"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise UserError("the Hugging Face Hub refuses the token. Run hf auth login, or set HF_TOKEN") from error
        if 400 <= status < 500 and status not in {408, 429}:
            what = _line(error)
            raise UserError(
                f"the Hugging Face Hub refuses to write {repository}: {what}. Check the name, and that the token has "
                "write access to it"
            ) from error
        raise PushError(f"the Hugging Face Hub failed with status {status}: {_line(error)}. {again}") from error
    except (HTTPError, OSError) as error:
        raise PushError(f"the Hugging Face Hub cannot be reached: {_line(error)}. {again}") from error


def _line(error: Any) -> str:
    """The server's own message, or else the first line of the error."""
    text = getattr(error, "server_message", None) or str(error) or type(error).__name__
    return str(text).strip().partition("\n")[0].rstrip(".")
