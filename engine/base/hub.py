"""The files of a hub model in the local hub cache, fetched when there is a network; errors in plain words.

And the libraries' own bars and remarks, kept off the terminal while they work for us.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.base.catalog import BASES
from engine.errors import EngineError, setting

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SMALL = ["*.json", "*.jinja", "*.txt", "*.model"]
_OTHER_FORMATS = ["*/*", "consolidated*.safetensors"]  # weights a second time, for other programs


def looks_like_hub_id(name: str) -> bool:
    """Whether `name` could be `owner/model` or an old one-word id."""
    return bool(_HUB_ID.fullmatch(name)) and ".." not in name and "--" not in name


def hub_snapshot(
    hub_id: str, *, revision: str | None = None, weights: bool = False, trust_remote_code: bool = False
) -> Path:
    """The local snapshot folder of `hub_id` (its name is the commit): config and tokenizer, on demand the weights.

    Only safetensors weights are fetched, never pickled ones.

    Raises:
        EngineError: no network and not in the hub cache, no such model, or its terms were not accepted.
    """
    from huggingface_hub import snapshot_download

    wanted = _SMALL + (["*.safetensors"] if weights else []) + (["*.py"] if trust_remote_code else [])
    with quiet_libraries(), _as_engine_errors(hub_id):
        folder = snapshot_download(hub_id, revision=revision, allow_patterns=wanted, ignore_patterns=_OTHER_FORMATS)
    return Path(folder)


def cached_model(folder: Path) -> tuple[str, Path] | None:
    """The hub id and the snapshot of a folder of the hub cache: of a snapshot itself, or of all of a model's snapshots.

    None where it is no such folder, or where it does not know which snapshot is meant.
    """
    folder = folder.absolute()
    model = folder.parent.parent if folder.parent.name == "snapshots" else folder
    if not model.name.startswith("models--"):
        return None
    if model == folder:
        main = folder / "refs" / "main"
        if not main.is_file():
            return None
        folder = folder / "snapshots" / main.read_text(encoding="utf-8").strip()
    return model.name.removeprefix("models--").replace("--", "/"), folder


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No progress bars and no remarks below an error from transformers and the hub client inside of the block."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _as_engine_errors(hub_id: str) -> Iterator[None]:
    from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.errors import RepositoryNotFoundError as UnknownError

    packaged = next((f"take {setting('base')} {base.name}, or " for base in BASES if base.hub_id == hub_id), "")
    elsewhere = f'{packaged}name a folder, a .gguf file or "default"'
    try:
        yield
    except GatedRepoError as error:
        hint = "Accept its terms on the hub and log in with `hf auth login`"
        raise EngineError("this model asks for its terms to be accepted first", where=hub_id, hint=hint) from error
    except (UnknownError, HFValidationError) as error:
        hint = f"Check the spelling, log in with `hf auth login` if it is private, or {elsewhere}"
        raise EngineError("is no folder here and no model that the hub shows you", where=hub_id, hint=hint) from error
    except LocalEntryNotFoundError as error:
        hint = f"Connect to the network, or {elsewhere}"
        raise EngineError(
            "is no folder here and not in the local hub cache, and the hub cannot be reached", where=hub_id, hint=hint
        ) from error
    except OSError as error:
        raise EngineError(
            f"the hub does not give this model: {error}", where=hub_id, hint=f"Try again, or {elsewhere}"
        ) from error
