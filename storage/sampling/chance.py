"""Any open trace, each as likely: what a sample that stands for the whole is made of."""

from __future__ import annotations

from storage.sampling.base import Strategy, always

STRATEGY = Strategy("random", "Random", "Any open trace, each as likely as the other.", always("random()", "random"))
