"""Asking a planner that may fail, with the rules behind it."""

from __future__ import annotations

from collections.abc import Callable

from dreamlayer_jax.planner.chat import ChatError, ChatPlanner
from dreamlayer_jax.planner.plan import Plan
from dreamlayer_jax.planner.rules import plan_by_rules


def plan(sentence: str, chat: ChatPlanner | None = None, on_warning: Callable[[str], None] = lambda _: None) -> Plan:
    """Asks `chat` if it is given; if it fails, `on_warning` gets one line and the rules split the sentence. Raises `PlanError`."""
    if chat is not None:
        try:
            return chat(sentence)
        except ChatError as error:
            on_warning(f"{error}; splitting the sentence by rules instead")
    return plan_by_rules(sentence)
