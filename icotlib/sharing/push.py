"""Uploading an exported folder to the hub."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from icotlib.errors import ConfigError, first_line
from icotlib.sharing.hub import RECORD, record

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_login(name: str) -> None:
    """Find out whether an upload can work, before anything is written.

    Raises `ConfigError` for a name that the hub does not take, without a valid token, and if the
    hub cannot be reached.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--push {name}: give OWNER/NAME, of letters, digits, -, _ and .")
    from huggingface_hub.utils import validate_repo_id

    with _explained(name):
        validate_repo_id(name)
        _api().whoami()


def push(folder: str | Path, name: str, public: bool = False, update: bool = False) -> str:
    """Upload an exported folder, and no file besides it, as `owner/name`; returns its address.

    Args:
        public: everyone may see the repository, if it is made now; otherwise it is private.
        update: upload into a repository that exists.

    Raises `ConfigError` if the folder is no whole export or its card loads something else, if the
    repository exists, and for whatever keeps the hub from taking it.
    """
    check_login(name)
    about = record(folder)
    if about["name"] != name:
        raise ConfigError(
            f"{folder}: the card's code loads {about['name'] or 'the folder'}, not {name}; export "
            f"it to another folder with --push {name}"
        )
    api = _api()
    with _explained(name):
        address = api.create_repo(name, private=not public, exist_ok=update)
        is_public = not api.repo_info(name).private if update else public
    if is_public != public:
        state = "public" if is_public else "private"
        option = "add --public" if is_public else "leave out --public"
        raise ConfigError(
            f"{name} is {state} already, and nothing was uploaded: {option}, or change its "
            "visibility on the hub first"
        )
    files = [*about["files"], RECORD]
    with _explained(name, f"The repository is there. Try again with --push {name} --update. "):
        api.upload_folder(repo_id=name, folder_path=str(folder), allow_patterns=files)
    return str(address)


def _api() -> Any:
    import huggingface_hub  # a second of start-up, for this alone

    return huggingface_hub.HfApi()


@contextlib.contextmanager
def _explained(name: str, advice: str = "") -> Iterator[None]:
    """Errors of the hub's client as `ConfigError`.

    Args:
        advice: what to do about it, where the error itself does not tell.
    """
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        yield
    except LocalTokenNotFoundError:
        raise ConfigError(
            "you are not logged in to the hub: hf auth login, or set HF_TOKEN"
        ) from None
    except HFValidationError as error:
        raise ConfigError(f"--push {name}: {error}") from None
    except OfflineModeIsEnabled:
        raise ConfigError(
            "HF_HUB_OFFLINE is set, so that nothing can be uploaded: unset it"
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = {
            401: "the hub refuses the token: hf auth login, with a token that may write",
            403: f"the token may not write to {name}: take another owner or token",
            409: f"{name} exists on the hub: take another name, or replace its files with --update",
        }.get(status, f"the hub answers {status}: {first_line(error)}")
        raise ConfigError(f"{reason}. {advice}".rstrip(" .")) from None
    except Exception as error:  # its client of HTTP raises types of its own
        raise ConfigError(
            f"the hub cannot be reached, or the upload broke off: {first_line(error)}. "
            f"{advice or 'What was exported stays: the same command goes on from it.'}".rstrip()
        ) from None
