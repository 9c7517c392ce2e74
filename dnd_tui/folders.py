"""The folders the app keeps things in. Asking for one does not make it; writing into it does.

Models have a cache of their own, see `engine.base.fetch`.
"""

from __future__ import annotations

import os
from pathlib import Path

CONFIG_VARIABLE = "DND_TUI_CONFIG"
DATA_VARIABLE = "DND_TUI_DATA"


def config_folder() -> Path:
    """The folder of config.toml; the environment variable DND_TUI_CONFIG overrides it."""
    from platformdirs import user_config_path

    return _named(CONFIG_VARIABLE) or user_config_path("dnd-tui")


def data_folder() -> Path:
    """The folder of generated adapters and histories; the environment variable DND_TUI_DATA overrides it."""
    from platformdirs import user_data_path

    return _named(DATA_VARIABLE) or user_data_path("dnd-tui")


def log_folder() -> Path:
    """The folder of log files, inside of the data folder."""
    return data_folder() / "logs"


def _named(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser().absolute() if value else None
