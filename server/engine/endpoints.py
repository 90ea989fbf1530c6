"""Where the engines behind a router are: a list, a file, a name in DNS, or a service of Kubernetes.

They are looked up each time: engines come and go.
"""

import asyncio
import json
import socket
import ssl
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import aiohttp

from server.errors import StartRefused
from store.errors import EngineUnavailable

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_API = "https://kubernetes.default.svc"
_PATIENCE = aiohttp.ClientTimeout(total=5)
_FORMS = "http://HOST:PORT (several by commas), file:///PATH, dns://NAME:PORT, or k8s://NAMESPACE/SERVICE:PORT"


class Endpoints:
    """The URLs of all engines, by ``spec``: see ``_FORMS``. A file has a URL a line. Raises ``StartRefused``."""

    def __init__(self, spec: str, *, account: Path = _ACCOUNT, api: str = _API) -> None:
        self._account = account
        self._api = api
        self._listed = tuple(dict.fromkeys(one.strip().rstrip("/") for one in spec.split(",") if one.strip()))
        try:
            parts = [urlsplit(one) for one in self._listed]
            ports = [part.port for part in parts]
        except ValueError:
            parts, ports = [], []
        self._looked_up: SplitResult | None = None
        if len(parts) == 1 and parts[0].scheme in ("file", "dns", "k8s"):
            self._looked_up = parts[0]
        if not parts or not all(self._is_well(part, port) for part, port in zip(parts, ports, strict=True)):
            raise StartRefused(f"ATTUNE_ENGINE_ENDPOINTS must be {_FORMS}, got {spec!r}.")

    def _is_well(self, part: SplitResult, port: int | None) -> bool:
        if self._looked_up is None:
            return part.scheme in ("http", "https") and bool(part.hostname)
        if part.scheme == "file":
            return part.path.startswith("/") and not part.netloc
        if part.scheme == "dns":
            return bool(part.hostname and port) and not part.path
        return bool(part.netloc) and len(part.path.strip("/").split(":")) == 2

    async def urls(self) -> tuple[str, ...]:
        """Raises ``EngineUnavailable`` where that cannot be known now; none at all is as good as not known."""
        if (where := self._looked_up) is None:
            return self._listed
        try:
            if where.scheme == "file":
                lines = (await asyncio.to_thread(Path(where.path).read_text)).splitlines()
                found = [line.strip().rstrip("/") for line in lines if line.strip() and not line.startswith("#")]
            elif where.scheme == "dns":
                found = await self._by_name(str(where.hostname), int(where.port or 0))
            else:
                service, _, port = where.path.strip("/").partition(":")
                found = await self._by_service(where.netloc, service, int(port))
        except (OSError, ValueError, LookupError, TypeError, aiohttp.ClientError, TimeoutError) as error:
            raise EngineUnavailable(f"The engines cannot be listed: {type(error).__name__}.") from error
        if not found:
            raise EngineUnavailable("No engine is listed.")
        return tuple(dict.fromkeys(found))

    async def _by_name(self, name: str, port: int) -> list[str]:
        """All addresses of a name: a headless service has one for each engine that is ready."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        return _urls({str(address[0]) for *_, address in found}, port)

    async def _by_service(self, namespace: str, service: str, port: int) -> list[str]:
        """All endpoints of a service, those that are not ready included: they may hold something."""
        token, trusted = await asyncio.gather(
            asyncio.to_thread((self._account / "token").read_text),
            asyncio.to_thread(lambda: ssl.create_default_context(cafile=str(self._account / "ca.crt"))
                              if self._api.startswith("https:") else True),
        )  # fmt: skip
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        asked = {"labelSelector": f"kubernetes.io/service-name={service}"}
        async with (
            aiohttp.ClientSession(timeout=_PATIENCE, headers={"Authorization": f"Bearer {token.strip()}"}) as session,
            session.get(self._api + path, params=asked, ssl=trusted) as answer,
        ):
            answer.raise_for_status()
            slices = json.loads(await answer.read())["items"]
        return _urls({one for part in slices for end in part.get("endpoints") or () for one in end["addresses"]}, port)


def _urls(addresses: set[str], port: int) -> list[str]:
    return [f"http://[{one}]:{port}" if ":" in one else f"http://{one}:{port}" for one in sorted(addresses)]
