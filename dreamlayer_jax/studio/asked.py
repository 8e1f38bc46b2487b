"""What the page sends, checked as strictly as any file: unknown keys and wrong kinds are refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dreamlayer_jax.config import Sampler
from dreamlayer_jax.editing import edits
from dreamlayer_jax.request import MAX_SEED

Prompt = Annotated[str, Field(max_length=200)]
Number = Annotated[int, Field(ge=0, le=100)]


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    def prompts(self) -> list[str]:
        """What the model is to make by it."""
        return []


class Making(Asked):
    """Prompts, far to near, and how they are sampled; what is None is the model's own."""

    background: Prompt
    foregrounds: Annotated[list[Prompt], Field(max_length=16)]
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    sampler: Sampler | None = None

    def prompts(self) -> list[str]:
        return [self.background, *self.foregrounds]

    def sampling(self) -> dict[str, int | str]:
        return {name: value for name, value in (("steps", self.steps), ("sampler", self.sampler)) if value is not None}


class Sentence(Asked):
    sentence: Annotated[str, Field(max_length=1000)]


class Decomposing(Making):
    upload: Number


class Opening(Asked):
    uploads: Annotated[list[Number], Field(max_length=20)]


class Look(Asked):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    opacity: Annotated[float, Field(ge=0, le=1)]
    visible: bool


class Looks(Asked):
    looks: Annotated[list[Look], Field(max_length=100)]


class Move(Asked):
    edit: Literal["move"]
    layer: Number
    dx: float
    dy: float

    def of(self) -> edits.Edit:
        return edits.Move(self.layer, self.dx, self.dy)


class Resize(Asked):
    edit: Literal["resize"]
    layer: Number
    scale: float

    def of(self) -> edits.Edit:
        return edits.Resize(self.layer, self.scale)


class Flip(Asked):
    edit: Literal["flip"]
    layer: Number

    def of(self) -> edits.Edit:
        return edits.Flip(self.layer)


class Remove(Asked):
    edit: Literal["remove"]
    layer: Number

    def of(self) -> edits.Edit:
        return edits.Remove(self.layer)


class Replace(Asked):
    edit: Literal["replace"]
    layer: Number
    prompt: Prompt

    def of(self) -> edits.Edit:
        return edits.Replace(self.layer, self.prompt)


class Add(Asked):
    edit: Literal["add"]
    prompt: Prompt

    def of(self) -> edits.Edit:
        return edits.Add(self.prompt)


class Order(Asked):
    edit: Literal["order"]
    layers: Annotated[list[Number], Field(max_length=100)]

    def of(self) -> edits.Edit:
        return edits.Order(tuple(self.layers))


OneEdit = Annotated[Move | Resize | Flip | Remove | Replace | Add | Order, Field(discriminator="edit")]


class Editing(Asked):
    edits: Annotated[list[OneEdit], Field(min_length=1, max_length=20)]

    def prompts(self) -> list[str]:
        return [edit.prompt for edit in self.edits if isinstance(edit, Replace | Add)]


class Nothing(Asked):
    pass
