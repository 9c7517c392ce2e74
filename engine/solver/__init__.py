"""Adapters solved from what stands in a prompt: two streams through a base's layers, one regression a module.

context.py   answered rows, an instruction or both -> pairs of token rows: with the context, and without
residual.py  which linear modules of a base add to its residual stream, and how
matching.py  at which tokens the two are compared
solve.py     the teacher's pass, then the student's -> LoraAdapter
ridge.py     inputs and wanted outputs of one module -> its two matrices
"""
