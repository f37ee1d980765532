"""Who wrote a text must not be told by the text: names of models and their makers, taken out for blind reading.

A copy is scrubbed for the screen; the raw text is never changed. The same text gives the same result for ever under one
VERSION, and what was taken out comes back with it, so that it can be told afterwards. Two kinds of rules, because half of
the names are words of their own (Claude, Gemini, Llama, Phi): a name that can be nothing else goes wherever it stands,
an everyday word only where a text speaks of itself ("I am Claude", "as an AI developed by Meta"). The idea is FastChat's,
which drops votes whose transcript leaks one of some thirty words. Knows no page and no store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

VERSION = 1
MODEL, MAKER = "[model]", "[maker]"

# ---- names that are nothing else. A version may follow: "GPT-4o mini", "DeepSeek-R1-Distill-Qwen-7B".
_MODELS = (
    r"chat[- ]?gpt", r"gpt[- ]?(?:[1-9](?:\.\d)?o?|oss)", r"open[- ]?assistant", r"deep[- ]?seek", r"qwen", r"qwq", r"qvq",
    r"tongyi", r"qianwen", r"mixtral", r"magistral", r"codestral", r"ministral", r"chatglm", r"glm-\d", r"vicuna",
    r"internlm", r"baichuan", r"nemotron", r"hunyuan", r"doubao", r"wizardlm", r"openthinker", r"olmo", r"starcoder",
    r"bloomz", r"smollm", r"granite-\d", r"sky-t1", r"marco-o1", r"o[134][- ](?:mini|preview|pro)", r"deepthink",
    r"tülu", r"ernie[- ]bot", r"copilot chat", r"steiner-preview",
    # Words of their own, but not with such a tail.
    r"claude[- ](?:[1-9](?:\.\d)?|opus|sonnet|haiku|instant)", r"gemini[- ](?:[1-9](?:\.\d)?|pro|ultra|flash|nano)",
    r"(?:meta[- ])?llama[- ]?[1-9](?:\.\d)?", r"code[- ]?llama", r"gemma[- ]?[1-9]", r"phi-[1-9](?:\.\d)?-(?:mini|small|medium|reasoning)",
    r"mistral[- ](?:7b|large|small|medium|nemo)", r"grok[- ][1-9]", r"kimi[- ]k\d", r"kimi\.ai", r"minimax-(?:m\d|text)",
    r"yi-\d+b", r"falcon-\d+b", r"command[- ]r\+?", r"palm[- ]2", r"s1-\d+b",
    "通义千问", "文心一言", "讯飞星火", "智谱清言",
)  # fmt: skip
_MAKERS = (
    r"open[- ]?ai", r"anthropic", r"google deepmind", r"deepmind", r"meta ai", r"mistral ai", r"xai", r"zhipu(?: ai)?",
    r"moonshot ai", r"01\.ai", r"(?-i:Cohere)", r"lmsys", r"laion", r"eleuther ?ai", r"stability ai", r"reka ai",
    r"allen institute for ai", "深度求索", "智谱", "月之暗面",
)  # fmt: skip
# ---- words of their own: names only where a text says "I am …".
_SHY_MODELS = (
    "claude", "gemini", "llama", "gemma", "phi", "mistral", "grok", "kimi", "bard", "copilot", "falcon", "pi", "yi",
    "steiner",
)  # fmt: skip
# What belongs to a name: "-R1-Distill-Qwen-7B", " 2.5 Pro". Bounded, so that no text makes the search slow.
_TAIL = (
    r"(?:[-. ]?(?:v?\d+(?:\.\d+)*[a-z]?|[rovk]\d|max|mini|plus|turbo|pro|lite|chat|instruct|distill|preview|reasoner|coder|"
    r"math|qwen|llama|sonnet|opus|haiku|flash)\b){0,8}"
)
_BEFORE, _AFTER = r"(?<![A-Za-z0-9_])", r"(?![A-Za-z0-9_])"
_I_AM = r"(?:i am|i'm|i’m|my name is|my name's|call me|我是|我叫) ?"
_AI = r"(?:an? |the )?(?:\w+ ){0,2}?(?:ai|artificial intelligence|language model|llm|chatbot|assistant)(?: (?:language )?(?:model|assistant))?"
_MADE = r"(?:developed|created|trained|made|built|designed|released|fine-tuned)"
# Whoever made it: "Example Labs" of "the team at Example Labs in 2024".
_WHO = r"(?:the (?:\w+ ){1,3}at )?(?P<name>(?-i:x[A-Z]\w*|[A-Z][\w&-]*\w(?: [A-Z][\w&-]*\w){0,3}))"


def _rule(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_RULES = (
    (MODEL, _rule(rf"{_BEFORE}(?P<name>(?:{'|'.join(_MODELS)}){_TAIL}){_AFTER}")),
    (MODEL, _rule(rf"{_BEFORE}{_I_AM}(?P<name>(?:{'|'.join(_SHY_MODELS)}){_TAIL}){_AFTER}")),
    (MAKER, _rule(rf"{_BEFORE}(?P<name>{'|'.join(_MAKERS)}){_AFTER}")),
    (MAKER, _rule(rf"{_BEFORE}{_AI},? (?:(?:that|which|who) (?:was|is|has been) )?{_MADE}(?: and {_MADE})? by {_WHO}")),
    (MAKER, _rule(rf"{_BEFORE}i (?:am|was|have been) {_MADE}(?: and {_MADE})? by {_WHO}")),
    (MAKER, _rule(rf"{_BEFORE}{_I_AM}[\w.-]{{2,40}}(?: \w{{1,12}}){{0,2}}, ?{_MADE}(?: and {_MADE})? by {_WHO}")),
    (MAKER, _rule(r"由(?P<name>[^\s，。由]{2,12}?)(?:公司|团队)?(?:开发|训练|研发|打造)")),
)
_LEAST_OWN = 4  # characters: a shorter name of a model is left, it would take words out of the reasoning


@dataclass(frozen=True)
class Found:
    """What was taken out: `start` in the text as it was, the words, and what stands there instead."""

    start: int
    words: str
    instead: str


def scrub(text: str, own_names: Iterable[str] = ()) -> tuple[str, tuple[Found, ...]]:
    """The text without what tells who wrote it, and what was taken out, in order.

    own_names: how the writer is called here ("org/model-7b"); ordinary words among them are left alone.
    """
    rules = [*_RULES, *((MODEL, _rule(f"{_BEFORE}(?P<name>{re.escape(n)}){_AFTER}")) for n in _own(own_names))]
    all_found = [Found(m.start("name"), m["name"], instead) for instead, rule in rules for m in rule.finditer(text)]
    found: list[Found] = []
    parts, at = [], 0
    for one in sorted(all_found, key=lambda f: (f.start, -len(f.words))):
        if one.start < at:
            continue  # inside what is out already
        found.append(one)
        parts += [text[at : one.start], one.instead]
        at = one.start + len(one.words)
    return "".join([*parts, text[at:]]), tuple(found)


def _own(names: Iterable[str]) -> set[str]:
    """Models' names and their last parts, where they look like names: not "synthetic" or "pocket", which are words."""
    parts = {part for name in names for part in (name.strip(), name.strip().rstrip("/").rsplit("/", 1)[-1])}
    return {p for p in parts if len(p) >= _LEAST_OWN and any(c.isdigit() or c in "-_/." for c in p)}
