"""Control over how long a model thinks: pure state machines over token ids, with thin adapters in the engines."""
