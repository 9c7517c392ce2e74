"""The dnd-tui engine: prompts in, a LoRA adapter out.

Notable:
- no terminal code here: the engine is usable from a notebook or a script;
- every job is a request (`engine.requests`) plus a stream of events (`engine.events`);
- heavy libraries (torch, transformers, peft) are imported at first use, never by this file.
"""
