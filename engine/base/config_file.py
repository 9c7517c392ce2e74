"""config.json of a model that is written here, as other programs and earlier versions of transformers look it up.

transformers 5 keeps the angles of the rotary embedding in `rope_parameters` alone. transformers 4 had `rope_theta` and
`rope_scaling` beside the other fields, and mlx-lm's Llama, Mistral, Qwen2 and Gemma look nowhere else
(mlx_lm/models/llama.py, `ModelArgs`): without them they take a default of their own without a word. So both are
written; transformers 5 takes the older fields for the same settings (`convert_rope_params_to_dict`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.files import read_json


def complete_config(file: Path, own: Mapping[str, object] | None = None) -> None:
    """Add what others look for about the rotary embedding to a config.json that transformers wrote.

    Args:
        own: fields that take the place of those that are there; one of None is taken out.

    Raises:
        EngineError: the file cannot be read.
    """
    config = read_json(file)
    config = _rotary_fields(config.get("rope_parameters")) | config
    for name, value in (own or {}).items():
        config.pop(name, None)
        if value is not None:
            config[name] = value
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def has_rotary_fields(file: Path) -> bool:
    """Whether `complete_config` has been at a config.json of a model with rotary embeddings."""
    return "rope_theta" in read_json(file)


def _rotary_fields(parameters: Any) -> dict[str, object]:
    # Some models have a set of them for each kind of layer: of those transformers 4 had fields of their own.
    if not isinstance(parameters, dict) or "rope_theta" not in parameters:
        return {}
    scaling = {name: value for name, value in parameters.items() if name != "rope_theta"}
    fields: dict[str, object] = {"rope_theta": parameters["rope_theta"]}
    return fields if scaling.get("rope_type", "default") == "default" else fields | {"rope_scaling": scaling}
