"""A conversation of one question and one answer: messages with roles, or prompt and completion."""

from typing import Any

from icotlib.data.cell_text import cell_text, has_content, is_list, unwritten
from icotlib.data.formats.base import Columns, Format, Habits, Parts, Row
from icotlib.data.formats.by_name import ANSWER, QUESTION, RESPONSE

_COLUMNS = ("messages", "conversations", "conversation", "dialog", "dialogue", "chat")

#: Names of a column with messages.
CONVERSATIONS = frozenset(_COLUMNS)
_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}

_ASKED = frozenset(QUESTION)
_ANSWERED = frozenset((*ANSWER, *RESPONSE, "solution"))


class Messages(Format):
    name = "messages"
    about = "messages of user and assistant (or human and gpt), perhaps of the system"

    def fits(self, row: Row) -> bool:
        if is_conversation(row.get("prompt")):
            return True
        return row.has_any(CONVERSATIONS) and not (row.has_any(_ASKED) and row.has_any(_ANSWERED))

    def read(self, row: Row, columns: Columns, habits: Habits) -> Parts:
        found = row.columns(("prompt", "completion")) or row.columns(_COLUMNS)
        if row.columns(_COLUMNS):
            found = [row.one("question", _COLUMNS) or ""]
        messages = [message for column in found for message in as_messages(row.cells[column])]
        said: dict[str, list[dict]] = {"system": [], "user": [], "assistant": []}
        for message in messages:
            said[message["role"]].append(message)
        if len(said["user"]) != 1:
            raise ValueError(f"the conversation has {len(said['user'])} questions of the user")
        asked = [x["content"] for x in said["system"] if x["content"] != habits.system_prompt]
        asked.append(said["user"][0]["content"])
        if not said["assistant"]:
            return self._answered_elsewhere(row, asked, found[0], columns)
        if len(said["assistant"]) > 1 or messages[-1]["role"] != "assistant":
            raise ValueError("the conversation does not end with its one answer")
        answer, where = said["assistant"][0], " + ".join(found)
        thought = answer["reasoning"] if has_content(answer["reasoning"]) else None
        taken = (f"{where} (user)", f"{where} (reasoning)" if thought else "", f"{where} (answer)")
        return Parts(asked, thought, answer["content"], taken, only_these_steps=thought is not None)

    def _answered_elsewhere(self, row: Row, asked: list, where: str, columns: Columns) -> Parts:
        """A prompt whose answer is in another column, or in the reward model's, as verl has it."""
        reward = unwritten(row.get("reward_model"))
        if columns.answer is None and isinstance(reward, dict) and "ground_truth" in reward:
            taken = (where, "", "reward_model.ground_truth")
            return Parts(asked, None, reward["ground_truth"], taken)
        answer = columns.answer or row.one("answer", ("answer", "solution", "ground_truth"))
        if answer is None:
            raise ValueError("the conversation has no answer of the assistant")
        steps = columns.steps
        return Parts(
            asked,
            row.named(steps) if steps else None,
            row.named(answer),
            (where, steps or "", answer),
            only_these_steps=steps is not None,
        )


def is_conversation(cell: Any) -> bool:
    """Whether a cell is a list of objects, or such a list written as text."""
    cell = unwritten(cell) if isinstance(cell, str) and cell.lstrip()[:2] in ("[{", "[ ") else cell
    return is_list(cell) and len(cell) > 0 and all(isinstance(entry, dict) for entry in cell)


def as_messages(cell: Any) -> list[dict[str, Any]]:
    """The messages of a cell, each with `role` (user, assistant, system), `content`, `reasoning`.

    Raises `ValueError` for other roles, such as those of tools, and for content that is no text.
    """
    cell = unwritten(cell)
    if isinstance(cell, str):
        cell = [{"role": "assistant", "content": cell}]
    if cell is None or not is_conversation(cell):
        raise ValueError("the messages are not a list of objects")
    return [_message(message) for message in cell]


def _message(message: dict[str, Any]) -> dict[str, Any]:
    role = str(message.get("role", message.get("from"))).lower()
    if role not in _ROLES:
        raise ValueError(f"a message has the role {role!r}")
    content: Any = message.get("content", message.get("value"))
    if is_list(content):
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in content):
            raise ValueError("a message holds something besides text")
        content = "\n".join(str(part.get("text") or "") for part in content)
    if not isinstance(content, str):
        content = cell_text(content)
    reasoning = message.get("reasoning_content", message.get("reasoning"))
    return {"role": _ROLES[role], "content": content, "reasoning": reasoning}


def shared_system_prompt(rows: list[Row]) -> str | None:
    """The system prompt that every conversation of a file has; None if there is none."""
    prompts = {_system_prompt(row) for row in rows}
    return prompts.pop() if len(prompts) == 1 else None


def _system_prompt(row: Row) -> str | None:
    cell = row.get("prompt") if is_conversation(row.get("prompt")) else row.get(*_COLUMNS)
    try:
        messages = as_messages(cell) if cell is not None else []
    except ValueError:
        return None
    return next((x["content"] for x in messages if x["role"] == "system"), None)
