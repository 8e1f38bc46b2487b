"""`--prompt`: a sentence split into layer prompts, shown before anything is made of them."""

from __future__ import annotations

import os

from dreamlayer_jax.cli.terminal import say, warn
from dreamlayer_jax.request import RequestError

KEY_VARIABLE = "DREAMLAYER_PLANNER_KEY"


def split(sentence: str, *, planner_url: str | None = None, planner_model: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Background and foregrounds of a sentence, by rules or by the chat model at `planner_url`; prints them.

    Raises `RequestError` if only one of URL and model is given, `PlanError` if the sentence cannot be split.
    """
    from dreamlayer_jax.planner.chat import ChatPlanner
    from dreamlayer_jax.planner.fallback import plan

    if (planner_url is None) != (planner_model is None):
        raise RequestError("a chat planner needs both --planner-url and --planner-model")
    chat = None if planner_url is None else ChatPlanner(url=planner_url, model=planner_model, key=os.environ.get(KEY_VARIABLE, ""))
    made = plan(sentence, chat, on_warning=warn)
    say(f"background: {made.background}")
    for i, prompt in enumerate(made.foregrounds, start=1):
        say(f"foreground {i}: {prompt}")
    return made.background, made.foregrounds
