"""Any open item, each as likely: what a sample that stands for the whole is made of."""

from __future__ import annotations

from storage.sampling.base import Order, Strategy, always

STRATEGY = Strategy(
    "random",
    "Random",
    Order("Any open trace, each as likely as the other.", always("random()", "random")),
    Order("Any open pair, each as likely as the other.", always("random()", "random")),
)
