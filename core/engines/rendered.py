"""Going on from a text on servers that take no token ids: the conversation as the server's own chat template renders it, then the text.

llama.cpp renders by `/apply-template`, Ollama by the render-only option of `/api/chat`; SGLang appends the text to what its template makes
of the turns before (`continue_final_message`). `transformers serve` renders for nobody: its model's folder must be on this machine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.control.thinking import Markers
from core.engines.base import EngineError
from core.engines.server_info import Server, ServerInfo, root_of, shown
from core.engines.sse import Events
from core.pretrained import library
from core.turns import Message

CHAT = "/chat/completions"


class OllamaEvents:
    """Ollama's own routes send a JSON object a line. Read as `sse.Events` are, in the shape of the completions route."""

    def __init__(self) -> None:
        self.done = False
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[Any]:
        """Raises ValueError where a line is not JSON."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield self._event(json.loads(line))

    def close(self) -> Iterator[Any]:
        if not self.done:
            yield from self.feed(b"\n")

    def _event(self, row: Any) -> Any:
        if not isinstance(row, dict) or row.get("error"):
            return row
        self.done = bool(row.get("done"))
        reason = (row.get("done_reason") or "stop") if self.done else None
        event: dict[str, Any] = {"choices": [{"text": row.get("response") or "", "finish_reason": reason}]}
        if self.done:
            event["usage"] = {"prompt_tokens": row.get("prompt_eval_count"), "completion_tokens": row.get("eval_count")}
        return event


async def going_on(
    server: Server, info: ServerInfo, messages: list[Message], text: str, chat: Mapping[str, Any]
) -> tuple[str, dict[str, Any], Events | OllamaEvents]:
    """Route, body and reader of a request that goes on from `text`. `chat` is the body of the chat route without messages.

    Raises EngineError with a sentence where the server did not render the conversation.
    """
    body = dict(chat)
    if info.kind == "sglang":
        said = [*messages, {"role": "assistant", "content": text}]
        return CHAT, {**body, "messages": said, "continue_final_message": True}, Events()
    if info.kind == "llama.cpp":
        answer = await server.json("POST", "/apply-template", {"messages": messages})
        # Without this it leaves special tokens out of the text; a chat's own template asks for its markers, this route for none.
        keep = {"preserved_tokens": list(info.markers.tokens)} if info.markers and info.markers.tokens else {}
        return (
            "/completions",
            {**body, **keep, "prompt": _joined(server, answer.get("prompt"), text, info.markers)},
            Events(),
        )
    if info.kind == "ollama":
        asked = {"model": server.model, "messages": messages, "stream": False, "_debug_render_only": True}
        asked["options"] = {"num_predict": 1}  # for one that does not know the option, and answers
        answer = await server.json("POST", "/api/chat", asked)
        found = answer.get("_debug_info")
        rendered = found.get("rendered_template") if isinstance(found, dict) else None
        options = {"temperature": body["temperature"], "top_p": body["top_p"], "num_predict": body["max_tokens"]}
        options |= {"seed": body["seed"]} if "seed" in body else {}
        raw = {
            "model": server.model,
            "prompt": _joined(server, rendered, text, info.markers),
            "raw": True,
            "stream": True,
        }
        return f"{root_of(server.base_url)}/api/generate", {**raw, "options": options}, OllamaEvents()
    rendered = await asyncio.to_thread(_rendered_here, Path(server.model), messages)
    return "/completions", {**body, "prompt": _joined(server, rendered, text, info.markers)}, Events()


def _joined(server: Server, rendered: Any, text: str, markers: Markers | None) -> str:
    """An opening tag that stands in the prompt already is not said twice."""
    if not isinstance(rendered, str) or not rendered:
        raise EngineError(
            f"The server at {shown(server.base_url)} did not say how its chat template renders the question, so it cannot go on from a "
            "given text. A newer version of it can. Ask anew instead."
        )
    return rendered + without_opening(text, rendered, markers)


def without_opening(text: str, prompt: str, markers: Markers | None) -> str:
    """`text` as it stands after `prompt`, which may have opened the thinking."""
    if markers is not None and prompt.rstrip().endswith((markers.before.rstrip(), markers.start)):
        for opening in (markers.before, markers.start):
            if text.startswith(opening):
                rest = text.removeprefix(opening)
                return rest.removeprefix("\n") if prompt.endswith("\n") else rest
    return text


def _rendered_here(folder: Path, messages: list[Message]) -> str:
    tokenizer = library().AutoTokenizer.from_pretrained(folder)
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    bos = tokenizer.bos_token
    # The completions route puts the first token there itself, where its tokenizer is made so.
    if bos and text.startswith(bos) and tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]:
        return text.removeprefix(bos)
    return text
