"""One look at a container: httpGet, tcpSocket or exec, for probes and for preStop hooks."""

import asyncio

import httpx
from kubelet.api import Object
from kubelet.process import Process

HOOK_TIMEOUT_S = 3600.0


async def check(
    action: Object, process: Process, address: str, ports: list[Object], timeout_s: float
) -> tuple[bool, str]:
    """Carry out the action; return whether it succeeded, and what was seen."""
    try:
        if "exec" in action:
            return await process.execute(action["exec"]["command"], timeout_s)
        if "httpGet" in action:
            return await _http(action["httpGet"], address, ports, timeout_s)
        if "tcpSocket" in action:
            return await _tcp(action["tcpSocket"], address, ports, timeout_s)
    except (TimeoutError, OSError, httpx.HTTPError, ValueError) as error:
        return False, repr(error)
    return False, f"the process kubelet does not know this action: {sorted(action)}"


async def run_hook(hook: Object, process: Process, address: str, ports: list[Object]) -> None:
    """Carry out a lifecycle hook; a failing one changes nothing."""
    if "sleep" in hook:
        await asyncio.sleep(hook["sleep"]["seconds"])
    else:
        await check(hook, process, address, ports, HOOK_TIMEOUT_S)


async def _http(
    action: Object, address: str, ports: list[Object], timeout_s: float
) -> tuple[bool, str]:
    scheme = action.get("scheme", "HTTP").lower()
    host, port = action.get("host", address), _port(action["port"], ports)
    headers = {"User-Agent": "kube-probe/1.35"}
    headers |= {each["name"]: each["value"] for each in action.get("httpHeaders", ())}
    async with httpx.AsyncClient(verify=False, trust_env=False, timeout=timeout_s) as client:
        url = f"{scheme}://{host}:{port}{action.get('path', '/')}"
        answer = await asyncio.wait_for(client.get(url, headers=headers), timeout_s)
    healthy = 200 <= answer.status_code < 400
    return healthy, f"HTTP probe failed with statuscode: {answer.status_code}"


async def _tcp(
    action: Object, address: str, ports: list[Object], timeout_s: float
) -> tuple[bool, str]:
    opening = asyncio.open_connection(action.get("host", address), _port(action["port"], ports))
    _, writer = await asyncio.wait_for(opening, timeout_s)
    writer.close()
    return True, ""


def _port(port: int | str, ports: list[Object]) -> int:
    if isinstance(port, int) or port.isdigit():
        return int(port)
    for each in ports:
        if each.get("name") == port:
            return int(each["containerPort"])
    raise ValueError(f"the container has no port named {port!r}")
