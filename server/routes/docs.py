"""GET /docs: the OpenAPI document as a page that fetches nothing, neither from elsewhere nor by an absolute path."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
summary { cursor: pointer; padding: .3rem 0 } code, pre { font: 14px/1.4 ui-monospace, monospace }
pre { background: #8882; padding: .7rem; overflow: auto } summary code { font-weight: bold }
table { border-collapse: collapse } td { padding: .1rem 1rem .1rem 0; vertical-align: top }
"""


@router.get("/docs")
async def get_docs(request: Request) -> HTMLResponse:
    """The routes with their parameters, bodies and answers."""
    document = request.app.openapi()
    policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return HTMLResponse("\n".join(_page(document)), headers=policy)


def _page(document: dict[str, Any]) -> Iterator[str]:
    told = document["info"]
    yield "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    yield f"<title>{escape(told['title'])}</title><style>{_STYLE}</style>"
    yield f"<h1>{escape(told['title'])} {escape(told['version'])}</h1><p>{escape(told['summary'])}</p>"
    yield f"<pre>{escape(told['description'].strip())}</pre><p>For programs: <a href=openapi.json>openapi.json</a></p>"
    tag = None
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation.get("tags", [""])[0] != tag:
                tag = operation.get("tags", [""])[0]
                yield f"<h2>{escape(tag)}</h2>"
            yield from _operation(document, f"{method.upper()} {path}", operation)
    yield "<h2>schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f"<details id='{escape(name)}'><summary><code>{escape(name)}</code></summary>{_json(schema)}</details>"


def _operation(document: dict[str, Any], name: str, operation: dict[str, Any]) -> Iterator[str]:
    said = operation.get("description", operation.get("summary", ""))
    yield f"<details><summary><code>{escape(name)}</code> {escape(said.partition(chr(10))[0])}</summary>"
    yield f"<p>{escape(said)}</p><table>"
    for parameter in operation.get("parameters", ()):
        where = parameter["in"] + (", required" if parameter.get("required") else "")
        told = escape(parameter.get("description", ""))
        yield f"<tr><td><code>{escape(parameter['name'])}</code><td>{where}<td>{told}"
    yield "</table>"
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield f"<p>Body: {_named(content.get('schema', {}))}</p>" + _example(content)
    for status, response in operation["responses"].items():
        kinds = response.get("content", {})
        schema = next((_named(content.get("schema", {})) for content in kinds.values()), "")
        yield f"<p>{escape(status)}: {escape(response['description'])} {schema}</p>"
    yield "</details>"


def _named(schema: dict[str, Any]) -> str:
    names = [one.get("$ref", "").rpartition("/")[2] for one in (schema, *schema.get("oneOf", ()))]
    return ", ".join(f"<a href='#{escape(name)}'>{escape(name)}</a>" for name in names if name)


def _example(content: dict[str, Any]) -> str:
    return _json(content["example"]) if "example" in content else ""


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
