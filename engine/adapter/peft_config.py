"""What adapter_config.json says: whether it is LoRA and nothing more, and whether of one rank and alpha."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.files import read_json

LARGEST_RANK = 4096
"""A folder of a larger rank is not read: far above any real one."""
LARGEST_ALPHA = 2**20
"""The same of an alpha."""
FOLDED_SETTINGS = frozenset({"use_rslora", "rank_pattern", "alpha_pattern"})
"""Settings beyond plain LoRA that an import brings into its form."""

# Far above any real config file; a file beyond it is not what it says it is.
_LARGEST_TEXT = 2**20
# Settings that may have any value: they do not change what the matrices mean (or are looked at one by one below).
_FREE_SETTINGS = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "bias",
        "corda_config",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
    }
)
_MEANINGS = {
    "alora_invocation_tokens": "which turns the LoRA on only after certain tokens",
    "layer_replication": "which runs some layers of the base more than once",
    "lora_bias": "which trains biases",
    "modules_to_save": "so that whole trained modules go with the LoRA",
    "target_parameters": "which adapts parameters that are no linear modules",
    "trainable_token_indices": "which trains rows of the embeddings",
    "use_dora": "which is DoRA: it scales the base's own weights too",
}
# The other ways to start (PiSSA, OLoRA, CorDA, LoftQ and so on) put a part of the update into the base's own weights.
_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")


def check_small(file: Path) -> None:
    """Raises EngineError when a text file is larger than any of an adapter's."""
    if file.stat().st_size > _LARGEST_TEXT:
        raise EngineError(f"is larger than {_LARGEST_TEXT:,} bytes", where=str(file))


def read_config(file: Path) -> dict[str, Any]:
    """The JSON object in a config file, whatever it says.

    Raises:
        EngineError: the file is too large, or holds no JSON object.
    """
    check_small(file)
    try:
        config = read_json(file)
    except (ValueError, RecursionError):  # numbers of thousands of digits, endless nesting
        raise EngineError("is not the config of an adapter", where=str(file)) from None
    if not isinstance(config, dict):
        raise EngineError("is not the config of an adapter", where=str(file))
    return config


def read_plain_config(file: Path) -> dict[str, Any]:
    """The config of plain LoRA of one rank and one whole alpha.

    Raises:
        EngineError: it is none; says which setting is another.
    """
    config = read_config(file)
    reason = more_than_lora(config) or _not_uniform(config)
    if reason:
        hint = "Only plain LoRA of one rank and a whole alpha is read"
        if more_than_lora(config, FOLDED_SETTINGS) is None:
            hint += "; dnd-tui import makes it that"
        raise EngineError(reason, where=str(file), hint=hint)
    return config


def more_than_lora(config: dict[str, Any], allowed: Set[str] = frozenset()) -> str | None:
    """Why this config is not LoRA for a causal language model alone; None if it is.

    Args:
        allowed: names of settings that may be set besides those of plain LoRA.
    """
    if config.get("peft_type") != "LORA":
        return f"peft_type is {_said(config.get('peft_type'))}, not 'LORA'"
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        return f"task_type is {_said(config['task_type'])}, not 'CAUSAL_LM'"
    if config.get("bias", "none") != "none":
        return f"bias is {_said(config['bias'])}, not 'none'"
    if config.get("init_lora_weights") not in _PLAIN_STARTS:
        return f"init_lora_weights is {_said(config['init_lora_weights'])}, which changes the weights of the base"
    for name, value in sorted(config.items()):
        if name not in _FREE_SETTINGS and name not in allowed and value:
            meaning = _MEANINGS.get(name)
            return f"{name[:100]} is set" + (f", {meaning}" if meaning else "")
    return None


def _not_uniform(config: dict[str, Any]) -> str | None:
    """Why rank and alpha are none that this form has."""
    for name in ("r", "lora_alpha"):
        value = config.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 1 or value % 1 != 0:
            return f"{name} is {_said(value)}, not a whole number of at least 1"
    for name, largest in (("r", LARGEST_RANK), ("lora_alpha", LARGEST_ALPHA)):
        if config[name] > largest:
            return f"{name} is more than {largest}"
    return None


def _said(value: object) -> str:
    return repr(value)[:100]
