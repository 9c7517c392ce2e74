"""A file or a folder of prompts -> PromptSet -> a seeded sample of prompts.

    path --places--> files --readers--> rows --columns, rows--> PromptRow --sample--> PromptBatch

Notable:
- everything streams: a set may be far larger than memory (a plain .json array is the one exception, see `json_rows`);
- labels go to `PromptRow.references` and nowhere else: a sample holds prompts only;
- nothing heavy is imported here; pyarrow and datasets come in when a parquet file or a saved dataset is opened.
"""

from engine.prompts.prompt_set import PromptRow, PromptSet, read_prompts
from engine.prompts.report import PromptReport, describe
from engine.prompts.sample import PromptBatch, sample_prompts

__all__ = ["PromptBatch", "PromptReport", "PromptRow", "PromptSet", "describe", "read_prompts", "sample_prompts"]
