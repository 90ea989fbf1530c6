"""How the server, the engines and the learner's model are."""

import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import parsedate_to_datetime

import httpx

from server.commands.doctor.finding import Finding, State, clock_finding
from server.engine.base_hash import BaseHash
from server.engine.endpoints import Endpoints
from server.engine.router import Router
from server.engine.supervisor import in_float32, on_cpu
from server.errors import StartRefused
from server.processor import cores, memory
from server.settings import Settings
from store.errors import AttuneError

_NO_ADAPTER = {"lora_name": "attune-doctor", "lora_path": "/attune-doctor"}


async def server_findings(settings: Settings, client: httpx.AsyncClient) -> AsyncIterator[Finding]:
    """What answers at this server's own address."""
    if settings.port == 0:
        return
    anywhere = settings.host in ("0.0.0.0", "::", "localhost")  # noqa: S104
    host = "127.0.0.1" if anywhere else f"[{settings.host}]" if ":" in settings.host else settings.host
    at = f"http://{host}:{settings.port}"
    try:
        answer = await client.get(f"{at}/ready")
        told = answer.json()
        status, reason = str(told["status"]), str(told.get("reason") or "")
    except httpx.ConnectError:
        yield Finding("server", "ok", f"None runs at {at}; its port is free.")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError):
        advice = "Stop it, or set ATTUNE_PORT."
        yield Finding("server", "error", f"What answers at {at} is no Attune server.", advice)
    else:
        parts = ", ".join(f"{name} {told.get(name)}" for name in ("engine", "store", "worker"))
        state: State = "ok" if status == "ready" else "warning"
        yield Finding("server", state, f"The one at {at} is {status}: {parts}. {reason}".rstrip())


async def engine_findings(url: str, settings: Settings, client: httpx.AsyncClient) -> list[Finding]:
    """One remote engine."""
    part, base = f"engine {url}", url.rstrip("/").removesuffix("/v1")
    headers = _bearer(settings.engine_key)

    async def ask(path: str, body: dict[str, object] | None = None) -> httpx.Response:
        return await client.request("POST" if body else "GET", base + path, json=body, headers=headers)

    try:
        listed = await ask("/v1/models")
        if listed.status_code in (401, 403):
            return [Finding(part, "error", "It refuses this server's key.", "Set ATTUNE_ENGINE_API_KEY.")]
        names = [str(model["id"]) for model in listed.json()["data"] if not model.get("parent")]
        name = settings.model_name or names[0]
        if name not in names:
            told = f"It serves {', '.join(names)}, not {name}."
            return [Finding(part, "error", told, "Set ATTUNE_SERVED_MODEL_NAME to what it serves.")]
        found = [Finding(part, "ok", f"It serves {name}.")]
        found += await _abilities(part, name, ask)
        if date := listed.headers.get("date"):
            found.append(clock_finding(f"clock of {part}", parsedate_to_datetime(date).timestamp() - time.time()))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError, AttributeError) as error:
        told = f"It does not answer as vLLM does: {type(error).__name__}."
        return [Finding(part, "error", told, "Check ATTUNE_ENGINE_URL, and that it has started.")]
    return found


async def _abilities(
    part: str, name: str, ask: Callable[[str, dict[str, object] | None], Awaitable[httpx.Response]]
) -> list[Finding]:
    found = []
    loading = await ask("/v1/load_lora_adapter", dict(_NO_ADAPTER))
    if _is_route(loading):
        found.append(Finding(part, "ok", "It loads adapters while it runs."))
    else:
        advice = "Start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 (docs/operations.md)."
        found.append(Finding(part, "warning", "It loads no adapters while it runs: none will serve.", advice))
    counting = await ask("/tokenize", {"model": name, "prompt": "a"})
    if counting.status_code == 200:
        found.append(Finding(part, "ok", "It tokenizes: what is learned is judged by likelihood."))
    else:
        advice = "Let /tokenize through, if a router stands before it."
        found.append(Finding(part, "warning", "It does not tokenize: judging takes answers instead.", advice))
    return found


def _bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _is_route(answer: httpx.Response) -> bool:
    """Whether the path is known: vLLM refuses an adapter that is not there in an envelope of its own."""
    if answer.status_code == 200:
        return True
    try:
        return "error" in answer.json() or "object" in answer.json()
    except ValueError:
        return False


async def behind_router(settings: Settings) -> list[Finding]:
    """The engines behind a router, one by one."""
    part = "engines behind the router"
    try:
        router = Router(
            settings.engine_urls[0],
            endpoints=Endpoints(settings.engine_endpoints or ""),
            secret=b"",
            base_model=settings.model_name,
            api_key=settings.engine_key,
        )
    except (StartRefused, IndexError) as error:
        return [Finding(part, "error", str(error), "Set ATTUNE_ENGINE_ENDPOINTS.")]
    try:
        wrong = await router.strangers(await BaseHash(settings)())
        await router.loaded()
    except AttuneError as error:
        told = f"{error.message} Erasures are not over while one is away."
        return [Finding(part, "warning", told, "Check ATTUNE_ENGINE_ENDPOINTS.")]
    finally:
        await router.close()
    if wrong:
        return [Finding(part, "error", f"The engine {told}.", "docs/scale.md, Router mode") for told in wrong]
    return [Finding(part, "ok", "All that are listed answer, and bring adapters by themselves.")]


def alike(each: list[list[Finding]]) -> list[Finding]:
    """Whether all engines serve one model."""
    serving = {one.said for found in each for one in found if one.said.startswith("It serves")}
    if len(serving) < 2:
        return []
    advice = "Let all of ATTUNE_ENGINE_URL serve the same model by the same name."
    return [Finding("engines", "error", "They serve different models.", advice)]


def own_engine(settings: Settings) -> list[Finding]:
    """The engine that a server would start."""
    part, folder = "engine", settings.model_folder
    if folder is not None and not folder.is_dir():
        return [Finding(part, "error", f"There is no model in {folder}.", "Set ATTUNE_MODEL to a model's folder.")]
    found = []
    gpu = shutil.which("nvidia-smi") is not None
    if gpu and on_cpu():
        found.append(Finding(part, "warning", "There is a GPU, and vLLM's build for CPUs.", "make setup VARIANT=gpu"))
    if folder is not None and on_cpu() and not settings.bundled:
        weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        held = memory()
        needed = weights * (2 if in_float32(settings) else 1) + (settings.kv_cache_gib << 30)
        told = f"{settings.model_name} takes some {needed / 2**30:.1f} of {held / 2**30:.0f} GiB, on {cores()} cores."
        short = needed > 0.7 * held
        advice = "Take a smaller model: `attune models list`." if short else ""
        found.append(Finding(part, "warning" if short else "ok", told, advice))
    return found or [Finding(part, "ok", f"{settings.model_name} is served by a vLLM of its own.")]


async def learner_findings(settings: Settings, client: httpx.AsyncClient) -> AsyncIterator[Finding]:
    """The model that says what edits show, if it is another one."""
    if settings.learner_url is None:
        return
    part, base = "learner", settings.learner_url.rstrip("/").removesuffix("/v1")
    try:
        answer = await client.get(f"{base}/v1/models", headers=_bearer(settings.learner_key))
        answer.raise_for_status()
        names = [str(model["id"]) for model in answer.json()["data"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
        told = f"It does not list its models: {type(error).__name__}. Edits wait while it is away."
        yield Finding(part, "warning", told, "Check ATTUNE_LEARNER_URL and ATTUNE_LEARNER_API_KEY.")
        return
    if settings.learner_model in names:
        yield Finding(part, "ok", f"It has {settings.learner_model}.")
    else:
        told = f"It has {', '.join(names[:5]) or 'no model'}, not {settings.learner_model}."
        yield Finding(part, "error", told, "Set ATTUNE_LEARNER_MODEL.")
