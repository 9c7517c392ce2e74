"""Each long command killed by kill -9 at random moments, then run again: nothing half written, nothing left.

python research/kills.py FOLDER [TIMES] [COMMAND ...]

On a tiny random base, one thread. Commands start in processes that have the libraries imported, since nothing is
written before. Of each command first how long it takes to its end; then TIMES kills at moments drawn evenly over that
time, each in a place of its own. After each kill no process of it runs, and what has a name is whole; after one more
run to the end the result is that of the run that nobody killed, and nothing hidden lies beside it.

Prints a line a command: how many kills, how many came before the end, how many ended well.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine.adapter.peft_folder import read_peft_folder
from engine.files import digest_file
from tests.tiny import tiny_model, write_tasks
from tests.tiny_tokenizer import tiny_tokenizer

PROCESSES = get_context("forkserver")
_JOBS = ("adapters", "each", "evaluate", "forge", "generate", "inspect", "refine")
RECIPE = {
    "frame": {"lora": {"rank": 2, "alpha": 4}},
    "data": {"row_tokens": 120, "task_rows": 8, "pack_tokens": 160, "pack_rows": 3},
    "multi_task": {"steps": 20, "packs": 2, "warmup_steps": 1},
    "library": {"adapters": 2, "steps": 6, "keep": 2},
    "decoder": {"prompts": 4, "prompt_tokens": 16, "cascade": [[4, 4, 8], [6, 4, 8]]},
    "warm_start": {"steps": 10, "tasks": 2, "warmup_steps": 1},
    "language_loss": {"steps": 10, "tasks": 2, "warmup_steps": 1, "judge_every": 2, "swap_every": 2},
    "held_out": 2,
}


@dataclass(frozen=True)
class Killed:
    """words: of the command, given where it writes. result: digests of what must be there at the end, by file."""

    words: Callable[[Path], list[object]]
    result: Callable[[Path], dict[str, str]]


def weights(out: Path) -> dict[str, str]:
    """Every adapter in a folder, or the folder itself; each must be whole."""
    folders = [out] if (out / "adapter_config.json").exists() else [each for each in out.iterdir() if each.is_dir()]
    for folder in folders:
        read_peft_folder(folder)
    return {str(folder.relative_to(out)): digest_file(folder / "adapter_model.safetensors") for folder in folders}


def tensors(out: Path) -> dict[str, str]:
    """Every safetensors file that is a result."""
    files = (file for file in sorted(out.rglob("*.safetensors")) if ".state." not in file.name)
    return {str(file.relative_to(out)): digest_file(file) for file in files}


def answers(out: Path) -> dict[str, str]:
    """What was answered, without how long it took."""
    lines = (json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines())
    return {f"{each['arm']} {each['task']} {each['row']}": f"{each['score']} {each['answer']}" for each in lines}


def prepared(folder: Path) -> dict[str, Killed]:
    """The commands, over a base, datasets, tasks, an adapter and a LoRA library in `folder`."""
    base, data = folder / "base", folder / "data"
    if not base.exists():
        tiny_model("llama").save_pretrained(base)
        tiny_tokenizer().save_pretrained(base)
    data.mkdir(parents=True, exist_ok=True)
    chance = random.Random(0)
    for name in ("a", "b", "c", "d"):
        words = ["".join(chance.choices("abcdefgh", k=4)) for _ in range(24)]
        rows = (json.dumps({"prompt": word, "response": word[::-1]}) for word in words)
        (data / f"{name}.jsonl").write_text("\n".join(rows))
    tasks = write_tasks(folder / "tasks", [f"task{n}" for n in range(4)])
    write_tasks(tasks, ["judged"], split="unseen")
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    model = ("--base", base, "--device", "cpu")
    made = ("--fit-steps", 2, "--rank", 2)
    one, several, adapter = data / "a.jsonl", data, folder / "adapter"
    library = folder / "library"
    if not adapter.exists():
        run(["generate", one, "--out", adapter, *made, *model])
    if not (library / "library.json").exists():
        run(["lab", "collect", "--tasks", tasks, "--out", library, "--recipe", folder / "recipe.json", *model])
    collect = ["lab", "collect", "--tasks", tasks, "--recipe", folder / "recipe.json", *model]
    train = ["lab", "train", "--tasks", tasks, "--library", library, *model]
    evaluate = ["lab", "evaluate", "--tasks", tasks, "--rows", 4, "--max-new-tokens", 4, "--seeds", 1, *model]
    return {
        "generate": Killed(lambda out: ["generate", one, "--out", out, *made, *model], weights),
        "generate --each": Killed(lambda out: ["generate", several, "--each", "--out", out, *made, *model], weights),
        "refine": Killed(lambda out: ["refine", "none", one, "--out", out, "--steps", 24, *model], weights),
        "collect": Killed(lambda out: [*collect, "--out", out], tensors),
        "train": Killed(lambda out: [*train, "--out", out], tensors),
        "evaluate": Killed(
            lambda out: [*evaluate, "--arm", "base", "--arm", "examples_8", "--arm", "solved_8", "--out", out], answers
        ),
        "export": Killed(lambda out: ["export", adapter, "--out", out, *model], weights),
        "export merged": Killed(lambda out: ["export", adapter, "--out", out, "--format", "merged", *model], tensors),
    }


def convert(folder: Path) -> Killed:
    """Converting the default base into a cache of its own; its packages are taken from this environment."""

    def words(out: Path) -> list[object]:
        return ["models", "--fetch", "SmolLM2-135M-Instruct"]

    return Killed(words, tensors)


def command_line(words: list[str], cache: str) -> None:
    """In a process of its own: the command, silent."""
    from dnd_tui.cli import main as run_command

    os.environ["DND_TUI_CACHE"] = cache or os.environ.get("DND_TUI_CACHE", "")
    if not os.environ["DND_TUI_CACHE"]:
        del os.environ["DND_TUI_CACHE"]
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    run_command(words)


def begun(words: list[object], cache: Path | None = None) -> BaseProcess:
    """The command, running."""
    running = PROCESSES.Process(target=command_line, args=(list(map(str, words)), str(cache or "")))
    running.start()
    return running


def run(words: list[object], cache: Path | None = None) -> float:
    """Run to the end; the seconds it took."""
    start = time.monotonic()
    running = begun(words, cache)
    running.join()
    if running.exitcode:
        raise SystemExit(f"{words} failed with {running.exitcode}")
    return time.monotonic() - start


def hidden(out: Path) -> list[str]:
    """What is hidden in the result or beside it."""
    beside = out.parent.glob(f".{out.name}.*")
    return sorted(map(str, [*beside, *(path for path in out.rglob(".*") if path.suffix in (".part", ".old"))]))


def kill(running: BaseProcess) -> int:
    """kill -9; how many processes of it are left a moment later."""
    try:
        children = psutil.Process(running.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    running.kill()
    running.join()
    _, alive = psutil.wait_procs(children, timeout=5)
    return len(alive)


def trials(name: str, command: Killed, folder: Path, times: int) -> Iterator[str]:
    """One outcome a kill: "late" (it had ended), "well", or what was wrong."""
    chance = random.Random(name)
    place = folder / "killed" / name.replace(" ", "-")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    is_cache = name == "convert"
    whole = place / "whole"
    cache = whole if is_cache else None
    seconds = run(command.words(whole), cache)
    expected = command.result(whole)
    for number in range(times):
        out = place / str(number)
        cache = out if is_cache else None
        running = begun(command.words(out), cache)
        time.sleep(chance.uniform(0, seconds))
        late = running.exitcode is not None
        left = kill(running)
        wrong = [f"{left} processes left"] if left else []
        # Whatever has its name already must be whole.
        if command.result is weights and out.exists() and any(out.glob("adapter_config.json")):
            weights(out)
        run(command.words(out), cache) if not (late or _finished(name, out)) else None
        found = command.result(out)
        wrong += (
            [] if found == expected else [f"another result: {sorted(set(found.items()) ^ set(expected.items()))[:3]}"]
        )
        wrong += [f"left behind: {each}" for each in hidden(out)]
        yield "; ".join(wrong) or ("late" if late else "well")
        shutil.rmtree(out, ignore_errors=True)


def _finished(name: str, out: Path) -> bool:
    """Commands that refuse a result that is there: killed after it took its place."""
    if name == "train":
        return (out / "generator.json").exists()
    one = name in ("generate", "refine", "export", "export merged")
    return one and any((out / each).exists() for each in ("adapter_config.json", "config.json"))


def main() -> None:
    """All commands, or those that are named."""
    PROCESSES.set_forkserver_preload(["dnd_tui.cli", *(f"engine.jobs.{name}" for name in _JOBS)])
    folder, times = Path(sys.argv[1]).absolute(), int((sys.argv[2:3] or ["5"])[0])
    commands = prepared(folder) | {"convert": convert(folder)}
    wanted = sys.argv[3:] or list(commands)
    failed = False
    for name in wanted:
        outcomes = list(trials(name, commands[name], folder, times))
        bad = [each for each in outcomes if each not in ("well", "late")]
        failed |= bool(bad)
        print(
            f"{name}: {times} kills, {times - outcomes.count('late')} before its end, {len(bad)} ended badly",
            flush=True,
        )
        for each in bad:
            print(f"    {each}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
