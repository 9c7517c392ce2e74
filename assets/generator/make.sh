#!/usr/bin/env bash
# A generator and its quality table, from tasks and a recipe:
#
#     assets/generator/make.sh TASKS OUT RECIPE [OPTION...]
#
# The options go to each command, for example --device cuda, or --dtype bfloat16. ARMS="--arm base --arm generated",
# ROWS=24 and SEEDS=1 make a smaller table; START=assets/generator goes on from a generator's multi-task adapter;
# LAUNCH="torchrun --standalone --nproc_per_node 2" or "accelerate launch" runs every step in several processes.
# Every step can be killed: the same command goes on.
set -euo pipefail
tasks=$1 out=$2 recipe=$3
shift 3
launch=("${PYTHON:-python}" -m)
if [ -n "${LAUNCH:-}" ]; then
    read -ra launch <<<"$LAUNCH"
    launch+=(-m --) # torchrun takes our --start for its own, shortened, unless the options end before
fi
dnd() { "${launch[@]}" dnd_tui --headless "$@"; }

dnd collect --tasks "$tasks" --out "$out/library" --recipe "$recipe" ${START:+--start "$START"} "$@"
[ -f "$out/generator/generator.json" ] || dnd train --tasks "$tasks" --library "$out/library" --out "$out/generator" "$@"
# shellcheck disable=SC2086  # ARMS is several words
dnd evaluate --tasks "$tasks" --library "$out/library" --generator "$out/generator" --out "$out/table" \
    --rows "${ROWS:-100}" --seeds "${SEEDS:-3}" --max-new-tokens 48 ${ARMS:-} "$@"
