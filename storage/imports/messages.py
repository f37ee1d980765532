"""Chat logs: a list of messages, or a request with its response, as OpenAI's and Anthropic's interfaces write them.

The prompt is everything up to the last message of the user, the response everything after it. Thinking that a server
split off (`reasoning`, `reasoning_content`, blocks of type "thinking") goes back in front of the text, in <think> tags;
what is no text (an image, a call of a tool) is named in square brackets. A log of several answers (`choices`) is as
many traces. Also ShareGPT's `conversations` (`from`, `value`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.trace import Trace
from storage.imports.making import Row, Unusable, cut, finish, kept, kind, plain_json, short

LISTS = ("messages", "conversations", "conversation", "turns")
ROLES = {
    "user": "user", "human": "user", "system": "system", "developer": "system", "assistant": "assistant",
    "gpt": "assistant", "model": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool",
}  # fmt: skip
REASONINGS = ("reasoning_content", "reasoning", "thinking")
REDACTED = "[redacted thinking]"
MOST_ENVELOPES = 4  # request, response, body: logs wrap them a few levels deep, never more


def fits(row: Row) -> bool:
    """A list of messages somewhere where logs have it."""
    asked, _ = _parts(row)
    return asked is not None


def is_chat(value: Any) -> bool:
    """Whether it is a list of messages with roles."""
    return isinstance(value, list) and bool(value) and all(isinstance(m, Mapping) and _role(m) for m in value)


def to_traces(row: Row) -> list[Trace]:
    """A trace for each answer. Raises Unusable naming the message."""
    asked, answers = _parts(row)
    if asked is None:
        raise Unusable('"messages" is missing; add a list of objects with "role" and "content".')
    chat = [_message(m, i) for i, m in enumerate(asked)]
    if not answers:
        return [_trace(row, chat, {})]
    return [_trace(row, [*chat, ("assistant", _said(answer, "the response"))], answer) for answer in answers]


def prompt_and_response(value: list[Any]) -> tuple[str, str, str]:
    """(system, prompt, response) of a list of messages. Raises Unusable."""
    return _split([_message(m, i) for i, m in enumerate(value)])


def text_of(value: Any, field: str) -> str:
    """A text, or the texts of a list of messages (TRL's conversational rows). Raises Unusable."""
    if isinstance(value, str):
        return value
    if is_chat(value):
        chat = [_message(m, i) for i, m in enumerate(value)]
        spoken = [text for role, text in chat if role != "system"] or [text for _, text in chat]
        return spoken[0] if len(spoken) == 1 else _transcript(chat)
    raise Unusable(f'"{field}" is {kind(value)}; write it as a string or a list of messages.')


def begins_with_question(value: list[Any]) -> bool:
    """Whether a chat has the user's message too, not only the answer."""
    return any(_role(m) == "user" for m in value)


# ---- where a log has its messages


def _parts(row: Row) -> tuple[list[Any] | None, list[Mapping[str, Any]]]:
    """(messages, answers): `answers` are messages of a response beside the request, empty where the list has them."""
    asked: list[Any] | None = None
    answers: list[Mapping[str, Any]] = []
    level: list[Any] = [row]
    for _ in range(MOST_ENVELOPES):
        below: list[Any] = []
        for part in level:
            if not isinstance(part, Mapping):
                continue
            if asked is None:
                asked = next((_with_system(part, part[n]) for n in LISTS if is_chat(part.get(n))), None)
            answers = answers or _answers(part)
            below += [part.get(n) for n in ("request", "response", "body", "input", "output", "message")]
        level = below
    if asked is None and answers and isinstance(row.get("prompt"), str):
        asked = [{"role": "user", "content": row["prompt"]}]
    return asked, answers


def _with_system(part: Mapping[str, Any], messages: list[Any]) -> list[Any]:
    system = part.get("system")  # Anthropic's requests have it beside the messages
    return [{"role": "system", "content": system}, *messages] if system else list(messages)


def _answers(part: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = part.get("choices")
    if isinstance(choices, list):
        found = []
        for choice in choices:
            if isinstance(choice, Mapping) and isinstance(choice.get("message"), Mapping):
                found.append({**choice["message"], "finish_reason": choice.get("finish_reason")})
            elif isinstance(choice, Mapping) and isinstance(choice.get("text"), str):
                found.append({"content": choice["text"], "finish_reason": choice.get("finish_reason")})
        return [{**m, "model": part.get("model")} for m in found]
    whole = part.get("type") == "message" and isinstance(part.get("content"), list)
    if whole or (_role(part) == "assistant" and isinstance(part.get("content"), list | str)):
        return [{**part, "finish_reason": part.get("stop_reason")}]
    return []


# ---- from messages to a trace


def _trace(row: Row, chat: list[tuple[str, str]], answer: Mapping[str, Any]) -> Trace:
    system, prompt, response = _split(chat)
    return cut(
        prompt, response, model=short(answer, "model") or short(row, "model"),
        finish_reason=finish(answer.get("finish_reason") or row.get("finish_reason")),
        stats=kept(row, "id", "custom_id"),
        sampling={"system": system} if system and plain_json(system) else {},
    )  # fmt: skip


def _split(chat: list[tuple[str, str]]) -> tuple[str, str, str]:
    system = "\n\n".join(text for role, text in chat if role == "system")
    turns = [(role, text) for role, text in chat if role != "system"]
    last = max((i for i, (role, _) in enumerate(turns) if role == "user"), default=None)
    if last is None:
        raise Unusable('"messages" has no message of the user; add the question with "role": "user".')
    before, after = turns[: last + 1], turns[last + 1 :]
    if not any(role == "assistant" for role, _ in after):
        raise Unusable('"messages" ends without an answer; add a message with "role": "assistant" after the question.')
    prompt = before[0][1] if len(before) == 1 else _transcript(before)
    said = [text if role == "assistant" else f"[{role}]\n{text}" for role, text in after]
    return system, prompt, "\n\n".join(text for text in said if text)


def _transcript(chat: list[tuple[str, str]]) -> str:
    return "\n\n".join(f"{role}: {text}" for role, text in chat)


def _role(message: Mapping[str, Any]) -> str:
    role = message.get("role", message.get("from"))
    return ROLES.get(role.lower(), "") if isinstance(role, str) else ""


def _message(message: Mapping[str, Any], i: int) -> tuple[str, str]:
    role = _role(message)
    return role, _said(message, f'"messages[{i}]')


def _said(message: Mapping[str, Any], where: str) -> str:
    """The text of one message, thinking in front."""
    content = message.get("content", message.get("value"))
    thought = next((message[k] for k in REASONINGS if isinstance(message.get(k), str) and message[k].strip()), "")
    if isinstance(content, str):
        text = content
    elif isinstance(content, list):
        text = _of_blocks(content, where)
    elif content is None:
        text = ""
    else:
        field = f'{where}.content"' if where.startswith('"') else f"the content of {where}"
        raise Unusable(f"{field} is {kind(content)}; write it as a string or a list of parts.")
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        text = "\n\n".join([t for t in (text, *(_call(c) for c in calls)) if t])
    return f"<think>\n{thought}\n</think>\n\n{text}" if thought else text


def _of_blocks(blocks: list[Any], where: str) -> str:
    out: list[str] = []
    thoughts: list[str] = []

    def think() -> None:
        if thoughts:
            out.append("<think>\n" + "\n\n".join(thoughts) + "\n</think>")
            thoughts.clear()

    for block in blocks:
        if isinstance(block, str):
            block = {"type": "text", "text": block}
        if not isinstance(block, Mapping):
            field = f'{where}.content"' if where.startswith('"') else f"the content of {where}"
            raise Unusable(f'{field} holds {kind(block)}; each part must be an object with "type".')
        what = block.get("type")
        if what == "thinking" or what == "reasoning":
            thoughts.append(short(block, "thinking", "text", "reasoning"))
        elif what == "redacted_thinking":
            thoughts.append(REDACTED)
        else:
            think()
            if isinstance(block.get("text"), str):
                out.append(block["text"])
            elif what == "tool_use":
                out.append(_call(block))
            elif what == "tool_result":
                inner = block.get("content")
                out.append(f"[tool]\n{inner if isinstance(inner, str) else _json(inner)}")
            else:
                out.append(f"[{what if isinstance(what, str) else 'part'}]")
    think()
    return "\n\n".join(out)


def _call(call: Any) -> str:
    """A call of a tool, in one line."""
    if not isinstance(call, Mapping):
        return "[tool call]"
    made = call["function"] if isinstance(call.get("function"), Mapping) else call
    arguments = made.get("arguments", made.get("input"))
    return f"[tool call: {short(made, 'name')} {arguments if isinstance(arguments, str) else _json(arguments)}]"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if plain_json(value) else "…"
