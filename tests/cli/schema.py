"""A checker for JSON Schema: the keywords that docs/*.schema.json use, and an error for any other."""
import re

KINDS = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float)}


def is_kind(value, kind):
    return isinstance(value, KINDS[kind]) and not isinstance(value, bool)


def check_object(value, schema, root, at):
    properties = schema.get("properties", {})
    for key in schema.get("required", []):
        assert key in value, f"{at}: no {key}"
    for key, others in schema.get("dependentRequired", {}).items():
        assert key not in value or all(other in value for other in others), f"{at}: {key} without {others}"
    for key, member in value.items():
        assert key in properties or schema.get("additionalProperties", True), f"{at}: unknown {key}"
        check(member, properties.get(key, {}), root, f"{at}.{key}")


RULES = {
    "const": lambda value, given: value == given,
    "enum": lambda value, given: value in given,
    "type": is_kind,
    "minimum": lambda value, given: not is_kind(value, "number") or value >= given,
    "maximum": lambda value, given: not is_kind(value, "number") or value <= given,
    "minLength": lambda value, given: not isinstance(value, str) or len(value) >= given,
    "maxLength": lambda value, given: not isinstance(value, str) or len(value) <= given,
    "minItems": lambda value, given: not isinstance(value, list) or len(value) >= given,
    "maxItems": lambda value, given: not isinstance(value, list) or len(value) <= given,
    "pattern": lambda value, given: not isinstance(value, str) or re.search(given, value),
}
OTHERS = {"$schema", "$defs", "$ref", "anyOf", "title", "description", "items", "properties", "required",
          "additionalProperties", "dependentRequired"}


def fits(value, schema, root):
    try:
        check(value, schema, root)
    except AssertionError:
        return False
    return True


def check(value, schema, root=None, at="$"):
    """AssertionError with the place where `value` is not what `schema` says."""
    root = schema if root is None else root
    for keyword, given in schema.items():
        assert keyword in RULES or keyword in OTHERS, f"the schema says {keyword}, which this checker does not know"
        if keyword in RULES:
            assert RULES[keyword](value, given), f"{at}: {value!r} is not {keyword} {given!r}"
    if "$ref" in schema:
        check(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, at)
    if "anyOf" in schema:
        assert any(fits(value, one, root) for one in schema["anyOf"]), f"{at}: {value!r} is none of {schema['anyOf']}"
    if isinstance(value, dict):
        check_object(value, schema, root, at)
    for i, item in enumerate(value if isinstance(value, list) and "items" in schema else []):
        check(item, schema["items"], root, f"{at}[{i}]")
