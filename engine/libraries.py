"""How the libraries below us behave in a process of ours: no telemetry, no bars, no warnings among our lines."""

from __future__ import annotations

import os
import sys
import warnings

_ALWAYS = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
_QUIET = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
}


def quiet_libraries_at_start(*, debug: bool = False) -> None:
    """Call before the first heavy import. `debug` lets libraries warn and show their bars."""
    for name, value in (_ALWAYS if debug else _ALWAYS | _QUIET).items():
        os.environ.setdefault(name, value)
    if not debug and not sys.warnoptions:
        warnings.simplefilter("ignore")
