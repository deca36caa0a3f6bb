"""The OpenAPI document for people: one page without scripts, and nothing fetched from elsewhere."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["docs_page"]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid #8886; margin-top: 1.5rem; padding-top: .5rem; }
h2 { font-size: 1.05rem; } h2 code { font-size: 1rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .15rem 1rem .15rem 0; }
pre, code { font-family: ui-monospace, monospace; } pre { overflow-x: auto; background: #8881; padding: .6rem; }
"""


def docs_page(document: Mapping[str, Any]) -> str:
    """HTML for an OpenAPI document of ours."""
    info = document["info"]
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = document.get("components", {}).get("schemas", {})
    body = "".join(_operation(method, path, each, schemas) for method, path, each in operations)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
        "<p>Every operation needs a key: <code>Authorization: Bearer KEY</code>. What goes wrong is said in one "
        "sentence as <code>application/problem+json</code>. For programs: <a href='openapi.json'>openapi.json</a>.</p>"
        f"{body}</html>"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parts = [f"<section><h2><code>{method} {escape(path)}</code></h2><p>{escape(operation.get('description', ''))}</p>"]
    rows = [_row(each["name"], each["schema"], each.get("description", "")) for each in operation.get("parameters", ())]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body is not None:
        rows += _fields(body, schemas)
    if rows:
        parts.append(f"<table><tr><th>name<th>is<th>means</tr>{''.join(rows)}</table>")
    parts.append(f"<p>Answers: {escape(', '.join(sorted(operation['responses'])))}</p></section>")
    return "".join(parts)


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The rows of a body, those of the objects in it beneath theirs."""
    properties = _resolved(schema, schemas).get("properties", {})
    for name, each in properties.items():
        yield _row(prefix + name, each, each.get("description", ""))
        inner = each.get("items", {})
        if "$ref" in inner:
            yield from _fields(inner, schemas, f"{prefix}{name}.N.")


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return found


def _row(name: str, schema: Mapping[str, Any], words: str) -> str:
    default = f"; by default {schema['default']}" if schema.get("default") not in {None, ""} else ""
    return f"<tr><td><code>{escape(name)}</code><td>{escape(_kind(schema) + default)}<td>{escape(words)}</tr>"


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    bounds = [f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema]
    return " ".join([str(schema.get("format") or schema.get("type", "any")), *bounds])


_BOUNDS = {"minimum": "from", "maximum": "to", "exclusiveMinimum": "above", "exclusiveMaximum": "below"}
