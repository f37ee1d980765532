"""Steiner's 14 tokens and nothing else, so that a tokenizer can be built without a parser.

Source: Yichao Ji, "A Small Step Towards Reproducing OpenAI o1" (2024), and the special-token map of
`peakji/steiner-32b-preview`. Ids are never fixed here: they belong to a tokenizer.
"""

REASONING_START = "<|reasoning_start|>"
REASONING_END = "<|reasoning_end|>"
PROCEED = "<|reasoning_proceed|>"
BACKTRACK = "<|reasoning_backtrack|>"
STEP_START = "<|reasoning_step_start|>"
STEP_END = "<|reasoning_step_end|>"
NAME_START = "<|reasoning_step_name_start|>"
NAME_END = "<|reasoning_step_name_end|>"
THOUGHT_START = "<|reasoning_step_thought_start|>"
THOUGHT_END = "<|reasoning_step_thought_end|>"
SUMMARY_START = "<|reasoning_step_summary_start|>"
SUMMARY_END = "<|reasoning_step_summary_end|>"
REFLECTION_START = "<|reasoning_step_reflection_start|>"
REFLECTION_END = "<|reasoning_step_reflection_end|>"

TOKENS = (
    REASONING_START,
    REASONING_END,
    PROCEED,
    BACKTRACK,
    STEP_START,
    STEP_END,
    NAME_START,
    NAME_END,
    THOUGHT_START,
    THOUGHT_END,
    SUMMARY_START,
    SUMMARY_END,
    REFLECTION_START,
    REFLECTION_END,
)
FIELDS = {
    "name": (NAME_START, NAME_END),
    "thought": (THOUGHT_START, THOUGHT_END),
    "summary": (SUMMARY_START, SUMMARY_END),
    "reflection": (REFLECTION_START, REFLECTION_END),
}
