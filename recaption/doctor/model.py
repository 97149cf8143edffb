"""Whether a pipeline's models are available: in a folder, in the Hugging Face cache, on the hub, or on a server."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

from recaption.config import Model
from recaption.doctor import packages
from recaption.doctor.finding import Finding, error, ok, warning
from recaption.errors import EngineDead
from recaption.models import ask_hub, cached, local_folder

TIMEOUT = 5.0  # s, of the hub and of a server


def look(name: str, config: Model) -> list[Finding]:
    """The engine of a model, and where the model comes from. Reads no weights, sends no prompt.

    Raises ConfigError if the model is unavailable, and MissingExtra if its engine is not installed.
    """
    title, model = f"model {name}", config.model or ""
    findings = packages.engine(config.engine)
    if config.engine == "column":
        return [*findings, ok(title, "column: existing captions")]
    if config.engine == "openai":
        return [*findings, asyncio.run(_server(title, config))]
    folder = local_folder(model)
    return [*findings, ok(title, f"{folder}, with its weights") if folder else _hub(title, model, config.revision)]


def _hub(title: str, model: str, revision: str | None) -> Finding:
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json", revision=revision or "main")
    commit = Path(found).parent.name if isinstance(found, str) else None
    if commit and cached(model, commit):
        return ok(title, f"{model} at {commit[:12]}, in the Hugging Face cache of this machine")
    if constants.HF_HUB_OFFLINE:
        found = f"{model} is incomplete in the Hugging Face cache, and HF_HUB_OFFLINE is set"
        todo = f"hf download {model} where there is a network, and set HF_HOME to that cache; or unset HF_HUB_OFFLINE"
        return error(title, found, todo, "input")
    commit = ask_hub(model, revision, timeout=TIMEOUT)
    found = f"{model} at {commit[:12]} is on the hub, but not in the cache of this machine"
    return warning(title, found, f"hf download {model}, so that no engine waits for it; otherwise the run downloads it")


async def _server(title: str, config: Model) -> Finding:
    from recaption.engine.chat_server import ChatServer
    from recaption.engine.openai_settings import OpenAISettings

    settings = OpenAISettings.of(config.engine_args)
    key = settings.key()
    server = ChatServer(
        base_url=settings.base_url,
        key=key,
        connections=1,
        timeout=TIMEOUT,
        attempts=1,
        random=random.Random(0),
        sleep=asyncio.sleep,
    )
    with_key = f", with the key in {settings.api_key_env or 'OPENAI_API_KEY'}" if key else ", without a key"
    await server.connect()
    try:
        models = await server.models()
    except EngineDead as problem:
        todo = "start the server (vllm serve MODEL), or correct engine_args.base_url (most end in /v1)"
        if any(os.environ.get(name) for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")):
            todo += "; set NO_PROXY for a local server, so that the proxy is not used"
        return error(title, str(problem), todo)
    finally:
        await server.close()
    if models is None:
        found = f"{settings.base_url} answers{with_key}, but lists no models"
        return warning(title, found, "check base_url; a run requests one word from the model before it begins")
    if config.model not in models:
        names = key.hide(", ".join(list(models)[:10])) or "none"
        found = f"{settings.base_url} does not list {config.model}; it lists {names}"
        return warning(title, found, "use one of those. An alias also works: a run tests the model before it begins")
    return ok(title, f"{config.model} at {settings.base_url}{with_key}")
