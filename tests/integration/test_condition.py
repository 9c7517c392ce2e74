"""The condition of the real encoder: what sentence-transformers itself computes, whatever the batch, cached."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.base.fetch import resolve_encoder
from engine.base.packages import FetchError
from engine.condition import TextEncoder
from engine.errors import EngineError
from engine.events import Event, Reporter, StageAdvanced

TEXTS = ["a short one", "Ein längerer Satz mit Umlauten, and then some more words. " * 6, "日本語", "x"]
TOKENS = 24


@pytest.fixture(scope="module")
def folder() -> Path:
    try:
        return resolve_encoder()
    except FetchError as error:
        pytest.skip(f"the encoder cannot be fetched: {error}")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TextEncoder:
    return TextEncoder(folder, torch.device("cpu"))


def test_hidden_states_are_those_of_sentence_transformers(folder: Path, encoder: TextEncoder) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(folder), device="cpu")
    reference.max_seq_length = TOKENS
    hidden = encoder.encode(TEXTS, TOKENS)
    assert hidden.shape == (len(TEXTS), TOKENS, 384) and hidden.dtype == torch.float32
    for row, states in zip(hidden, reference.encode(TEXTS, output_value="token_embeddings"), strict=True):
        used = states.shape[0]
        # Padded batches sum in another order.
        assert torch.allclose(row[:used], states, atol=2e-5)
        assert not row[used:].any()


@pytest.mark.parametrize("batch", [1, 3])
def test_the_batch_does_not_matter(encoder: TextEncoder, batch: int) -> None:
    assert torch.allclose(encoder.encode(TEXTS, TOKENS, batch=batch), encoder.encode(TEXTS, TOKENS), atol=2e-5)


def test_conditions_are_cached_by_content(folder: Path, tmp_path: Path) -> None:
    encoder = TextEncoder(folder, torch.device("cpu"), tmp_path)
    notes = []

    def encode(texts: list[str], tokens: int = TOKENS) -> torch.Tensor:
        with Reporter().stage("encode", len(texts)) as stage:
            hidden = encoder.encode(texts, tokens, stage=stage)
            notes.append(stage.note)
        return hidden

    first = encode(TEXTS)
    assert torch.equal(first, encode(TEXTS)) and notes == ["", "from the cache"]
    encode(TEXTS[:2])
    encode(TEXTS, TOKENS + 1)
    assert notes[2:] == ["", ""] and len(list(tmp_path.iterdir())) == 3
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(first, encode(TEXTS)) and notes[-1] == ""  # a damaged entry is made again


def test_progress_counts_prompts(encoder: TextEncoder) -> None:
    events: list[Event] = []
    with Reporter(events.append).stage("encode", len(TEXTS)) as stage:
        encoder.encode(TEXTS, TOKENS, batch=3, stage=stage)
    assert [event.step for event in events if isinstance(event, StageAdvanced)] == [3, 4]


def test_more_tokens_than_the_encoder_reads_are_refused(encoder: TextEncoder) -> None:
    with pytest.raises(EngineError, match="reads at most 512 tokens"):
        encoder.spec(prompts=4, tokens=1000)


def test_a_folder_that_is_no_encoder_is_told(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("{}")
    with pytest.raises(EngineError, match="sentence encoder"):
        TextEncoder(tmp_path, torch.device("cpu"))
