"""The card of a generator: what it is, what made it, what it reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.generator.generator import Generator
from engine.tasks.arms import arm_title


def _of_no_prompts(history: Mapping[str, Any]) -> str:
    trained_along = history.get("recipe", {}).get("language_loss", {}).get("frame_learning_rate")
    return "the frame's own adapter, trained along with the decoder," if trained_along else "the multi-task adapter"


def generator_card(generator: Generator) -> str:
    """README.md of the artifact, with the front matter that model hubs read."""
    spec, frame = generator.spec, generator.frame
    history: Mapping[str, Any] = spec.history
    lora = frame.layout.lora
    decoder = sum(parameter.numel() for parameter in generator.decoder.parameters())
    shapes = " -> ".join(
        str(shape).replace(" ", "")
        for shape in (
            (spec.condition.prompts, spec.condition.tokens, spec.condition.channels),
            *spec.cascade,
            (generator.grid.tokens, generator.grid.height, generator.grid.width),
        )
    )
    lines = [
        "---",
        "library_name: dnd-tui",
        f"base_model: {spec.base['id']}",
        "license: apache-2.0",
        "tags:",
        "- lora",
        "- hypernetwork",
        "---",
        "",
        f"# Adapter generator for {spec.base['id']}",
        "",
        "Turns a batch of unlabelled prompts into a LoRA adapter in one forward pass,",
        "after Drag-and-Drop LLMs (arXiv 2506.16406).",
        "",
        f"- Adapter: rank {lora.rank}, alpha {lora.alpha}, on {', '.join(frame.layout.kinds)}; "
        f"{frame.layout.parameters:,} parameters",
        f"- Frame: {frame.kind}; an empty condition gives {_of_no_prompts(history)} exactly",
        f"- Condition: {spec.condition.prompts} prompts of {spec.condition.tokens} tokens, "
        f"{spec.condition.channels} channels",
        f"- Decoder: hyper-convolutional, kernel {spec.kernel}, {decoder:,} parameters: {shapes}",
        f"- Trained on {len(history.get('tasks', {}))} tasks ({len(history.get('library_tasks', []))} with checkpoints "
        f"of their own); {len(history.get('held_out', {}))} more were held out",
        "",
        "The recipe, the tasks and the hashes of their rows are in `generator.json`.",
    ]
    losses: Mapping[str, float] = history.get("losses") or {}
    if losses:
        lines += [
            "",
            "Loss on the held-out tasks, in nats a token of the answer:",
            "",
            "| Adapter | Loss |",
            "|---|---:|",
        ]
        lines += [f"| {arm_title(arm)} | {loss:.4f} |" for arm, loss in losses.items()]
    scores: Mapping[str, Any] = history.get("scores") or {}
    if scores:
        lines += [
            "",
            f"Mean score over {scores['tasks']} tasks of split {scores['split']}, {scores['rows']} rows each:",
            "",
        ]
        bits: Mapping[str, float] = scores.get("bits_per_byte") or {}
        lines += ["| Arm | Score | Bits per byte |", "|---|---:|---:|"] if bits else ["| Arm | Score |", "|---|---:|"]
        for arm, mean in scores["means"].items():
            more = f" {bits[arm]:.3f} |" if arm in bits else ""
            lines.append(f"| {arm_title(arm)} | {mean:.3f} |{more}")
    return "\n".join(lines) + "\n"
