"""A few rows -> which column is the prompt, which are labels, what belongs to the prompt. Pure: no files here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.errors import setting
from engine.prompts.chats import USER, Turns, known_role, last_exchange, role_names
from engine.prompts.images import image_columns
from engine.prompts.labels import LABELS, TEACHER_COLUMN, find_labels, label_of_unnamed, listed_labels
from engine.prompts.marked import marked_role, marked_turns
from engine.prompts.names import is_number, is_unnamed, key_of, listed, present, scalar
from engine.prompts.options import Options, find_options, settled
from engine.prompts.rows import CHATS, no_text, opened, passage_text, turns_of, words_of
from engine.prompts.shape import RowError, RowShape
from engine.prompts.templates import Template

Table = Mapping[str, Any]

# What a prompt may read from; a row with none of the names before it is asked about these.
_PASSAGES = ("article", "passage", "context", "story", "document", "contexts")
PROMPT_COLUMNS = (
    "prompt",
    "messages",
    "conversations",
    "conversation",
    "contents",
    "chat",
    "dialog",
    "instruction",
    "question",
    "question_stem",
    "stem",
    "query",
    "problem",
    "input",
    "inputs",
    "user_input",
    "input_text",
    "text",
    *_PASSAGES,
    "dialogue",
    "ctx",
    "goal",
    "content",
    "chosen",
)
"""The first of these that a row has is the prompt."""

# The same, but never a prompt themselves: half of a pair is none.
_ONLY_BEFORE = ("premise", "retrieved_contexts")
# And these only before what is a question by its name: beside other columns they may be anything.
_BEFORE_QUESTIONS = ("sentence", "passages", "paragraph", "paragraphs", "documents", "support", "hint", "body")
_QUESTIONS = frozenset({"question", "questionstem", "stem", "query", "problem", "userinput"})
# With columns for both speakers, the user's is the prompt.
_SPEAKERS = (("user", "assistant"), ("human", "assistant"), ("human", "bot"))

# Text columns that belong to a prompt: in front of it, and after it.
BEFORE = ("system_prompt", "system", "system_message", "system_instruction", "task_prefix")
# A text for all rows alike; where it differs, it may be the answer.
COMMON = ("definition", "task_definition", "task_description")
_AFTER_INSTRUCTION = ("input", "context")
_ABOUT_ROWS = ("id", "idx", "uid", "source", "split")
_ROLE_COLUMNS = ("role", "from", "speaker", "author")
_WRAPPERS = ("body", "row", "vars", "input", "inputs", "data", "example", "fields", "params", "item", "doc", "question")
# Beside an answer, whether it is one to give: what files of preferences say row by row.
_VERDICTS = ("kto_tag", "desirable", "label")
_JUDGED = frozenset({"completion", "response", "output", *CHATS})


def find_shape(
    rows: Sequence[Any], *, column: str | None = None, label: str | None = None, template: Template | None = None
) -> RowShape:
    """The shape of rows of which `rows` are the first few (at least one).

    Names are found in any case and spelling ("Answer Key" is `answerkey`). A column that is named is the prompt as it
    is; what belongs to it (passages, options) stays with it.

    Raises:
        RowError: the rows are no rows, no prompt column is known, or a named column is not there.
    """
    if isinstance(rows[0], str):
        return _plain_shape(rows, column if column is not None else label, template)
    if not isinstance(rows[0], dict):
        problem = f"a row must be an object or a string, this one is {words_of(rows[0])}"
        raise RowError(problem, "Write one object a prompt")
    tables: list[Table] = [row for row in rows if isinstance(row, dict)]
    held = tables
    if template is not None:
        return _template_shape(tables, label, template)
    inside, column = _holder(tables, column)
    if inside is not None:
        tables = [opened(row, inside) for row in tables]
    main = _named(column, *tables) if column is not None else _found(tables, label)
    kind = key_of(main)
    chats = [turns for row in tables if (turns := turns_of(main, row.get(main)))]
    named_label = _named(label, *tables) if label is not None else None
    if named_label == main:
        raise RowError(f'"{main}" cannot be both prompt and label', "Name two different columns")
    role = None if chats else _role_column(tables, main)
    beside = {name for name in (main, named_label, role) if name is not None}
    after = _text_columns(_AFTER_INSTRUCTION if kind == "instruction" else (), tables, beside)[:1]
    before = (*_text_columns(BEFORE, tables, beside), *_common_text(tables, beside))
    if not chats and kind not in {"instruction", "text", *map(key_of, _PASSAGES)}:
        before = (*before, *_passages(tables, main, beside))
    used = {*beside, *before, *after}
    found = None if chats else _options(tables, used, named_label)
    marked = (
        []
        if chats
        else _marked(tables, main, sure=named_label is not None or bool(find_labels(tables, used, found)[1]))
    )
    answered = named_label is None and _are_answered(chats or marked)
    labels: tuple[str, ...] = (named_label,) if named_label is not None else ()
    if named_label is None and not answered:
        labels = _labels(tables, used, found)
    options = settled(found, tables, labels[0] if labels else None) if found is not None else None
    if found is not None and options is None and not labels:
        labels = found.columns  # several right answers, not options to choose from
    judged = named_label is None and (answered or any(key_of(name) in _JUDGED for name in labels))
    verdict = _verdict(tables, {*used, *labels}) if judged else None
    options = _not_twice(options, tables, main) if options is not None else None
    teacher = next(iter(present((TEACHER_COLUMN,), tables)), None) if labels else None
    shape = RowShape(
        main, tuple(name for name in before if name not in labels), after, options, labels, listed_labels(labels),
        turns=bool(chats), marked=bool(marked), answered=answered, teacher=teacher, inside=inside, role=role,
        verdict=verdict,
    )  # fmt: skip
    return _with_rest(tables, shape, held)


def has_prompt(row: Table) -> bool:
    """Whether an object is a row by itself: one of its columns is a known prompt column with text or turns."""
    return any(_usable(name, row[name]) for name in present(PROMPT_COLUMNS, [row]))


def _plain_shape(rows: Sequence[Any], named: str | None, template: Template | None) -> RowShape:
    texts = [row for row in rows if isinstance(row, str) and row.strip()]
    if template is not None:
        if len(template.columns) > 1:
            problem = f"the template takes {listed(template.columns)}, but the prompts are plain text"
            raise RowError(problem, "Let it take one column, whatever its name: it stands for the text")
    elif named is not None:
        raise RowError(f'there is no column "{named}": the prompts are plain text', "Leave the column out")
    chats = [turns for text in texts if (turns := marked_turns(text)) is not None]
    marked = bool(texts) and 2 * len(chats) >= len(texts)
    roles = {marked_role(text)[0] for text in texts}
    role = "line" if not marked and _speak_in_turn(roles) else None
    return RowShape(None, marked=marked, answered=marked and _are_answered(chats), role=role, template=template)


def _speak_in_turn(roles: set[str | None]) -> bool:
    return None not in roles and USER in roles and len(roles) > 1


def _template_shape(tables: Sequence[Table], label: str | None, template: Template) -> RowShape:
    held, inside = tables, None
    try:
        spelled = template.spelled(dict.fromkeys(_every(tables)))
    except ValueError as error:
        inside = _wrapper(tables)
        if inside is None:
            raise RowError(str(error), "Name columns in braces, as in {text}") from error
        tables = [opened(row, inside) for row in tables]
        spelled = template.spelled(dict.fromkeys(_every(tables)))
    taken = set(spelled.columns)
    labels = (_named(label, *tables),) if label is not None else _labels(tables, taken, None)
    if taken & set(labels):
        raise RowError(f'the template takes the label column "{labels[0]}"', "Leave answers out of the template")
    found = _options(tables, labels, labels[0] if labels else None)
    options = settled(found, tables, labels[0] if labels else None) if found is not None else None
    if options is not None and not set(options.columns) <= taken:
        options = None
    teacher = next(iter(present((TEACHER_COLUMN,), tables)), None) if labels else None
    shape = RowShape(
        spelled.columns[0], options=options, labels=labels, listed=listed_labels(labels), teacher=teacher,
        inside=inside, template=spelled,
    )  # fmt: skip
    return _with_rest(tables, shape, held)


def _found(tables: Sequence[Table], label: str | None) -> str:
    """The prompt column: the first known name with a prompt in it, or the only text beside labels and options, or
    else a known name with nothing in it.
    """
    speakers = [pair[0] for pair in _SPEAKERS if len(present(pair, tables)) == 2]
    names = present((*PROMPT_COLUMNS, *speakers), tables)
    for name in names:
        if any(_usable(name, row.get(name)) for row in tables):
            _refuse_questions_below(name, tables)
            return name
    if list(map(is_unnamed, _every(tables))) == [True]:
        return str(_every(tables)[0])
    if (only := _only_text(tables, label)) is not None:
        return only
    for name in names:
        if key_of(name) != "chosen" and all(
            row.get(name) in (None, "", []) or scalar(row.get(name)) is not None for row in tables
        ):
            return name
    for name, value in ((name, row.get(name)) for row in tables for name in names):
        if value not in (None, "", []) and scalar(value) is None:
            raise no_text(name, value, _every(tables))
    raise RowError(
        f"no column is known to hold the prompt; columns there: {listed(_every(tables))}",
        f'Name it with {setting("column")}, make prompts of columns with {setting("template")}, or call it "prompt"',
    )


def _refuse_questions_below(found: str, tables: Sequence[Table]) -> None:
    """Raises RowError where a passage would be the prompt, and the questions on it stand in a list beside it."""
    if key_of(found) not in map(key_of, _PASSAGES):
        return
    for name in present(("questions",), tables):
        if any(isinstance(row.get(name), list) and row[name] for row in tables):
            problem = f'column "{name}" holds several questions on one {found}'
            raise RowError(
                problem, f'Write a row a question, or take the {found} alone with {setting("column")} "{found}"'
            )


def _only_text(tables: Sequence[Table], label: str | None) -> str | None:
    """The only column of text beside labels that are known, and options."""
    labels = [_named(label, *tables)] if label is not None else find_labels(tables, set(), None)[1]
    labels = labels or list(label_of_unnamed(tables))
    if not labels:
        return None
    options = find_options(tables, set(labels))
    used = {*labels, *(options.columns if options else ()), *present((*LABELS, "rejected"), tables)}
    texts = [name for name in _every(tables) if name not in used and _holds_text(tables, name)]
    likely = [name for name in texts if name not in present((TEACHER_COLUMN, *_ABOUT_ROWS), tables)] or texts
    return likely[0] if len(likely) == 1 else None


def _holds_text(tables: Sequence[Table], name: str) -> bool:
    values = [row.get(name) for row in tables]
    return any(isinstance(value, str) and value.strip() for value in values) and not all(
        value in (None, "") or is_number(value) for value in values
    )


def _holder(tables: Sequence[Table], column: str | None) -> tuple[str | None, str | None]:
    """The column whose objects hold the rows' columns, and the prompt column that is named: "body.messages" is both."""
    if column is None:
        return _wrapper(tables), None
    outer, _, held = column.partition(".")
    inside = any(isinstance(row.get(outer), dict) for row in tables) and not any(column in row for row in tables)
    return (outer, held) if held and inside else (None, column)


def _wrapper(tables: Sequence[Table]) -> str | None:
    """The column whose objects hold the rows' columns: where rows have no prompt themselves."""
    if any(_usable(name, row.get(name)) for name in present(PROMPT_COLUMNS, tables) for row in tables):
        return None
    for name in present(_WRAPPERS, tables):
        held = [row[name] for row in tables if isinstance(row.get(name), dict)]
        if held and len(held) == len(tables) and any(map(has_prompt, held)):
            return name
    return None


def _role_column(tables: Sequence[Table], main: str) -> str | None:
    for name in present(_ROLE_COLUMNS, tables):
        roles = {known_role(row[name]) for row in tables if name != main and row.get(name) is not None}
        if _speak_in_turn(roles):
            return name
    return None


def _marked(tables: Sequence[Table], main: str, *, sure: bool) -> list[Turns]:
    """The chats that are written as texts in a column; none where most texts are no chats."""
    texts = [row[main] for row in tables if isinstance(row.get(main), str) and row[main].strip()]
    chats = [turns for text in texts if (turns := marked_turns(text, sure=sure)) is not None]
    return chats if 2 * len(chats) >= len(texts) else []


def _are_answered(chats: Sequence[Turns]) -> bool:
    return any(last_exchange(chat).answer is not None for chat in chats)


def _labels(tables: Sequence[Table], used: set[str], options: Options | None) -> tuple[str, ...]:
    """The label columns: by their names, or of a table without a header by what stands in them."""
    return find_labels(tables, used, options)[0] or tuple(name for name in label_of_unnamed(tables) if name not in used)


def _options(tables: Sequence[Table], taken: Iterable[str], label: str | None) -> Options | None:
    """The options; none where the label that is named is one of their columns, unless these hold the right one."""
    options = find_options(tables, set(taken) - {label})
    return None if options is not None and label in options.columns and not options.scores else options


def _not_twice(options: Options, tables: Sequence[Table], main: str) -> Options | None:
    """The options, marked where prompts list them themselves, as in "(A) text"; None where they do so without names."""
    named = listed = False
    for row in tables:
        prompt = scalar(row.get(main)) or ""
        ends = [line.strip() for line in prompt.splitlines()[1:]]
        for name, text in options.read(row):
            mark = re.search(rf"\b{re.escape(name)}\s*[).:]\s*{re.escape(text.strip())}", prompt)
            if mark is None and not any(line.endswith(text.strip()) for line in ends):
                return options
            named, listed = (named or not listed) and mark is not None, True
    return replace(options, standing=True) if named else None if listed else options


def _passages(tables: Sequence[Table], main: str, taken: Iterable[str]) -> tuple[str, ...]:
    """Columns of passages, without those whose text stands in the prompts already."""
    known = (*_PASSAGES, *_ONLY_BEFORE, *(_BEFORE_QUESTIONS if key_of(main) in _QUESTIONS else ()))
    names = [name for name in present(known, tables) if name not in taken]
    texts = {name: [(passage_text(row.get(name)), scalar(row.get(main)) or "") for row in tables] for name in names}
    return tuple(
        name for name, pairs in texts.items()
        if all(text is not None for text, _ in pairs) and any(text and text not in prompt for text, prompt in pairs)
    )  # fmt: skip


def _with_rest(tables: Sequence[Table], shape: RowShape, held: Sequence[Table]) -> RowShape:
    """The shape with the columns of images, and with those that are not read.

    Args:
        held: the rows before what they hold inside was opened: it covers columns of the same name.
    """
    shape = replace(shape, images=tuple(name for name in image_columns(tables) if name not in shape.columns))
    read = set(shape.columns)
    empty: tuple[Any, ...] = (None, "", [], {})
    left = [name for name in _every(tables) if name not in read and any(row.get(name) not in empty for row in tables)]
    if shape.inside is not None:
        inner = {name for row in held if isinstance(row.get(shape.inside), dict) for name in row[shape.inside]}
        covered = [name for name in _every(held) if name in inner and any(row.get(name) not in empty for row in held)]
        left += [name for name in covered if name not in left]
    return replace(shape, unread=tuple(map(str, left)))


def _every(tables: Sequence[Table]) -> list[Any]:
    return list(dict.fromkeys(name for row in tables for name in row))


def _named(name: str, *rows: Table) -> str:
    for row in rows:
        if name in row:
            return name
    for same in (str.lower, key_of):
        for row in rows:
            for key in row:
                if isinstance(key, str) and same(key) == same(name):
                    return key
    raise RowError(f'there is no column "{name}"', f"Columns there: {listed(rows[0])}")


def _text_columns(names: Iterable[str], rows: Sequence[Table], taken: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that hold text, or nothing yet, in the rows."""
    there = [name for name in present(names, rows) if name not in taken]
    return tuple(name for name in there if all(passage_text(row.get(name)) is not None for row in rows))


def _common_text(tables: Sequence[Table], taken: Iterable[str]) -> tuple[str, ...]:
    """Columns of an instruction for all rows: several rows, one text."""
    names = _text_columns(COMMON, tables, taken) if len(tables) > 1 else ()
    return tuple(name for name in names if len({passage_text(row.get(name)) for row in tables}) == 1)


def _verdict(tables: Sequence[Table], taken: Iterable[str]) -> str | None:
    for name in present(_VERDICTS, tables):
        values = [row[name] for row in tables if row.get(name) not in (None, "")]
        if name not in taken and values and all(str(value).lower() in ("true", "false") for value in values):
            return name
    return None


def _usable(column: str, value: Any) -> bool:
    if turns_of(column, value) is not None:
        return True
    text = scalar(value) or ""
    return marked_turns(text) is not None if key_of(column) == "chosen" else bool(text.strip())


def roles_told(tables: Sequence[Table], column: str) -> str | None:
    """Of chats in which no user speaks, who does; None where some user does, or there are no chats."""
    chats = [turns for row in tables if isinstance(row, dict) and (turns := turns_of(column, row.get(column)))]
    if not chats or any(last_exchange(chat).prompt for chat in chats):
        return None
    names = list(dict.fromkeys(name for chat in chats for name in role_names(chat)))
    return listed(names, 6)
