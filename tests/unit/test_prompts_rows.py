"""Which column becomes the prompt, and that labels stay out of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import setting
from engine.prompts.columns import find_shape
from engine.prompts.rows import read_prompt, read_references
from engine.prompts.shape import RowError, RowShape


def read_row(shape: RowShape, row: object) -> tuple[str, tuple[str, ...]]:
    return read_prompt(shape, row), read_references(shape, row)


LABEL = "ZZ-the-label-ZZ"
USER = {"role": "user", "content": "Ask"}
ASSISTANT = {"role": "assistant", "content": LABEL}

# (row, prompt, references, column, label column)
ROWS = {
    "prompt": ({"prompt": "Ask", "response": LABEL}, "Ask", (LABEL,), "prompt", "response"),
    "prompt with references": (
        {"prompt": "Ask", "response": LABEL, "references": [LABEL, "other"]},
        "Ask",
        (LABEL, "other"),
        "prompt",
        "response + references",
    ),
    "instruction": ({"instruction": "Ask", "output": LABEL}, "Ask", (LABEL,), "instruction", "output"),
    "instruction and input": (
        {"instruction": "Ask", "input": "this", "output": LABEL, "text": f"Ask this {LABEL}"},
        "Ask\n\nthis",
        (LABEL,),
        "instruction + input",
        "output",
    ),
    "instruction, empty input": (
        {"instruction": "Ask", "input": " ", "response": LABEL},
        "Ask",
        (LABEL,),
        "instruction + input",
        "response",
    ),
    "instruction and context": (
        {"instruction": "Ask", "context": "this", "response": LABEL, "category": "x"},
        "Ask\n\nthis",
        (LABEL,),
        "instruction + context",
        "response",
    ),
    "question": ({"question": "Ask", "answer": LABEL}, "Ask", (LABEL,), "question", "answer"),
    "question, yes or no": (
        {"question": "Ask", "answer": True, "passage": "Facts"},
        "Facts\n\nAsk",
        ("true",),
        "passage + question",
        "answer",
    ),
    "question, answers in an object": (
        {"question": "Ask", "answers": {"text": [LABEL, LABEL], "answer_start": [1, 2]}},
        "Ask",
        (LABEL,),
        "question",
        "answers",
    ),
    "another case of letters": ({"Question": "Ask", "Answer": LABEL}, "Ask", (LABEL,), "Question", "Answer"),
    "options, right one by place": (
        {"question": "Ask", "choices": ["x", "y"], "answer": 1},
        "Ask\nA. x\nB. y",
        ("B",),
        "question + choices",
        "answer",
    ),
    "options in an object of lists": (
        {"id": 7, "question": "Ask", "choices": {"label": ["1", "2"], "text": ["x", "y"]}, "answerKey": "2"},
        "Ask\n1. x\n2. y",
        ("2",),
        "question + choices",
        "answerKey",
    ),
    "options as objects": (
        {"question": "Ask", "options": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}], "answer": "B"},
        "Ask\nA. x\nB. y",
        ("B",),
        "question + options",
        "answer",
    ),
    "options by letter": (
        {"question": "Ask", "options": {"A": "x", "B": "y"}, "answer": "A"},
        "Ask\nA. x\nB. y",
        ("A",),
        "question + options",
        "answer",
    ),
    "options as text": (
        {"question": "Ask", "options": "x or y", "answer": LABEL},
        "Ask\nx or y",
        (LABEL,),
        "question + options",
        "answer",
    ),
    "chat": (
        {"messages": [{"role": "system", "content": "Be kind."}, USER, ASSISTANT]},
        "Be kind.\n\nAsk",
        (LABEL,),
        "messages (last user turn)",
        "messages (assistant turn)",
    ),
    "chat of many turns": (
        {"messages": [{"role": "user", "content": "Before"}, {"role": "assistant", "content": "-"}, USER, ASSISTANT]},
        "Ask",
        (LABEL,),
        "messages (last user turn)",
        "messages (assistant turn)",
    ),
    "chat that ends with the question": (
        {"messages": [ASSISTANT, USER]},
        "Ask",
        (),
        "messages (last user turn)",
        None,
    ),
    "chat as JSON text": (
        {"messages": json.dumps([USER, ASSISTANT])},
        "Ask",
        (LABEL,),
        "messages (last user turn)",
        "messages (assistant turn)",
    ),
    "chat of parts": (
        {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Ask"}]}, ASSISTANT]},
        "Ask",
        (LABEL,),
        "messages (last user turn)",
        "messages (assistant turn)",
    ),
    "from and value": (
        {"conversations": [{"from": "human", "value": "Ask"}, {"from": "gpt", "value": LABEL}]},
        "Ask",
        (LABEL,),
        "conversations (last user turn)",
        "conversations (assistant turn)",
    ),
    "prompt of turns": (
        {"prompt": [USER], "completion": [ASSISTANT]},
        "Ask",
        (LABEL,),
        "prompt (last user turn)",
        "completion",
    ),
    "a chat in an object": (
        {"custom_id": "1", "body": {"model": "m", "messages": [USER, ASSISTANT]}},
        "Ask",
        (LABEL,),
        "body.messages (last user turn)",
        "body.messages (assistant turn)",
    ),
    "speaker and text": (
        {"conversation": [{"speaker": "User", "text": "Ask"}, {"speaker": "AI", "text": LABEL}]},
        "Ask",
        (LABEL,),
        "conversation (last user turn)",
        "conversation (assistant turn)",
    ),
    "turns of parts": (
        {"messages": [{"role": "user", "parts": [{"text": "Ask"}]}, {"role": "model", "parts": [{"text": LABEL}]}]},
        "Ask",
        (LABEL,),
        "messages (last user turn)",
        "messages (assistant turn)",
    ),
    "an object of lists": (
        {"conversations": {"from": ["human", "gpt"], "value": ["Ask", LABEL]}},
        "Ask",
        (LABEL,),
        "conversations (last user turn)",
        "conversations (assistant turn)",
    ),
    "texts in turn": (
        {"conversations": ["Ask", LABEL]},
        "Ask",
        (LABEL,),
        "conversations (last user turn)",
        "conversations (assistant turn)",
    ),
    "chat as Python writes it": (
        {"messages": str([USER, ASSISTANT])},
        "Ask",
        (LABEL,),
        "messages (last user turn)",
        "messages (assistant turn)",
    ),
    "preferences": ({"prompt": "Ask", "chosen": LABEL, "rejected": "no"}, "Ask", (LABEL,), "prompt", "chosen"),
    "preferences, all turns": (
        {"chosen": [USER, ASSISTANT], "rejected": [USER, {"role": "assistant", "content": "no"}]},
        "Ask",
        (LABEL,),
        "chosen (last user turn)",
        "chosen (assistant turn)",
    ),
    "preferences, one turn": (
        {"conversations": [USER], "chosen": ASSISTANT, "rejected": USER},
        "Ask",
        (LABEL,),
        "conversations (last user turn)",
        "chosen",
    ),
    "preferences in an object": (
        {"input": {"messages": [USER]}, "preferred_output": [ASSISTANT], "non_preferred_output": [USER]},
        "Ask",
        (LABEL,),
        "input.messages (last user turn)",
        "preferred_output",
    ),
    "prompt beside its chat": (
        {"prompt": "Ask", "messages": [USER, ASSISTANT, {"role": "user", "content": "More"}, USER]},
        "Ask",
        (LABEL,),
        "prompt",
        "messages",
    ),
    "what was retrieved": (
        {"question": "Ask", "answer": "a model's", "contexts": ["One.", "Two."], "ground_truth": LABEL},
        "One.\n\nTwo.\n\nAsk",
        (LABEL,),
        "contexts + question",
        "ground_truth",
    ),
    "a passage alone": ({"article": "Ask", "highlights": LABEL}, "Ask", (LABEL,), "article", "highlights"),
    "a story before its question": (
        {"story": "Facts", "question": "Ask", "answer": LABEL},
        "Facts\n\nAsk",
        (LABEL,),
        "story + question",
        "answer",
    ),
    "the only text beside a label": ({"phrase": "Ask", "__expected": LABEL}, "Ask", (LABEL,), "phrase", "__expected"),
    "a column a speaker": (
        {"system": "Be kind.", "user": "Ask", "assistant": LABEL},
        "Be kind.\n\nAsk",
        (LABEL,),
        "system + user",
        "assistant",
    ),
    "several right answers and wrong ones": (
        {"question": "Ask", "best_answer": LABEL, "correct_answers": [LABEL, "b"], "incorrect_answers": ["c"]},
        "Ask",
        (LABEL,),
        "question",
        "best_answer",
    ),
    "a premise before its question": (
        {"premise": "Facts", "question": "Ask", "choice1": "x", "choice2": "y", "label": 0},
        "Facts\n\nAsk\nA. x\nB. y",
        ("A",),
        "premise + question + choice1…choice2",
        "label",
    ),
    "names with blanks": (
        {"User Input": "Ask", "Expected Answer": LABEL},
        "Ask",
        (LABEL,),
        "User Input",
        "Expected Answer",
    ),
    "several answers": ({"question": "Ask", "ideal": [LABEL, "b"]}, "Ask", (LABEL, "b"), "question", "ideal"),
    "several answers in columns": (
        {"question": "Ask", "answer1": LABEL, "answer2": "b"},
        "Ask",
        (LABEL, "b"),
        "question",
        "answer1 + answer2",
    ),
    "several answers in a cell": (
        {"question": "Ask", "answers": f"{{'text': array(['{LABEL}', 'b'], dtype=object)}}"},
        "Ask",
        (LABEL, "b"),
        "question",
        "answers",
    ),
    "marks in the text": (
        {"text": f"### Human: Ask### Assistant: {LABEL}"},
        "Ask",
        (LABEL,),
        "text (last user turn)",
        "text (assistant turn)",
    ),
    "text": ({"text": "Ask", "label": 3}, "Ask", ("3",), "text", "label"),
    "plain string": ("Ask", "Ask", (), "plain text", None),
}


@pytest.mark.parametrize("name", ROWS)
def test_kinds_of_rows(name: str) -> None:
    row, prompt, references, column, label_column = ROWS[name]
    shape = find_shape([row])
    assert (shape.prompt_words, shape.label_words) == (column, label_column)
    assert read_row(shape, row) == (prompt, references)


@pytest.mark.parametrize("name", ROWS)
def test_labels_never_reach_the_prompt(name: str) -> None:
    row = ROWS[name][0]
    prompt, _ = read_row(find_shape([row]), row)
    assert LABEL not in prompt


@given(
    question=st.text(alphabet="abc ", min_size=1).filter(str.strip),
    label=st.text(alphabet="XYZ", min_size=1),
    columns=st.permutations(["prompt", "instruction", "input", "question", "text"]).flatmap(
        lambda names: st.integers(1, len(names)).map(lambda count: names[:count])
    ),
    label_column=st.sampled_from(["response", "output", "answer", "answerKey", "completion", "target", "references"]),
)
def test_a_label_column_is_never_part_of_the_prompt(
    question: str, label: str, columns: list[str], label_column: str
) -> None:
    row = dict.fromkeys(columns, question) | {label_column: label}
    prompt, references = read_row(find_shape([row]), row)
    assert references == (label,)
    assert not set(prompt) & set(label)


def test_a_chat_column_of_other_text_is_refused_and_not_taken_as_a_prompt() -> None:
    row = {"messages": "user: Ask assistant: answer"}
    with pytest.raises(RowError, match="not a list of turns"):
        read_row(find_shape([row]), row)


def test_a_named_column_keeps_what_belongs_to_it() -> None:
    row = {"question": "Ask", "passage": "Facts", "choices": ["x", "y"], "answer": 1, "goal": "Other"}
    assert read_row(find_shape([row], column="question"), row) == ("Facts\n\nAsk\nA. x\nB. y", ("B",))
    assert read_row(find_shape([row], column="GOAL"), row) == ("Facts\n\nOther\nA. x\nB. y", ("B",))


def test_a_named_label_is_the_only_one() -> None:
    row = {"prompt": "Ask", "response": "x", "gold": "y"}
    assert read_row(find_shape([row], label="gold"), row) == ("Ask", ("y",))


def test_one_column_cannot_be_prompt_and_label() -> None:
    with pytest.raises(RowError, match="both prompt and label"):
        find_shape([{"prompt": "Ask"}], label="prompt")


@pytest.mark.parametrize("named", [{"column": "nope"}, {"label": "nope"}])
def test_a_missing_named_column_lists_those_there(named: dict[str, str]) -> None:
    with pytest.raises(RowError, match='no column "nope"') as caught:
        find_shape([{"alpha": "x", "prompt": "y"}], **named)
    assert "alpha, prompt" in caught.value.hint


def test_unknown_columns_are_listed_with_what_to_do() -> None:
    with pytest.raises(RowError, match="alpha, beta") as caught:
        find_shape([{"alpha": "x", "beta": "y"}])
    assert "column" in caught.value.hint


def test_half_of_a_pair_is_no_prompt() -> None:
    for pair in ({"premise": "a", "hypothesis": "b", "label": 1}, {"sentence1": "a", "sentence2": "b", "label": 0}):
        with pytest.raises(RowError, match="no column is known") as caught:
            find_shape([pair])
        assert setting("template") in caught.value.hint


@pytest.mark.parametrize("chosen", [None, "an answer"])
def test_what_was_preferred_is_no_prompt_by_itself(chosen: str | None) -> None:
    with pytest.raises(RowError, match="no column is known to hold the prompt; columns there: chosen, rejected"):
        find_shape([{"chosen": chosen, "rejected": "another"}])


def test_a_column_that_is_filled_is_preferred_to_an_empty_one() -> None:
    rows = [{"prompt": None, "text": "a"}, {"prompt": None, "text": "b"}]
    assert find_shape(rows).column == "text"


def test_the_first_label_with_values_is_taken_and_an_empty_one_only_to_be_filled_in() -> None:
    rows = [{"prompt": "Ask", "response": "", "completion": "x"}, {"prompt": "Ask", "response": None, "label": "y"}]
    assert find_shape(rows).labels == ("completion",)
    assert find_shape([{"prompt": "Ask", "response": ""}]).labels == ("response",)


def test_what_was_written_to_compare_with_comes_before_an_answer_of_a_model() -> None:
    for name in ("ground_truth", "ideal", "expected_output", "reference", "correct_answer"):
        shape = find_shape([{"question": "Ask", "answer": "a", "response": "r", "label": "l", name: "x"}])
        assert shape.labels == (name,)
        assert set(shape.unread) == {"answer", "response", "label"}


def test_columns_that_were_not_read_are_listed() -> None:
    rows = [{"id": 1, "prompt": "Ask", "note": "", "response": "x"}, {"prompt": "Ask", "topic": "y", "tags": []}]
    assert find_shape(rows).unread == ("id", "topic")


@pytest.mark.parametrize(
    ("passage", "text"),
    [
        (["one", "two"], "one\n\ntwo"),
        ("['one', 'two']", "one\n\ntwo"),
        ("[1, 2]", "[1, 2]"),
        ({"text": "one", "title": "T"}, "T\none"),
        ([{"page_content": "one", "metadata": {"page": 1}}, {"page_content": "two"}], "one\n\ntwo"),
        ({"title": ["T", "U"], "sentences": [["one", " two"], ["three"]]}, "T\none\ntwo\n\nU\nthree"),
        ({"contexts": ["one", "two"], "labels": ["x", "y"]}, "one\ntwo"),
        ({"passage_text": ["one", "two"], "is_selected": [0, 1]}, "one\ntwo"),
    ],
)
@pytest.mark.parametrize("name", ["context", "passages", "documents"])
def test_passages_in_objects_and_lists_stand_before_the_question(name: str, passage: object, text: str) -> None:
    row = {"question": "Ask", name: passage, "answer": LABEL}
    assert read_row(find_shape([row]), row) == (f"{text}\n\nAsk", (LABEL,))


@pytest.mark.parametrize("passage", [{"id": 1}, [{"id": 1}], [1, 2], {"title": ["T"], "sentences": []}])
def test_passages_without_text_are_listed_as_not_read(passage: object) -> None:
    row = {"question": "Ask", "context": passage, "answer": LABEL}
    assert read_row(find_shape([row]), row) == ("Ask", (LABEL,))
    assert find_shape([row]).unread == ("context",)


def test_several_questions_on_one_passage_are_refused() -> None:
    row = {"story": "Once.", "questions": ["Who?", "Where?"], "answers": {"input_text": ["Ann", "Oslo"]}}
    with pytest.raises(RowError, match='"questions" holds several questions on one story') as caught:
        find_shape([row])
    assert "Write a row a question" in caught.value.hint
    assert find_shape([row], column="story").unread == ("source", "questions")[1:]


def test_an_answer_that_is_judged_bad_is_no_label() -> None:
    rows = [{"prompt": "Ask", "completion": LABEL, "label": True}, {"prompt": "Ask", "completion": "x", "label": False}]
    shape = find_shape(rows)
    assert [read_row(shape, row) for row in rows] == [("Ask", (LABEL,)), ("Ask", ())]
    assert shape.label_words == "completion (where label is true)"
    assert read_row(find_shape(rows, label="completion"), rows[1]) == ("Ask", ("x",))
    chats = [{"messages": [USER, ASSISTANT], "kto_tag": kept} for kept in ("true", "false")]
    assert [read_row(find_shape(chats), row)[1] for row in chats] == [(LABEL,), ()]
    facts = [{"question": "Ask", "answer": LABEL, "label": False}]  # what is asked may be whether it is true
    assert read_row(find_shape(facts), facts[0]) == ("Ask", (LABEL,))


def test_whether_an_answer_was_correct_is_no_answer() -> None:
    assert find_shape([{"question": "Ask", "said": "x", "correct": True}]).labels == ()
    assert find_shape([{"question": "Ask", "correct": "x"}]).labels == ("correct",)


def test_a_prompt_that_a_chat_template_wrote_is_a_chat() -> None:
    text = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nAsk<|im_end|>\n<|im_start|>assistant\n"
    row = {"prompt": text, "completion": f"{LABEL}<|im_end|>"}
    assert read_row(find_shape([row]), row) == ("Be brief.\n\nAsk", (LABEL,))
    assert read_row(find_shape([text]), text) == ("Be brief.\n\nAsk", ())
    asked = {"prompt": "What does <|im_start|>user mean?"}
    assert read_row(find_shape([asked]), asked)[0] == asked["prompt"]


@pytest.mark.parametrize("system", ["Be brief.", [{"text": "Be brief."}], {"parts": [{"text": "Be brief."}]}])
@pytest.mark.parametrize("name", ["system", "systemInstruction"])
def test_a_system_text_stands_before_the_chat_once(name: str, system: object) -> None:
    row = {name: system, "messages": [USER, ASSISTANT]}
    assert read_row(find_shape([row]), row) == ("Be brief.\n\nAsk", (LABEL,))
    row["messages"] = [{"role": "system", "content": "Be brief."}, USER, ASSISTANT]
    assert read_row(find_shape([row]), row) == ("Be brief.\n\nAsk", (LABEL,))


def test_a_definition_is_an_instruction_where_all_rows_have_it() -> None:
    rows = [{"definition": "Do it.", "input": text, "target": LABEL} for text in ("one", "two")]
    assert read_row(find_shape(rows), rows[0]) == ("Do it.\n\none", (LABEL,))
    words = [{"input": text, "definition": f"{text} is"} for text in ("one", "two")]
    assert read_row(find_shape(words), words[0]) == ("one", ())


@pytest.mark.parametrize(
    ("label", "references"),
    [
        ({"reward_model": {"style": "rule", "ground_truth": "4"}}, ("4",)),
        ({"answers_spans": {"spans": ["3", "4"], "types": ["number"]}}, ("3", "4")),
        ({"labels": [3, 4]}, ("3", "4")),
        ({"labels": "[3, 4]"}, ("3", "4")),
        ({"final_decision": "yes", "long_answer": "Yes, it is."}, ("yes",)),
        ({"mc9": {"choices": ["a", "b", "c"], "labels": [1, 0, 1]}}, ("a", "c")),
    ],
)
def test_answers_in_other_columns(label: dict[str, object], references: tuple[str, ...]) -> None:
    row = {"question": "Ask", **label}
    named = "mc9" if "mc9" in label else None
    assert read_row(find_shape([row], label=named), row) == ("Ask", references)


def test_rows_inside_of_an_object_under_other_names() -> None:
    for name in ("inputs", "params", "item", "doc"):
        row = {name: {"question": "Ask"}, "target": LABEL}
        assert read_row(find_shape([row]), row) == ("Ask", (LABEL,))
    with pytest.raises(RowError) as caught:
        find_shape([{"prompt": {"words": "Ask"}, "completion": LABEL}])
    assert '"prompt.words"' in caught.value.hint


def test_a_passage_that_stands_in_the_prompt_is_not_repeated() -> None:
    row = {"prompt": "Facts. Who?", "context": "Facts."}
    assert read_row(find_shape([row]), row)[0] == "Facts. Who?"


def test_of_rows_that_are_turns_only_those_of_the_user_are_prompts() -> None:
    rows = [{"text": "Ask", "role": "prompter"}, {"text": LABEL, "role": "assistant"}]
    shape = find_shape(rows)
    assert [read_row(shape, row)[0] for row in rows] == ["Ask", ""]
    for lines in (["User: Ask", f"Assistant: {LABEL}"], ["Q: Ask", f"A: {LABEL}"]):
        assert [read_row(find_shape(lines), line)[0] for line in lines] == ["Ask", ""]


def test_a_chat_to_be_classified_stays_whole() -> None:
    row = {"text": "User: my card is lost\nAssistant: when?", "intent": "card"}
    assert read_row(find_shape([row]), row) == (row["text"], ("card",))


def test_a_known_column_that_holds_no_text_is_told_with_what_it_holds() -> None:
    with pytest.raises(RowError, match=r'"prompt" holds an object \(columns: 0, 1\), not text'):
        find_shape([{"prompt": {"0": "a", "1": "b"}}])


def test_an_input_that_comes_in_a_later_row_belongs_to_the_prompt() -> None:
    rows = [{"instruction": "Ask"}, {"instruction": "Ask", "input": "this"}]
    shape = find_shape(rows)
    assert [read_row(shape, row)[0] for row in rows] == ["Ask", "Ask\n\nthis"]


@pytest.mark.parametrize("value", [None, "", " \n\t", [], [{"role": "system", "content": "x"}]])
def test_rows_without_a_prompt_are_empty(value: object) -> None:
    column = "messages" if isinstance(value, list) else "prompt"
    rows = [{column: value, "response": "x"}]
    assert read_row(find_shape(rows), rows[0])[0] == ""


@pytest.mark.parametrize("value", [{"a": 1}, ["a", "b"], b"\xff\xfe"])
def test_a_prompt_that_is_no_text_is_refused(value: object) -> None:
    shape = find_shape([{"prompt": "x", "other": 1}])
    with pytest.raises(RowError, match=r'column "prompt" holds .*not text') as caught:
        read_row(shape, {"prompt": value, "other": 1})
    assert "prompt, other" in caught.value.hint


@given(st.text(alphabet=st.characters(), min_size=1))
def test_half_characters_are_replaced_and_nothing_else(text: str) -> None:
    prompt, _ = read_row(find_shape(["x"]), text)
    if text.strip():
        paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        assert prompt == "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= c <= "\udfff" else c for c in paired)
    else:
        assert prompt == ""
