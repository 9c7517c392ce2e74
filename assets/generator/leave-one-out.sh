#!/usr/bin/env bash
# The leave-one-out table, as published over six common sense sets: for each set, adapters and generator are made from
# the others and judged on it.
#
#     assets/generator/leave-one-out.sh TASKS OUT RECIPE [OPTION...]
#
# The options go to each command that loads a model. ROWS=24 and SEEDS=1 make a smaller table, SETS="one other"
# takes other sets. Every step can be killed: the same command goes on.
set -euo pipefail
tasks=$(realpath "$1") out=$2 recipe=$3
shift 3
sets=${SETS:-cs_arc_c cs_arc_e cs_boolq cs_obqa cs_piqa cs_winogrande}
dnd() { "${PYTHON:-python}" -m dnd_tui --headless "$@"; }

# The sets alone, all of split `seen`, and for each of them a recipe that leaves it out.
mkdir -p "$out/sets"
# shellcheck disable=SC2086  # one word a set
"${PYTHON:-python}" - "$tasks" "$out" "$recipe" $sets <<'END'
import json, os, sys
from pathlib import Path

tasks, out, recipe, *sets = sys.argv[1:]
known = json.loads(Path(tasks, "tasks.json").read_text())
Path(out, "sets", "tasks.json").write_text(json.dumps({name: known[name] | {"split": "seen"} for name in sets}))
for name in sets:
    for part in ("train", "test"):
        link = Path(out, "sets", f"{name}.{part}.jsonl")
        if not link.is_symlink():
            os.symlink(Path(tasks, link.name), link)
    own = json.loads(Path(recipe).read_text()) | {"exclude": [name], "held_out": 0}
    Path(out, f"{name}.json").write_text(json.dumps(own))
END

tables=()
for name in $sets; do
    dnd collect --tasks "$out/sets" --out "$out/$name/library" --recipe "$out/$name.json" "$@"
    [ -f "$out/$name/generator/generator.json" ] ||
        dnd train --tasks "$out/sets" --library "$out/$name/library" --out "$out/$name/generator" "$@"
    dnd evaluate --tasks "$out/sets" --split seen --task "$name" --generator "$out/$name/generator" \
        --library "$out/$name/library" --out "$out/$name/table" --rows "${ROWS:-100}" --seeds "${SEEDS:-3}" \
        --arm base --arm multi_task --arm generated --arm library "$@"
    tables+=(--table "$out/$name/table")
done
dnd leave-one-out --out "$out/table" "${tables[@]}"
