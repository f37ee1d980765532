"""The same scores from a vLLM server: labels through pooling, words through the probability of the next token.

A served model is asked with token ids made here, so that a server's template or tokenizer cannot shift a step. vLLM's
`--pooler-config '{"tok_pooling_type": "STEP", "step_tag_id": ID}'` sends one row a step, without it one row a token: both are read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from core.pretrained import library
from core.scoring import families
from core.scoring.encoding import EncodedSteps, EncodingError
from core.scoring.prm import ScorerError

AT_ONCE = 8  # requests in flight: vLLM batches what is there at the same time
TIMEOUT_S = 600.0
LOOK_S = 10.0  # whether a server is there at all


def pooling_flags(folder: Path) -> list[str] | None:
    """vLLM's flags for a folder that is a reward model read from labels; None for any other."""
    try:
        config = families.read_config(folder)
        if not any("ForTokenClassification" in a or "RewardModel" in a for a in config.get("architectures") or ()):
            return None
        family = families.family_of(folder)
        encoded = family.encode(library().AutoTokenizer.from_pretrained(folder), "", ["."])
    except (families.FamilyError, EncodingError):
        return None
    # A tag that stands nowhere else is pooled at the server; a line break may stand inside a step, so all is sent.
    own_tag = family.name in ("worldline", "qwen")
    pooler = {"tok_pooling_type": "STEP", "step_tag_id": encoded.ids[-1]} if own_tag else {"tok_pooling_type": "ALL"}
    return ["--runner", "pooling", "--pooler-config", json.dumps(pooler)]


class ServedPrm:
    """A process reward model behind an address such as `http://127.0.0.1:8000/v1`. `folder` gives tokenizer and family."""

    def __init__(
        self, base_url: str, model: str, folder: Path, *, family: str | None = None, key: str | None = None
    ) -> None:
        """Looks at the server once. Raises ScorerError."""
        import httpx

        self.root, self.model = base_url.rstrip("/").removesuffix("/v1"), model
        try:
            self.family = families.named(family) if family else families.family_of(folder)
        except families.FamilyError as error:
            raise ScorerError(str(error)) from error
        self.tokenizer = library().AutoTokenizer.from_pretrained(folder)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(headers=headers)
        served = {m["id"]: m for m in self._ask("GET", "/v1/models")["data"]}
        if model not in served:
            raise ScorerError(f'{self.root} does not serve "{model}"; it serves {", ".join(served) or "nothing"}.')
        self.max_tokens = int(served[model].get("max_model_len") or 4096)
        if self.family.reads == "words":
            self.max_tokens -= 1  # the word that is asked for: a text without room for it is cut, and nothing says so

    @property
    def version(self) -> str:
        """Whose scores these are, for what stores them."""
        return f"{self.model} at {self.root}"

    def score(self, prompt: str, step_texts: Sequence[str]) -> list[float]:
        """P(good) for each step, in order. Raises ScorerError."""
        return self.score_many([(prompt, step_texts)])[0]

    def score_many(self, traces: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
        """The same for many traces, several in flight."""
        return self.score_counted(traces)[0]

    def score_counted(self, traces: Sequence[tuple[str, Sequence[str]]]) -> tuple[list[list[float]], list[int]]:
        """The same, and how many tokens were read for each trace."""
        out = [[math.nan] * len(texts) for _, texts in traces]
        windows = [self.windows(prompt, texts) for prompt, texts in traces]
        jobs = [(i, window) for i, cut in enumerate(windows) for window in cut]
        tokens = [sum(len(window.ids) for window in cut) for cut in windows]
        read = self._labels if self.family.reads == "labels" else self._words
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for (i, window), values in zip(jobs, pool.map(read, [w for _, w in jobs]), strict=True):
                out[i][window.first : window.first + len(values)] = values
        return out, tokens

    def close(self) -> None:
        self._client.close()

    def windows(self, prompt: str, step_texts: Sequence[str]) -> list[EncodedSteps]:
        """What is read at once, every step scored in one of them. Raises ScorerError."""
        try:
            return self.family.windows(self.tokenizer, prompt, step_texts, self.max_tokens) if step_texts else []
        except EncodingError as error:
            raise ScorerError(str(error)) from error

    def _labels(self, window: EncodedSteps) -> list[float]:
        body = {"model": self.model, "input": window.ids, "task": "token_classify"}
        rows = self._ask("POST", "/pooling", body)["data"][0]["data"]
        if len(rows) == len(window.ids):
            rows = [rows[at] for at in window.separators]
        else:
            # One row a step tag. Where the window repeats earlier steps, only the last are asked for.
            rows = rows[-len(window.separators) :]
        if len(rows) != len(window.separators) or any(len(row) != 2 for row in rows):
            raise ScorerError(
                f"{self.root} sent {len(rows)} rows for {len(window.separators)} steps: it pools otherwise than this family is "
                'read. Start it with --pooler-config \'{"tok_pooling_type": "ALL"}\'.'
            )
        return [float(good) for _, good in rows]

    def _words(self, window: EncodedSteps) -> list[float]:
        good, bad = self.family.words(self.tokenizer)
        query = window.ids[: window.separators[0]]
        items = [window.ids[len(query) : at + 1] for at in window.separators]
        body = {
            "model": self.model, "query": query, "items": items, "label_token_ids": [good, bad], "apply_softmax": True,
        }  # fmt: skip
        rows = sorted(self._ask("POST", "/generative_scoring", body)["data"], key=lambda row: row["index"])
        return [float(row["score"]) for row in rows]

    def _ask(self, how: str, route: str, body: dict[str, Any] | None = None) -> Any:
        import httpx

        try:
            wait = LOOK_S if body is None else TIMEOUT_S
            answer = self._client.request(how, f"{self.root}{route}", json=body, timeout=wait)
            if answer.is_error:
                raise ScorerError(f"{self.root}{route} answered {answer.status_code}: {answer.text[:300]}")
            return answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ScorerError(f"{self.root} does not answer as a reward model's server: {error}") from error
