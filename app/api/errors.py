"""Every refusal is `{"error": sentence}` with a fitting status. This file makes the sentences. Knows no route."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.people import LoginRefused, Unusable
from core.engines.base import EngineError
from storage.errors import ExportError, ImportProblem, NothingRated, SnapshotError, StoreError, WrongValue
from storage.people import AccountError

log = logging.getLogger("worldline.api")

UNREADABLE_JSON = "The body is not valid JSON"
NOT_TEXT = "What was sent holds half of a character (a lone surrogate), which is not text; replace it with U+FFFD."
SHOWN = 60  # characters of a wrong value that are repeated to the person who sent it


class Refused(Exception):
    """What was asked cannot be done; `sentence` says why and how to mend it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def error(status: int, sentence: str) -> JSONResponse:
    """The one form of all errors."""
    # A sentence may repeat what was sent, and that may not be text.
    return JSONResponse({"error": sentence.encode("utf-8", "replace").decode()}, status)


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(LoginRefused, _not_let_in)
    app.add_exception_handler(StoreError, _store)
    app.add_exception_handler(EngineError, _engine)
    app.add_exception_handler(UnicodeEncodeError, _surrogate)


async def _refused(_: Request, refusal: Exception) -> JSONResponse:
    assert isinstance(refusal, Refused)
    return error(refusal.status, refusal.sentence)


async def _invalid(_: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, RequestValidationError)
    first = problem.errors()[0]
    if first["type"] == "json_invalid":
        return error(400, sentence_of(first))
    if isinstance(first.get("input"), str | bytes) and tuple(first["loc"]) == ("body",):
        return error(400, "The body was not sent as JSON; set the header content-type: application/json.")
    return error(422, sentence_of(first))


async def _http(request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, HTTPException)
    what = f"{request.method} {request.url.path}"
    sentences = {
        400: f"{UNREADABLE_JSON}: the bytes are not UTF-8 text.",
        404: f"There is nothing at {request.url.path}; the routes are listed at /api/docs.",
        405: f"{what} is not possible; the routes are listed at /api/docs.",
    }
    return JSONResponse(
        {"error": sentences.get(problem.status_code, f"{problem.detail}.")},
        problem.status_code,
        headers=problem.headers,
    )


async def _not_let_in(_: Request, refusal: Exception) -> JSONResponse:
    assert isinstance(refusal, LoginRefused)
    answer = error(401 if refusal.wait_s is None else 429, str(refusal))
    if refusal.wait_s is not None:
        answer.headers["retry-after"] = str(refusal.wait_s)
    return answer


async def _store(_: Request, problem: Exception) -> JSONResponse:
    if isinstance(problem, NothingRated | ExportError | ImportProblem | Unusable | WrongValue):
        return error(422, str(problem))
    if isinstance(problem, SnapshotError | AccountError):
        return error(409, str(problem))
    log.error("the store refused: %s", problem)
    return error(503, str(problem))


async def _engine(_: Request, problem: Exception) -> JSONResponse:
    return error(503, str(problem))


async def _surrogate(_: Request, problem: Exception) -> JSONResponse:
    return error(422, NOT_TEXT)


def sentence_of(problem: dict[str, Any]) -> str:
    """One sentence for one entry of pydantic's list, naming the field."""
    kind, context = problem["type"], problem.get("ctx") or {}
    if kind == "json_invalid":
        return f"{UNREADABLE_JSON}: {context.get('error', 'it ends too early')} at character {problem['loc'][-1]}."
    path = [str(part) for part in problem["loc"] if part not in ("body", "query", "path", "header", "cookie")]
    field = ".".join(path)
    if not field:
        return (
            "The body is missing; send a JSON object."
            if kind == "missing"
            else f"The body cannot be used: {problem['msg']}."
        )
    value = problem.get("input")
    shown = _short(value)
    match kind:
        case "missing":
            return f'"{field}" is missing.'
        case "extra_forbidden":
            return f'"{field}" is not a field of this request; see /api/docs for those it has.'
        case "greater_than_equal":
            return f'"{field}" is {shown}; it must be at least {_number(context["ge"])}.'
        case "greater_than":
            return f'"{field}" is {shown}; it must be above {_number(context["gt"])}.'
        case "less_than_equal":
            return f'"{field}" is {shown}; it must be at most {_number(context["le"])}.'
        case "finite_number":
            return f'"{field}" is {shown}; it must be a finite number.'
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            return f'"{field}" is {shown}; it must be a whole number.'
        case "float_parsing" | "float_type":
            return f'"{field}" is {shown}; it must be a number.'
        case "string_type":
            return f'"{field}" is {shown}; it must be text.'
        case "string_unicode":
            return f'"{field}" holds half of a character (a lone surrogate), which is not text.'
        case "string_too_long":
            return f'"{field}" is too long; at most {context["max_length"]:,} characters.'
        case "string_too_short":
            return f'"{field}" is empty.'
        case "literal_error":
            return f'"{field}" is {shown}; it must be {context["expected"]}.'
        case "list_type":
            return f'"{field}" is {shown}; it must be a list.'
        case "dict_type" | "model_type" | "model_attributes_type":
            return f'"{field}" is {shown}; it must be an object.'
        case "too_long":
            return f'"{field}" has too many entries; at most {context["max_length"]:,}.'
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f'"{field}" is {shown}: {message[:1].lower()}{message[1:]}.'


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
