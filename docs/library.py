"""The engine from Python, cell by cell: prompts to an adapter, compared, exported.

Run it as it is (`python docs/library.py`, from a checkout), or open it as a notebook (each `# %%` is a cell).
"""

# %%
import engine

models = engine.load()  # the default base; engine.load("Qwen/Qwen2.5-0.5B-Instruct") takes another

# %% What the prompts hold
prompts = engine.read_prompts("assets/examples/topics.jsonl")
print(prompts.column, prompts.label_column)
for row in prompts.head(2):
    print(row.prompt, "->", row.references)

# %% Answered rows become an adapter; some rows are kept back and say what it is worth
adapter = engine.solve(models, prompts, "topics-adapter", replace=True)
print(adapter.folder, adapter.made_from, f"{sum(adapter.seconds.values()):.1f} s")
print(adapter.verdict)

# %% Base and adapter side by side
for compared in engine.compare(models, prompts, [adapter], rows=2, max_new_tokens=8):
    print(compared.references, compared.answers)

# %% For llama.cpp
print(engine.export(adapter, "topics-gguf", models=models, format="gguf", replace=True))
