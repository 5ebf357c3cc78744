"""What a service's document says of its names beyond their types: a meaning and an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chassis.visibility import ONLY_FOR

Schema = dict[str, Any]
Definitions = Mapping[str, Schema]
Terms = Mapping[str, str | tuple[str, Any]]
PREFIX = "#/components/schemas/"
# Where nothing better is said.
PLAIN = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "null": None}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Meanings and examples by name; what a model's own field says comes first.

    `terms` maps a field or parameter (`count`), one of a certain model (`Tally.count`) or one in
    paths (`{user_id}`) to its meaning and, unless it is made of others, an example. `examples`
    maps a model, or a media type, to a whole example where those of its fields don't make one.
    `groups` names a blueprint for readers, and says what its routes are about.
    """

    terms: Terms = field(default_factory=dict)
    examples: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def explain(self, place: str, name: str, schema: Schema) -> None:
        """Gives a field or parameter the meaning and the example that it lacks."""
        term = self.terms.get(f"{place}.{name}") or self.terms.get(name)
        if term is None:
            return
        meaning, *example = (term,) if isinstance(term, str) else term
        said = schema.get("description", "")
        if said.startswith(ONLY_FOR):
            schema["description"] = f"{meaning}; {said}"
        elif not said:
            schema["description"] = meaning
        if example and "$ref" not in schema:
            schema.setdefault("examples", example)

    def explain_all(self, definitions: Definitions) -> None:
        """Gives every field of every model the meaning and the example that it lacks."""
        for model, schema in definitions.items():
            for name, about in schema.get("properties", {}).items():
                self.explain(model, name, about)
            if model in self.examples:
                schema["examples"] = [self.examples[model]]


def resolved(schema: Schema, definitions: Definitions) -> Schema:
    """Returns the definition that the schema refers to, or the schema itself."""
    reference = schema.get("$ref")
    return definitions[reference.removeprefix(PREFIX)] if reference else schema


def example_of(schema: Schema, definitions: Definitions) -> Any:
    """Returns an example of the schema, made of those of its parts unless it has one."""
    schema = resolved(schema, definitions)
    if "examples" in schema:
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("default") is not None:
        return schema["default"]
    if choices := schema.get("anyOf"):
        return example_of(choices[0], definitions)
    if schema.get("type") == "array":
        return [example_of(schema.get("items", {}), definitions)]
    if "properties" in schema:
        return {name: example_of(each, definitions) for name, each in schema["properties"].items()}
    return {} if schema.get("type") == "object" else plain_example(schema)


def plain_example(schema: Schema) -> Any:
    kind = schema.get("type", "string")
    least = schema.get("minimum")
    return PLAIN[kind] if least is None else least
