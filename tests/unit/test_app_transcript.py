"""A transcript shows every answer as it was, whatever the answer holds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnd_tui.state.transcript import (
    Transcript,
    TranscriptRow,
    fenced,
    transcript_json,
    transcript_markdown,
    write_transcript,
)
from engine.errors import EngineError


def row(number: int = 1, **more: object) -> TranscriptRow:
    plain = {"number": number, "prompt": "Say it", "references": ("ref",), "answers": {"base": "no", "adapted": "yes"}}
    return TranscriptRow(**plain | more)  # type: ignore[arg-type]


FULL = Transcript(
    made="2025-01-01T10:00:00+00:00",
    settings={"adapter": "topics | 2", "device": "cpu"},
    rows=(row(3, scores={"base": 0.25, "adapted": 1.0}, pick="adapted"), row(-1, references=(), prompt="two\nlines")),
    metric="rouge_l",
    means={"base": 0.25, "adapted": 1.0},
    timings={"base": {"tokens_per_second": 12.3456}, "adapted": {"tokens_per_second": 11.0, "tokens": 2500}},
)


def test_markdown_tells_everything() -> None:
    assert (
        transcript_markdown(FULL)
        == """\
# Compared answers

2025-01-01T10:00:00+00:00

| Setting | Value |
| --- | --- |
| adapter | `topics \\| 2` |
| device | `cpu` |

| Answers of | Mean rouge_l | Tokens per second | Tokens | Liked best |
| --- | --- | --- | --- | --- |
| `base` | 0.250 | 12.35 |  | 0 |
| `adapted` | 1.000 | 11 | 2500 | 1 |

## Prompt 3

```
Say it
```

### Reference

```
ref
```

### `base`, rouge_l 0.250

```
no
```

### `adapted`, rouge_l 1.000, liked best

```
yes
```

## Prompt -1

```
two
lines
```

### `base`

```
no
```

### `adapted`

```
yes
```
"""
    )


def test_json_tells_everything() -> None:
    data = json.loads(transcript_json(FULL))
    assert data["picks"] == {"base": 0, "adapted": 1} and data["metric"] == "rouge_l"
    assert data["rows"][0] == {
        "number": 3,
        "prompt": "Say it",
        "references": ["ref"],
        "answers": {"base": "no", "adapted": "yes"},
        "scores": {"base": 0.25, "adapted": 1.0},
        "pick": "adapted",
    }
    assert data["timings"]["base"] == {"tokens_per_second": 12.3456}


def test_nothing_measured_is_no_table() -> None:
    text = transcript_markdown(Transcript(made="now", settings={}, rows=(row(),)))
    assert "|" not in text and "liked" not in text.lower()


@given(st.text(st.sampled_from("`~ \n\tab\\#")) | st.text())
def test_a_fence_survives_any_text(text: str) -> None:
    lines = fenced(text).split("\n")
    opening = lines[0]
    assert re.fullmatch("`{3,}", opening) and lines[-1] == opening
    # A closing fence is at least as long as the opening one, indented by up to three blanks.
    assert not any(re.fullmatch(rf" {{0,3}}`{{{len(opening)},}}\s*", line) for line in lines[1:-1])
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", fenced(text))


def test_names_cannot_break_out_of_headings_and_tables() -> None:
    odd = "a`b\n## c | d"
    shown = transcript_markdown(
        Transcript(made="now", settings={odd: odd}, rows=(row(answers={odd: "x"}),), means={odd: 0.5}, metric="m")
    )
    assert "\n### `` a`b ## c | d ``\n" in shown
    assert "| `` a`b ## c \\| d `` | 0.500 |" in shown
    assert [line for line in shown.splitlines() if line.startswith("## ")] == ["## Prompt 1"]


@pytest.mark.parametrize("ending", [".md", ".JSON"])
def test_it_is_written_where_the_person_says(tmp_path: Path, ending: str) -> None:
    target = tmp_path / "new folder" / f"a{ending}"
    transcript = Transcript(made="now", settings={}, rows=(row(answers={"base": "\udcff é\r\n\x1b[2J"}),))
    write_transcript(transcript, target)
    text = target.read_bytes().decode("utf-8")
    if ending == ".JSON":
        assert json.loads(text)["rows"][0]["answers"] == {"base": "\udcff é\r\n\x1b[2J"}
    else:
        assert "\\udcff é\\r\n\\x1b[2J" in text
    with pytest.raises(EngineError, match="already exists"):
        write_transcript(transcript, target)
    write_transcript(transcript, target, replace=True)


def test_another_ending_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"End its name in \.md or \.json"):
        write_transcript(FULL, tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []
