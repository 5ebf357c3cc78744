"""Fields of answers that only some callers may see: taken out in one place, of every answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from chassis.auth import optional_caller

ONLY_FOR = "null without the scope"  # how a marked field is described


@dataclass(frozen=True, slots=True)
class OnlyFor:
    """Marks a field as null for callers without the scope: `Annotated[…, OnlyFor("…")]`."""

    scope: str

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Says so in the OpenAPI document."""
        return {**handler(schema), "description": f"{ONLY_FOR} {self.scope}"}


Plan = Mapping[str, "OnlyFor | Plan"]
ANY_NAME = ""  # in a plan: the values of a dict, whose names are no fields


def visible(answer: Any, kind: Any) -> Any:
    """Returns what a view answers without what its caller may not see."""
    for model in models_in(kind):
        if plan := plan_of(model):
            plain = answer.model_dump(mode="json") if isinstance(answer, BaseModel) else answer
            answer = redacted(plain, plan)
    return answer


def models_in(kind: Any) -> list[type[BaseModel]]:
    """Returns the models of an answer: one, those of a union, or none."""
    members = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    return [each for each in members if isinstance(each, type) and issubclass(each, BaseModel)]


@cache
def plan_of(model: type[BaseModel]) -> Plan:
    """Returns the marked fields of a model, and those of the models in its fields."""
    plan: dict[str, OnlyFor | Plan] = {}
    for name, field in model.model_fields.items():
        marks = [each for each in field.metadata if isinstance(each, OnlyFor)]
        below = plan_within(field.annotation)
        if marks or below:
            plan[name] = marks[0] if marks else below
    return plan


def plan_within(annotation: Any) -> Plan:
    """Returns the marked fields of the models that an annotation names, such as those of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return plan_of(annotation)
    plan: dict[str, OnlyFor | Plan] = {}
    for each in get_args(annotation):
        plan.update(plan_within(each))
    return {ANY_NAME: plan} if plan and get_origin(annotation) is dict else plan


def redacted(content: Any, plan: Plan) -> Any:
    if isinstance(content, list):
        return [redacted(each, plan) for each in content]
    if not isinstance(content, dict):
        return content
    others = plan.get(ANY_NAME)
    return {name: redacted_field(each, plan.get(name, others)) for name, each in content.items()}


def redacted_field(content: Any, rule: OnlyFor | Plan | None) -> Any:
    if isinstance(rule, OnlyFor):
        caller = optional_caller()
        return content if caller and caller.may(rule.scope) else None
    return redacted(content, rule) if rule else content
