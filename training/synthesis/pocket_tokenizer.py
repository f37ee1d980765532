"""The pocket model's tokenizer: one token a number, one token a phrase, Steiner's 14 tokens.

Every token carries its own leading space, so the text of a token never depends on its neighbours: streaming is
concatenation, and no server can lose or add a blank. The 14 tokens are registered as *not special*, because servers strip
special tokens by default.
"""

from __future__ import annotations

from core.formats import steiner_tokens as t
from core.tasks import countdown as game
from core.tasks import countdown_text as words

PAD, UNKNOWN, BEGIN, END, ASK, STEP_SCORE = (
    "<|pad|>",
    "<|unknown|>",
    "<|begin|>",
    "<|end|>",
    "<|answer|>",
    "<|step_score|>",
)
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token }}{{ m['content'] }}"
    "{% elif m['role'] == 'assistant' %}" + ASK + "{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}" + ASK + "{% endif %}"
)


def build():
    """A `PreTrainedTokenizerFast` with a chat template: begin, question, `<|answer|>`, then the model speaks; an
    earlier turn ends with the token that ends a response."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    phrases = [
        words.LOOKING, words.CLOSER, words.FOUND, words.HERE, words.NO_LUCK, words.RESTART, words.TOO_FAR,
        words.SOLVED, words.UNSOLVED, " " + words.UNSOLVED_TAIL, *words.TRY, "Finish:", "From", "Left:",
        ": sum", ": difference", ": product", ": quotient", ", difference", ", product", ", quotient", ", then",
    ]  # fmt: skip
    plain = [PAD, UNKNOWN, *(f" {n}" for n in range(game.LARGEST + 1))]
    plain += [f" {op}" for op in game.OPERATIONS] + [
        " =",
        " and",
        ",",
        ":",
        ".",
        "?",
        " from",
        " reach",
        " to",
        " get",
        " I",
        " can",
        " make",
    ]
    plain += ["Reach", "Make", "Use", "How", "Numbers", " Target", " out", " of", " using", "Get", "What"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(plain))}
    tok = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    # A number glued to what stands before it ("4,7") reads as if a blank stood between.
    tok.normalizer = normalizers.Replace(Regex(r"(?<![\s\d])(?=\d)"), " ")
    tok.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\d+| ?[\p{L}]+| ?[^\s\p{L}\d]|\s"), behavior="isolated")
    tok.decoder = decoders.Fuse()
    tok.add_tokens([AddedToken(s, special=False, normalized=False) for s in (*t.TOKENS, ASK, STEP_SCORE)])
    tok.add_tokens([AddedToken(s, special=False, normalized=False) for s in phrases])
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in (PAD, UNKNOWN, BEGIN, END)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tok, pad_token=PAD, unk_token=UNKNOWN, bos_token=BEGIN, eos_token=END,
        clean_up_tokenization_spaces=False, model_max_length=4096,
    )  # fmt: skip
    fast.chat_template = CHAT_TEMPLATE
    return fast
