"""A folder onto the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, ModelCard, is_offline_mode
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from unskew.errors import ConfigError, HubRefused

__all__ = ["check_card", "check_repo_id", "is_offline_mode", "upload"]

_HINTS = {
    401: "log in with `hf auth login`, or set HF_TOKEN to a token that may write",
    403: "the token may not write there; make one with write access to this repository",
    404: "the repository does not exist for this token; check its owner and the token",
    409: "somebody else wrote to it at the same time; repeat the command",
}


def check_repo_id(repo_id: str) -> None:
    """Refuse what can be no repository's name.

    Raises:
        ConfigError: It is not of the form `owner/name`.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ConfigError(f"repo_id {repo_id!r} is no name of a repository: {error}") from error
    if repo_id.count("/") != 1:
        raise ConfigError(f"repo_id is {repo_id!r}; it takes its owner, too: OWNER/{repo_id}")


def check_card(text: str) -> None:
    """Hold a model card's front matter against what the hub's own client reads from it.

    Raises:
        ConfigError: The client cannot read it, e.g. its model-index is incomplete.
    """
    try:
        ModelCard(text)
    except ValueError as error:
        raise ConfigError(f"the model card is not one that the hub reads: {error}") from error


def upload(
    folder: Path,
    repo_id: str,
    *,
    private: bool,
    revision: str | None,
    commit_message: str,
) -> str:
    """Make the repository, and the branch, where they are not there; upload the folder.

    The token is the one that the hub's client finds: `HF_TOKEN` or a login.

    Args:
        folder: Its files go to the root of the repository; others that are there stay.
        repo_id: `owner/name`.
        private: Of a repository that is made now; an existing one stays what it is.
        revision: Branch; the main one if None.
        commit_message: Of the commit.

    Returns:
        Address of the commit.

    Raises:
        HubRefused: No network, no right to write, or another answer of the hub.
    """
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo_id, folder_path=folder, revision=revision, commit_message=commit_message
        )
    except LocalTokenNotFoundError as error:
        raise HubRefused(f"there is no token of the hub here; {_HINTS[401]}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        hint = _HINTS.get(status, "repeat the command later")
        raise HubRefused(f"the hub answered with status {status} for {repo_id}; {hint}") from error
    # That of whichever HTTP library this version of the hub's client uses.
    except (HTTPError, OSError) as error:
        raise HubRefused(
            f"the hub cannot be reached ({type(error).__name__}); repeat the command where there "
            "is a network"
        ) from error
    return str(done.commit_url)
