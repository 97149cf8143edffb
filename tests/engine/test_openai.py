"""recaption.engine.openai against a server of our own on loopback, and against a real `vllm serve`."""

from __future__ import annotations

import asyncio
import base64
import copy
import io
import json
import logging
import math
import os
import pickle
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from samples import jpeg

from recaption import config
from recaption.decode import decode
from recaption.engine import Completion, EngineSpec, ImageLimits, Rendered, Request, build
from recaption.engine.chat_server import (
    LONGEST_BACKOFF,
    LONGEST_RETRY_AFTER,
    PATIENCE,
    TIMEOUTS,
    Key,
    backoff,
    error_status,
    retry_after,
)
from recaption.engine.completion import accept
from recaption.engine.openai import OpenAIEngine, data_url, read
from recaption.engine.openai_settings import OpenAISettings
from recaption.errors import (
    ConfigError,
    EngineDead,
    ImageError,
    Interrupted,
    RecaptionError,
    RequestError,
    RequestTimeout,
)
from recaption.generate.plan import make_plan
from recaption.tasks.output import TEXT, Output
from recaption.types import Sampling

YES_NO = Output(choices=("yes", "no"))
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
SCHEMA = {"type": "object", "properties": {"n": DIGIT}, "required": ["n"], "additionalProperties": False}
COUNT = Output(json_schema=json.dumps(SCHEMA).encode())
KEY = 'sk-do/not"tell+4711'
LIMITS = ImageLimits()


@dataclass(kw_only=True, slots=True)
class Response:
    """What the server sends; a `content` that is not bytes goes out as JSON."""

    content: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True, slots=True)
class Asked:
    """What the server was sent."""

    path: str
    headers: dict[str, str]
    body: Any

    @property
    def prompt(self) -> str:
        content = self.body["messages"][0]["content"]
        return content if isinstance(content, str) else content[1]["text"]


def answer(text: str = "A red square.", finish: str = "stop", **message: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}}
    return {"choices": [{"message": {"content": text, **message}, "finish_reason": finish}], "usage": usage}


class Server:
    """`chat` answers a question; its n-th call has number n, from 0. `asked` are the questions, in order."""

    def __init__(self) -> None:
        self.chat: Callable[[int, Asked], Response] = lambda n, asked: Response(content=answer())
        self.models = Response(content={"data": [{"id": "m", "owned_by": "us"}]})
        self.asked: list[Asked] = []
        self.running = self.most_running = 0
        self.released = threading.Event()
        self._hours = 0
        self._loop: asyncio.BaseEventLoop | None = None
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(server.models)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = Asked(path=self.path, headers=dict(self.headers), body=body)
                with server._lock:
                    number = len(server.asked)
                    server.asked.append(asked)
                    server.running += 1
                    server.most_running = max(server.most_running, server.running)
                try:
                    response = server.chat(number, asked)
                finally:
                    with server._lock:
                        server.running -= 1
                self._send(response)

            def _send(self, response: Response) -> None:
                content = response.content
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args: Any) -> None: ...

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that has given up is no news."""

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def time_out(self) -> Response:
        """Answer nothing, and let an hour pass for the client: no answer of another request can be too late by that."""
        self._hours += 1
        loop = self._loop
        assert loop is not None
        loop.call_soon_threadsafe(lambda: None)  # it looks at its clock
        return self.hang()

    def clock(self, loop: asyncio.BaseEventLoop) -> float:
        """The time of the client's loop."""
        self._loop = loop
        return time.monotonic() + 3600 * self._hours

    def hang(self) -> Response:
        """Answer nothing until the test is over."""
        self.released.wait(600)
        return Response(content=answer("too late"))

    def close(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Server()
    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda loop: running.clock(loop))
    yield running
    running.close()


def spec(server: Server | str, **engine_args: Any) -> EngineSpec:
    url = server if isinstance(server, str) else server.url
    return EngineSpec(engine="openai", model="m", engine_args=tuple({"base_url": url, **engine_args}.items()))


def question(prompt: str = "What is this?", image: bytes | None = None, **sampling: Any) -> Request:
    return Request(
        image=jpeg(1) if image is None else image,
        sha256="0",
        prompt=prompt,
        sampling=Sampling(**{"max_tokens": 16, **sampling}),
    )


def text_question(output: Output = TEXT, **sampling: Any) -> Request:
    return Request(prompt="Is it so?", sampling=Sampling(**{"max_tokens": 16, **sampling}), output=output)


def ask(
    engine_spec: EngineSpec, *requests: Request, waits: list[float] | None = None
) -> list[Completion | BaseException]:
    """What an engine that is started for them makes of the requests, all at once; it waits no time at all."""
    waited = [] if waits is None else waits

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(0.001)

    async def run() -> list[Completion | BaseException]:
        engine = OpenAIEngine(engine_spec, sleep=sleep)
        try:
            await engine.start()
            return await asyncio.gather(*(engine.generate(r) for r in requests), return_exceptions=True)
        finally:
            await engine.stop()

    return asyncio.run(run())


def shown(request: dict[str, Any]) -> bytes:
    """The bytes of the picture in a request's body."""
    url = request["messages"][0]["content"][0]["image_url"]["url"]
    return base64.b64decode(url.partition(";base64,")[2])


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def test_a_question_is_put_as_the_api_wants_it(server: Server) -> None:
    sampling = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ("\n",), "max_tokens": 20}
    (found,) = ask(spec(server), question(**sampling))
    assert found == Completion(
        text="A red square.", finish_reason="stop", prompt_tokens=11, output_tokens=5, cached_tokens=3
    )
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert "Authorization" not in asked.headers
    (message,) = asked.body.pop("messages")
    assert message["role"] == "user"
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]
    assert message["content"][0]["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert message["content"][1]["text"] == "What is this?"
    assert asked.body == {**sampling, "model": "m", "stop": ["\n"]}


def test_fields_that_not_every_server_knows_are_sent_only_where_they_are_set(server: Server) -> None:
    extra = {"repetition_penalty": 1.1, "seed": None}
    ask(spec(server, image_detail="low", extra_body=extra), question(top_k=5, ignore_eos=True))
    (asked,) = server.asked
    assert asked.body["messages"][0]["content"][0]["image_url"]["detail"] == "low"
    del asked.body["messages"]
    assert asked.body == {
        "model": "m",
        "max_tokens": 16,
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 5,
        "ignore_eos": True,
        "repetition_penalty": 1.1,
    }


@pytest.mark.parametrize(
    ("reply", "text", "finish"),
    [
        (answer(finish="length"), "A red square.", "length"),
        (answer(finish="content_filter"), "A red square.", "content_filter"),
        (answer(finish="repetition"), "A red square.", "repetition"),
        (answer(finish="tool_calls"), "A red square.", "tool_calls"),
        ({"choices": [{"message": {"content": None, "refusal": "I cannot."}, "finish_reason": "stop"}]},
         "I cannot.", "refusal"),
        ({"choices": [{"message": {"content": None}, "finish_reason": "stop"}], "usage": None}, "", "stop"),
        ({"choices": [{}]}, "", None),
        ({"choices": [{"text": "A red square."}]}, "A red square.", None),
        ({"choices": [{"message": {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "A "},
         {"type": "text", "text": "cup."}]}, "finish_reason": "end_turn"}]}, "A cup.", "end_turn"),
        ({"choices": [{"message": {"content": [{"type": "refusal", "refusal": "No."}]}, "finish_reason": "stop"}]},
         "No.", "refusal"),
        ({"choices": [{"index": 1, "message": {"content": "Another."}, "finish_reason": "length"},
         {"index": 0, "message": {"content": "A cup."}, "finish_reason": "stop"}]}, "A cup.", "stop"),
        ({"choices": [None, {"index": 0, "text": "A cup."}]}, "A cup.", None),
        ({"choices": [{"index": 0, "message": "A cup."}]}, "A cup.", None),
        ({"choices": [{"index": 0, "delta": {"content": "A cup."}, "finish_reason": "stop"}]}, "A cup.", "stop"),
        ({"choices": [{"message": {"content": None, "reasoning_content": "I see"}, "finish_reason": "stop"}]},
         "", "stop"),
        ({"choices": [{"index": 2, "text": "A cup."}, {"index": 3, "text": "Another."}]}, "A cup.", None),
        ({"choices": [{"text": "A cup."}, {"index": None, "text": "Another."}]}, "A cup.", None),
        ({"choices": [{"index": 1, "error": {"code": 500}}, {"index": 0, "message": {"content": "A cup."}}]},
         "A cup.", None),
    ],
)  # fmt: skip
def test_text_and_finish_word_are_the_servers(reply: dict[str, Any], text: str, finish: str | None) -> None:
    found = read(reply)
    assert (found.text, found.finish_reason) == (text, finish)
    assert found.output_tokens == (5 if reply.get("usage") else 0)


LOOP = "A red square. " + "And a red square. " * 30


@pytest.mark.parametrize(
    ("text", "finish", "ignore_eos", "found"),
    [
        (LOOP, "max_tokens", False, ("repetition", "max_tokens")),
        ("A red square" + "!" * 60, "length", False, ("repetition", "length")),
        (LOOP, "stop", False, ("stop", None)),
        (LOOP, "length", True, ("length", None)),
        ("A red square and " * 3, "length", False, ("length", None)),
    ],
)
def test_a_loop_up_to_the_limit_is_a_repetition(
    server: Server, text: str, finish: str, ignore_eos: bool, found: tuple[str, str | None]
) -> None:
    """Servers do not end loops unless they are asked to."""
    server.chat = lambda n, asked: Response(content=answer(text, finish))
    (completion,) = ask(spec(server), text_question(ignore_eos=ignore_eos))
    assert isinstance(completion, Completion)
    assert (completion.text, completion.finish_reason, completion.engine_finish) == (text, *found)


def logged(text: str, *tokens: tuple[bytes, float], top: dict[str, float] | None = None) -> dict[str, Any]:
    """A reply with log-probabilities, as OpenAI and `vllm serve` send them."""
    reply = answer(text)
    content: list[dict[str, Any]] = [
        {"token": raw.decode("utf-8", "replace"), "logprob": value, "bytes": list(raw)} for raw, value in tokens
    ]
    if top:
        content[0]["top_logprobs"] = [{"token": token, "logprob": value} for token, value in top.items()]
    reply["choices"][0]["logprobs"] = {"content": content}
    return reply


def test_a_text_only_request_is_a_message_with_a_text(server: Server) -> None:
    (found,) = ask(spec(server, image_detail="low"), text_question())
    assert isinstance(found, Completion)
    assert server.asked[0].body["messages"] == [{"role": "user", "content": "Is it so?"}]


def test_choices_and_json_are_asked_for_as_a_schema(server: Server) -> None:
    """A choice is the value of an object, because OpenAI's schemas must be objects. Stop strings would break it."""
    server.chat = lambda n, asked: Response(content=answer('{"answer": "no"}' if n == 0 else '{"n": 3}'))
    found = [ask(spec(server), text_question(output, stop=("o",)))[0] for output in (YES_NO, COUNT)]
    assert [item.text for item in found if isinstance(item, Completion)] == ["no", '{"n": 3}']
    choice, count = (asked.body["response_format"]["json_schema"] for asked in server.asked)
    assert all(asked.body["response_format"]["type"] == "json_schema" for asked in server.asked)
    assert choice["schema"]["properties"] == {"answer": {"type": "string", "enum": ["yes", "no"]}}
    assert (
        choice["strict"] and not choice["schema"]["additionalProperties"] and choice["schema"]["required"] == ["answer"]
    )
    assert count["schema"] == SCHEMA
    assert not any({"stop", "logprobs"} & set(asked.body) for asked in server.asked)


def test_logprobs_of_tokens_and_their_bytes(server: Server) -> None:
    """Of the end token too, which vLLM lists and which adds no text."""
    emoji = "\U0001f600".encode()
    tokens = [(b"A", -0.5), (b" ", -0.25), (emoji[:3], -1.0), (emoji[3:], -2.0), (b"<|im_end|>", -0.125)]
    server.chat = lambda n, asked: Response(content=logged("A \U0001f600", *tokens))
    (found,) = ask(spec(server), text_question(Output(logprobs=True)))
    assert isinstance(found, Completion) and found.logprobs is not None
    assert found.logprobs.tokens == (-0.5, -0.25, -1.0, -2.0, -0.125)
    assert found.logprobs.nbytes == (1, 1, 3, 1, 0)
    assert server.asked[0].body["logprobs"] is True and "top_logprobs" not in server.asked[0].body
    server.chat = lambda n, asked: Response(content=logged("Another text", *tokens))
    (found,) = ask(spec(server), text_question(Output(logprobs=True)))
    assert isinstance(found, Completion) and found.logprobs is None and found.text == "Another text"


def test_logprobs_of_choices_are_those_of_the_first_token(server: Server) -> None:
    output = replace(YES_NO, logprobs=True)
    top = {"Yes": math.log(0.5), " yes": math.log(0.25), "no": math.log(0.125), "The": math.log(0.0625), "\n": -9999.0}
    server.chat = lambda n, asked: Response(content=logged("Yes", (b"Yes", math.log(0.5)), top=top))
    (found,) = ask(spec(server), text_question(output, max_tokens=9, stop=("\n",)))
    assert isinstance(found, Completion) and found.logprobs is not None
    assert (found.text, found.finish_reason) == ("yes", "stop")
    assert [math.exp(value) for value in found.logprobs.choices] == pytest.approx([0.75, 0.125])
    body = server.asked[0].body
    assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (1, True, 20)
    assert not {"response_format", "stop"} & set(body)
    server.chat = lambda n, asked: Response(content=logged("The", (b"The", -0.1), top={"The": -0.1, "It": -3.0}))
    (found,) = ask(spec(server), text_question(output))
    assert isinstance(found, RequestError) and "none of the 20 most probable first tokens" in str(found)


def test_a_text_with_a_lone_surrogate_is_an_answer_without_logprobs(server: Server) -> None:
    """A server that cuts its text between the two halves of an emoji sends one. It must not end the engine."""
    reply = logged("A \ud83d", (b"A", -0.5), (b" ?", -1.0))
    for token in reply["choices"][0]["logprobs"]["content"]:
        token.update(bytes=None)
    reply["choices"][0]["logprobs"]["content"][1]["token"] = " \ud83d"
    server.chat = lambda n, asked: Response(content=reply)
    (found,) = ask(spec(server), text_question(Output(logprobs=True)))
    assert isinstance(found, Completion)
    assert (accept(found).text, accept(found).logprobs) == ("A \ufffd", None)


@pytest.mark.parametrize(
    "content",
    [
        5,
        ["A"],
        [{"token": "A"}],
        [{"logprob": -1.0}],
        [{"token": "A", "logprob": None}],
        [{"token": "A", "logprob": math.nan}],
        [{"token": "A", "logprob": -1.0, "bytes": [300]}],
        [{"token": "A", "logprob": -1.0, "top_logprobs": {"yes": -1.0}}],
        [{"token": "A", "logprob": -1.0, "top_logprobs": [{"token": "yes"}]}],
        [{"token": "A", "logprob": -1.0, "top_logprobs": [{"token": "yes", "logprob": math.nan}]}],
        [{"token": "A", "logprob": -1.0, "top_logprobs": [{"token": "yes", "logprob": math.inf}]}],
    ],
)
def test_logprobs_of_another_form_cost_one_request_and_not_the_engine(content: Any) -> None:
    has_top = isinstance(content, list) and isinstance(content[0], dict) and "top_logprobs" in content[0]
    output = replace(YES_NO if has_top else TEXT, logprobs=True)
    reply = answer("A")
    reply["choices"][0]["logprobs"] = {"content": content}
    with pytest.raises(RequestError, match="log-probabilities are not in the form of OpenAI's API"):
        read(reply, output)


@pytest.mark.parametrize(
    ("output", "reply", "message"),
    [
        (YES_NO, answer("Perhaps."), "does not support response_format json_schema.*'Perhaps.' is none of the choices"),
        (COUNT, answer("Three."), "does not support response_format json_schema.*is not JSON"),
        (Output(logprobs=True), answer(), "does not support logprobs.*returned no log-probabilities"),
        (
            replace(COUNT, logprobs=True),
            answer('{"n": 1}'),
            "does not support logprobs and response_format json_schema",
        ),
        (
            replace(YES_NO, logprobs=True),
            logged("Hi", (b"Hi", -0.1)),
            "does not support logprobs and top_logprobs.*returned no top_logprobs",
        ),
    ],
)
def test_a_server_that_lacks_an_output_is_refused_at_the_start(
    server: Server, output: Output, reply: dict[str, Any], message: str
) -> None:
    """Servers ignore fields that they do not know; others refuse them."""
    for response in (Response(content=reply), Response(content={"error": {"message": "unknown field"}}, status=400)):
        server.asked.clear()
        server.chat = lambda n, asked, response=response: response
        expected = message if response.status == 200 else message.partition(".*")[0] + ".*unknown field"
        with pytest.raises(ConfigError, match=expected):
            ask(replace(spec(server), outputs=(TEXT, output)), text_question(output))
        assert len(server.asked) == 1


def test_a_server_that_has_the_outputs_of_a_run_starts(server: Server) -> None:
    replies = [
        answer('{"answer": "yes"}'),
        answer('{"n": 1}', finish="length"),
        logged("Hi", (b"Hi", -0.1)),
        logged("Hi", (b"Hi", -0.1), top={"Hi": -0.1}),  # none of the choices: the question is not one of yes and no
    ]
    server.chat = lambda n, asked: Response(content=replies[n])
    outputs = (YES_NO, COUNT, Output(logprobs=True), replace(YES_NO, logprobs=True))
    assert ask(replace(spec(server), outputs=outputs)) == []
    assert len(server.asked) == 4


def test_scores_are_not_for_this_engine(server: Server) -> None:
    (found,) = ask(spec(server), text_question(Output(scores=True)))
    assert isinstance(found, RequestError) and "dual_encoder" in str(found)


def test_a_crop_is_sent_as_a_jpeg_of_that_part() -> None:
    noise = Image.effect_noise((80, 60), 90).convert("RGB")
    request = replace(question(image=encoded(noise, "PNG")), crop=(0.25, 0.5, 0.75, 1.0))
    sent = base64.b64decode(data_url(request, LIMITS, None).partition(";base64,")[2])
    expected = encoded(noise.crop((20, 30, 60, 60)), "JPEG", quality=95)
    assert sent == expected
    with pytest.raises(RequestError, match="expected x0, y0, x1, y1"):
        data_url(replace(request, crop=(0.5, 0.0, 0.5, 1.0)), LIMITS, None)


@pytest.mark.parametrize("reply", [{}, {"choices": None}, {"choices": []}, {"choices": [None, "A cup."]}])
def test_a_reply_without_choices_is_refused(reply: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="it has no choices"):
        read(reply)


def test_choices_in_any_order_are_read_by_index(server: Server) -> None:
    reply = answer("A cup.")
    reply["choices"] = [{"index": 1, "error": {"message": "overloaded"}}, {"index": 0, **reply["choices"][0]}]
    server.chat = lambda n, asked: Response(content=reply)
    (found,) = ask(spec(server), question())
    assert isinstance(found, Completion) and found.text == "A cup."
    assert len(server.asked) == 1


def test_an_answer_that_is_no_text_is_refused() -> None:
    with pytest.raises(RequestError, match="type int, not a text"):
        read({"choices": [{"message": {"content": [1]}, "finish_reason": "stop"}]})


def test_a_picture_that_every_decoder_takes_alike_goes_out_as_it_came() -> None:
    colour = Image.new("RGB", (40, 30), "red")
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(colour, kind)
        url = data_url(question(image=data), LIMITS, None)
        assert url == f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"


def test_orientation_and_position_are_not_sent() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "somewhere"
    turned = encoded(Image.new("RGB", (40, 30), "red"), "JPEG", exif=exif)
    assert b"somewhere" in turned
    sent = base64.b64decode(data_url(question(image=turned), LIMITS, None).partition(";base64,")[2])
    assert b"somewhere" not in sent and turned.endswith(sent[-200:])
    assert Image.open(io.BytesIO(sent)).getexif().get(0x0112) is None


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.new("RGBA", (40, 30), (255, 0, 0, 0)), "PNG"),
        encoded(Image.new("RGBA", (40, 30), (255, 0, 0, 0)), "WEBP"),
        encoded(Image.new("RGB", (40, 30), "red"), "PNG", transparency=(255, 0, 0)),
        encoded(Image.new("P", (40, 30)), "GIF", transparency=0),
        encoded(Image.new("RGB", (40, 30), "white"), "BMP"),
    ],
)
def test_any_other_picture_goes_out_as_the_jpeg_that_other_engines_see(data: bytes) -> None:
    url = data_url(question(image=data), LIMITS, None)
    assert url.startswith("data:image/jpeg;base64,")
    sent = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert sent.size == (40, 30) and sent.mode == "RGB"
    lowest = min(low for low, _ in sent.getextrema())
    assert lowest > 250, "transparency lies over white"


@pytest.mark.parametrize(
    ("share", "budget", "pixels"), [(1.0, 1000, 1000), (0.5, None, 2400), (0.5, 1000, 500), (0.25, 10**6, 1200)]
)
def test_a_picture_is_scaled_down_to_its_pixel_budget(share: float, budget: int | None, pixels: int) -> None:
    request = replace(question(image=jpeg(1, (80, 60))), pixel_share=share)
    sent = base64.b64decode(data_url(request, LIMITS, budget).partition(",")[2])
    width, height = Image.open(io.BytesIO(sent)).size
    assert 0.9 * pixels < width * height <= pixels
    assert decode(sent, LIMITS).size == (width, height)


def test_an_unusable_picture_is_an_image_error_and_never_sent(server: Server) -> None:
    found = ask(spec(server), question(image=b"<html>"), question(image=jpeg(1)[:-20]), question(image=b""))
    assert [error.reason for error in found if isinstance(error, ImageError)] == ["undecodable", "truncated", "empty"]
    assert server.asked == []


def test_a_try_that_may_work_later_is_made_again(server: Server) -> None:
    troubles = [
        Response(status=429, content={"error": {"message": "slow down"}}),
        Response(status=500, content=b"<html>oops</html>"),
        Response(content=b'{"choices": [{"mess'),
        Response(content={"error": {"message": "upstream", "code": 502}}),
        Response(status=409, content={}),
    ]
    server.chat = lambda n, asked: troubles[n] if n < len(troubles) else Response(content=answer())
    waits: list[float] = []
    (found,) = ask(spec(server), question(), waits=waits)
    assert isinstance(found, Completion)
    assert len({json.dumps(asked.body) for asked in server.asked}) == 1 and len(server.asked) == 6
    assert [2**n / 2 <= wait <= 2**n for n, wait in enumerate(waits)] == [True] * 5


def test_waiting_grows_to_a_bound_and_differs_from_try_to_try() -> None:
    source = random.Random(0)
    assert backoff(0, source) == 0
    assert max(backoff(1000, source) for _ in range(100)) <= LONGEST_BACKOFF
    assert len({backoff(3, source) for _ in range(100)}) > 50


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("99999", LONGEST_RETRY_AFTER),
        ("inf", LONGEST_RETRY_AFTER),
        ("nan", None),
        ("soon", None),
        ("Wed, 01 Jan 2025 00:00:20 GMT", 20),
        ("Wed, 01 Jan 2025 00:00:20 -0000", 20),
        ("Wed, 01 Jan 2020 00:00:00 GMT", 0),
        ("Wed, 01 Jan 2031 00:00:00 GMT", LONGEST_RETRY_AFTER),
    ],
)
def test_retry_after_is_read_and_bounded(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, datetime(2025, 1, 1, tzinfo=UTC)) == seconds


def test_a_server_that_names_a_time_is_left_alone_so_long(server: Server) -> None:
    server.chat = lambda n, asked: (
        Response(content=answer()) if n else Response(status=429, content={}, headers={"Retry-After": "100"})
    )
    waits: list[float] = []
    (found,) = ask(spec(server), question(), waits=waits)
    assert isinstance(found, Completion)
    (waited,) = waits
    assert LONGEST_RETRY_AFTER <= waited <= LONGEST_RETRY_AFTER + 1


def test_a_server_that_names_years_holds_up_that_request_only(server: Server) -> None:
    years = Response(status=429, content={}, headers={"Retry-After": "99999999"})
    first: list[bool] = []

    def chat(n: int, asked: Asked) -> Response:
        if asked.prompt == "held" and not first:
            first.append(True)
            return years
        return Response(content=answer())

    async def run() -> None:
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            await engine.generate(question("other"))  # goes on meanwhile, without a wait of its own

        engine = OpenAIEngine(spec(server), sleep=sleep)
        await engine.start()
        await engine.generate(question("held"))
        await engine.stop()
        assert len(waits) == 1 and waits[0] <= LONGEST_RETRY_AFTER + 1

    server.chat = chat
    asyncio.run(run())


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"error": {"code": 429, "message": "free-models-per-day"}}, 429),
        ({"error": {"code": "rate_limit_exceeded", "message": "slow down"}}, 429),
        ({"error": {"type": "invalid_request_error", "message": "too long"}}, 400),
        ({"error": "overloaded"}, 500),
        ({"object": "error", "message": "no", "code": 404}, 404),
        ({"choices": [{"message": {"content": ""}, "error": {"code": 502, "message": "upstream"}}]}, 502),
        ({"choices": [{"message": {"content": "A cup."}}], "error": None}, None),
        ({"choices": [{"message": {"content": "A cup."}}], "error": {"code": 500}}, None),
        ({"choices": []}, None),
        ([], None),
        (None, None),
    ],
)
def test_an_error_with_status_200_has_the_status_that_it_should_have(content: Any, status: int | None) -> None:
    assert error_status(content) == status


def test_an_error_with_status_200_is_handled_as_that_error(server: Server) -> None:
    server.chat = lambda n, asked: (
        Response(content={"error": {"code": 503, "message": "warming up"}}) if n == 0 else Response(content=answer())
    )
    assert isinstance(ask(spec(server), question())[0], Completion)
    server.chat = lambda n, asked: Response(content={"error": {"code": 400, "message": "too long \ud800"}})
    (found,) = ask(spec(server), question())
    assert isinstance(found, RequestError) and "(400): in a reply with status 200: too long" in str(found)


def test_a_reply_that_is_nested_without_end_is_an_error_of_its_own(server: Server) -> None:
    server.chat = lambda n, asked: Response(content=b"[" * 200_000)
    (found,) = ask(spec(server, attempts=2), question())
    assert isinstance(found, EngineDead) and "not a chat completion" in str(found)


@pytest.mark.parametrize("trouble", [Response(status=503, content={}), Response(content=b"not JSON")])
def test_a_server_that_answers_nobody_is_a_dead_engine(server: Server, trouble: Response) -> None:
    server.chat = lambda n, asked: trouble
    found = ask(spec(server, attempts=3), question(), question("another"))
    assert [type(error) for error in found] == [EngineDead, EngineDead]
    assert f"server {server.url} answers with errors only: " in str(found[0]) and "(tried 3 times)" in str(found[0])
    prompts = Counter(asked.prompt for asked in server.asked)
    assert prompts == {"What is this?": 3, "another": 3, "Describe this image.": 2}, "each has one stand-in"


def test_a_server_that_says_nothing_is_given_up(server: Server) -> None:
    server.chat = lambda n, asked: server.time_out()
    (found,) = ask(spec(server, attempts=2, timeout=60), question())
    assert isinstance(found, EngineDead) and "no answer within 60 s (tried 2 times)" in str(found)


def test_a_server_that_is_not_there_is_a_dead_engine() -> None:
    with socket.socket() as taken:  # bound and not listening, so no other server can use the port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(EngineDead, match=r"does not answer: ClientConnectorError.*\(tried 2 times\)"):
            ask(spec(url, attempts=2), question())


def test_a_request_that_alone_fails_is_not_the_servers_death(server: Server) -> None:
    """The good ones come one after another while the bad one is tried, so there is always one answered meanwhile."""

    def chat(n: int, asked: Asked) -> Response:
        return Response(status=500, content={}) if asked.prompt == "bad" else Response(content=answer())

    server.chat = chat

    async def run() -> None:
        async def sleep(seconds: float) -> None:
            assert isinstance(await engine.generate(question("good")), Completion)

        engine = OpenAIEngine(spec(server, attempts=3), sleep=sleep)
        await engine.start()
        with pytest.raises(RequestError, match=r"answers other requests, but not this one: status 500.*tried 3 times"):
            await engine.generate(question("bad"))
        await engine.stop()

    asyncio.run(run())


@pytest.mark.parametrize(
    "trouble",
    [
        Response(status=500, content={}),
        Response(status=429, content={}),
        Response(content={"choices": []}),
        Response(content={"error": {"code": 502, "message": "upstream"}}),
    ],
)
def test_requests_that_fail_at_the_end_of_a_run_are_not_the_servers_death(server: Server, trouble: Response) -> None:
    """Nothing else is asked any more, so the last answered request is put again, for one token."""

    def chat(n: int, asked: Asked) -> Response:
        return trouble if asked.prompt == "bad" else Response(content=answer())

    server.chat = chat

    async def run() -> None:
        engine = OpenAIEngine(spec(server, attempts=2), sleep=lambda seconds: asyncio.sleep(0))
        await engine.start()
        assert isinstance(await engine.generate(question("good", max_tokens=50)), Completion)
        for _ in range(3):
            with pytest.raises(RequestError, match=r"answers other requests, but not this one: .*tried 2 times"):
                await engine.generate(question("bad"))
        await engine.stop()

    asyncio.run(run())
    put = [(asked.prompt, asked.body["max_tokens"]) for asked in server.asked]
    assert put == [("good", 50), *[("bad", 16), ("bad", 16), ("good", 1)] * 3]


def test_a_server_that_answers_no_longer_is_a_dead_engine(server: Server) -> None:
    server.chat = lambda n, asked: Response(content=answer()) if n == 0 else Response(status=500, content={})

    async def run() -> None:
        engine = OpenAIEngine(spec(server, attempts=2), sleep=lambda seconds: asyncio.sleep(0))
        await engine.start()
        assert isinstance(await engine.generate(question()), Completion)
        with pytest.raises(EngineDead, match="answers with errors only"):
            await engine.generate(question("another"))
        await engine.stop()

    asyncio.run(run())


def test_a_busy_server_that_answers_others_is_waited_for(server: Server) -> None:
    server.chat = lambda n, asked: (
        Response(status=429, content={})
        if asked.prompt == "late" and sum(a.prompt == "late" for a in server.asked) < 6
        else Response(content=answer())
    )

    async def run() -> None:
        async def sleep(seconds: float) -> None:
            await engine.generate(question("other"))

        engine = OpenAIEngine(spec(server, attempts=2), sleep=sleep)
        await engine.start()
        assert isinstance(await engine.generate(question("late")), Completion)
        await engine.stop()

    asyncio.run(run())
    assert sum(asked.prompt == "late" for asked in server.asked) == 6


@pytest.mark.parametrize("retry_after", [None, "99999999"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_request_that_is_always_busy_while_others_are_answered_is_given_up(
    server: Server, status: int, retry_after: str | None
) -> None:
    """Each wait of the bad request has one good request answered, so no round is without one."""
    busy = Response(status=status, content={}, headers={} if retry_after is None else {"Retry-After": retry_after})
    server.chat = lambda n, asked: busy if asked.prompt == "bad" else Response(content=answer())
    waits: list[float] = []

    async def run() -> None:
        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            assert isinstance(await engine.generate(question("good")), Completion)

        engine = OpenAIEngine(spec(server, attempts=3, concurrency=2), sleep=sleep)
        await engine.start()
        with pytest.raises(
            RequestError, match=rf"answers other requests, but not this one: status {status}.*tried \d+ times"
        ):
            await engine.generate(question("bad"))
        assert isinstance(await engine.generate(question("good")), Completion), "the engine is not dead"
        await engine.stop()

    asyncio.run(run())
    bad, good = (sum(asked.prompt == prompt for asked in server.asked) for prompt in ("bad", "good"))
    assert PATIENCE * 2 <= good <= PATIENCE * 2 + 6 and bad % 3 == 0
    assert all(wait <= LONGEST_RETRY_AFTER + 1 for wait in waits)
    if retry_after is not None:
        assert sum(wait >= LONGEST_RETRY_AFTER for wait in waits) >= bad - bad // 3 - 1


@pytest.mark.parametrize("trouble", ["silent", "status 500"])
def test_the_first_request_of_an_engine_may_fail_alone(server: Server, trouble: str) -> None:
    """No request was answered before it, so a stand-in shows that the server works."""
    bad = base64.b64encode(jpeg(1)).decode()

    def chat(n: int, asked: Asked) -> Response:
        if bad not in json.dumps(asked.body):
            return Response(content=answer())
        return server.time_out() if trouble == "silent" else Response(status=500, content={})

    server.chat = chat
    found = ask(spec(server, attempts=2, timeout=60), question(max_tokens=33))
    said = "no answer within 60 s" if trouble == "silent" else "status 500"
    assert type(found[0]) is (RequestTimeout if trouble == "silent" else RequestError)
    assert re.search(rf"answers other requests, but not this one: {said}.*tried 2 times", str(found[0]))
    assert [asked.body["max_tokens"] for asked in server.asked] == [33] * 3
    assert server.asked[-1].prompt == "Describe this image."


def test_a_request_without_an_answer_is_given_up_after_three_timeouts_while_others_are_answered(server: Server) -> None:
    server.chat = lambda n, asked: server.time_out() if asked.prompt == "bad" else Response(content=answer())

    async def run() -> None:
        async def sleep(seconds: float) -> None:
            assert isinstance(await engine.generate(question("good")), Completion), "other requests continue"

        engine = OpenAIEngine(spec(server, attempts=10, timeout=60, concurrency=2), sleep=sleep)
        await engine.start()
        with pytest.raises(RequestTimeout, match=r"but not this one: no answer within 60 s \(tried 3 times\)"):
            await engine.generate(question("bad"))
        await engine.stop()

    asyncio.run(run())
    assert Counter(asked.prompt for asked in server.asked) == {"bad": TIMEOUTS, "good": TIMEOUTS - 1}


def test_a_request_without_an_answer_is_given_up_after_three_timeouts_if_the_server_answers_a_stand_in(
    server: Server,
) -> None:
    stand_in = "Describe this image."
    server.chat = lambda n, asked: Response(content=answer()) if asked.prompt == stand_in else server.time_out()
    (found,) = ask(spec(server, attempts=10, timeout=60), question("bad"))
    assert isinstance(found, RequestTimeout)
    assert [asked.prompt for asked in server.asked] == ["bad"] * TIMEOUTS + [stand_in]


def test_a_server_that_is_silent_for_a_while_gets_all_attempts(server: Server) -> None:
    silent = TIMEOUTS + 2  # three timeouts of the request, its stand-in, and one more
    server.chat = lambda n, asked: server.time_out() if n < silent else Response(content=answer())
    (found,) = ask(spec(server, attempts=6, timeout=60), question("late"))
    assert isinstance(found, Completion)
    assert [asked.prompt for asked in server.asked] == [*["late"] * 3, "Describe this image.", *["late"] * 2]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_is_not_tried_again(server: Server, status: int) -> None:
    server.chat = lambda n, asked: Response(status=status, content={"error": {"message": "too long"}})
    (found,) = ask(spec(server), question())
    assert isinstance(found, RequestError) and f"({status}): too long" in str(found)
    assert len(server.asked) == 1


def test_a_picture_that_the_server_could_not_decode_is_an_image_error(server: Server) -> None:
    server.chat = lambda n, asked: Response(status=400, content={"detail": "cannot identify image"})
    whole = encoded(Image.effect_noise((64, 64), 50).convert("RGB"), "PNG")
    middle = whole.index(b"IDAT") + 40
    broken = whole[:middle] + bytes(64) + whole[middle + 64 :]
    (found,) = ask(spec(server), question(image=broken))
    assert isinstance(found, ImageError) and found.reason in ("undecodable", "truncated")
    assert shown(server.asked[0].body) == broken


def test_a_reply_without_an_end_is_refused(server: Server) -> None:
    server.chat = lambda n, asked: Response(content=b" " * (9 * 2**20))
    (found,) = ask(spec(server), question())
    assert isinstance(found, RequestError) and "larger than" in str(found)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 307])
def test_what_would_be_the_same_for_every_request_ends_the_engine(server: Server, status: int) -> None:
    headers = {"Location": server.url + "/elsewhere"}
    server.chat = lambda n, asked: Response(status=status, content={"error": "no"}, headers=headers)

    async def run() -> None:
        engine = OpenAIEngine(spec(server))
        await engine.start()
        with pytest.raises(EngineDead, match=rf"\({status}: no\)"):
            await engine.generate(question())
        with pytest.raises(EngineDead, match=rf"\({status}: no\)"):
            await engine.generate(question())
        await engine.stop()
        with pytest.raises(Interrupted):
            await engine.generate(question())

    asyncio.run(run())
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_said_at_the_start(server: Server, status: int) -> None:
    server.models = Response(status=status, content={"error": {"message": "who are you"}})
    with pytest.raises(ConfigError, match=rf"requires an API key; engine_args.api_key_env .*\({status}: who are you\)"):
        ask(spec(server))


def test_a_model_that_the_server_lacks_is_said_at_the_start(server: Server) -> None:
    server.models = Response(content={"data": [{"id": "a"}, {"id": "b"}]})
    server.chat = lambda n, asked: Response(status=404, content={"message": "no model m"})
    with pytest.raises(
        ConfigError, match=r"model 'm': server .* has no such model, .*\(404: no model m\); it lists a, b"
    ):
        ask(spec(server))


@pytest.mark.parametrize(
    "models",
    [
        Response(status=404, content=b"Not Found"),
        Response(status=405, content={}),
        Response(content={"data": [{"id": "models/m"}]}),
        Response(content=b"<html>"),
    ],
)
def test_a_server_that_does_not_list_the_model_is_asked_for_a_word(server: Server, models: Response) -> None:
    server.models = models
    (found,) = ask(spec(server), question())
    assert isinstance(found, Completion)
    assert [asked.prompt for asked in server.asked] == ["Hello", "What is this?"]
    assert server.asked[0].body["max_tokens"] == 1


def test_no_more_than_so_many_requests_are_under_way(server: Server) -> None:
    both = threading.Barrier(3, timeout=120)

    def chat(n: int, asked: Asked) -> Response:
        both.wait()  # three at a time come through, and only so
        return Response(content=answer())

    server.chat = chat
    engine_spec = spec(server, concurrency=3)
    assert build(engine_spec).capacity == 3
    found = ask(engine_spec, *(question(str(n)) for n in range(12)))
    assert all(isinstance(item, Completion) for item in found)
    assert server.most_running == 3


def test_a_request_that_waits_to_be_tried_again_keeps_its_place(server: Server) -> None:
    server.chat = lambda n, asked: Response(content=answer()) if n else Response(status=503, content={})
    ask(spec(server, concurrency=1), question("first"), question("second"))
    assert [asked.prompt for asked in server.asked] == ["first", "first", "second"]


def test_a_request_that_its_caller_gives_up_frees_its_place(server: Server) -> None:
    asked = threading.Event()

    def chat(n: int, question: Asked) -> Response:
        asked.set()
        return server.hang() if n == 0 else Response(content=answer())

    server.chat = chat

    async def run() -> None:
        engine = OpenAIEngine(spec(server, concurrency=1, timeout=600, attempts=1))
        await engine.start()
        given_up = asyncio.ensure_future(engine.generate(question("first")))
        await asyncio.to_thread(asked.wait, 120)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        second = asyncio.ensure_future(engine.generate(question("second")))
        await asyncio.wait([second], timeout=120)
        assert second.done()
        await engine.stop()

    asyncio.run(run())


def test_requests_before_the_start_are_refused(server: Server) -> None:
    with pytest.raises(EngineDead, match="not started"):
        asyncio.run(OpenAIEngine(spec(server)).generate(question()))
    assert server.asked == []


def test_stopping_interrupts_what_is_under_way(server: Server) -> None:
    asked = threading.Event()

    def chat(n: int, question: Asked) -> Response:
        asked.set()
        return server.hang()

    server.chat = chat

    async def run() -> None:
        engine = OpenAIEngine(spec(server))
        await engine.start()
        running = asyncio.ensure_future(engine.generate(question()))
        given_up = asyncio.ensure_future(engine.generate(question()))
        await asyncio.to_thread(asked.wait, 120)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        await engine.stop()
        with pytest.raises(Interrupted):
            await running
        with pytest.raises(Interrupted):
            await engine.generate(question())
        await engine.stop()

    asyncio.run(run())


def test_rendered_work_is_not_for_this_engine(server: Server) -> None:
    rendered = Rendered(engine_input=None, sampling=Sampling(max_tokens=1), nbytes=0)
    with pytest.raises(RequestError, match="renders requests itself"):
        asyncio.run(OpenAIEngine(spec(server)).generate(rendered))


@pytest.mark.parametrize(
    ("engine_args", "message"),
    [
        ({"base_url": None}, r"needs engine_args.base_url.*e\.g\. http://127.0.0.1:8000/v1"),
        ({"base_url": "localhost:8000"}, "expected http:// or https://"),
        ({"base_url": "http://h:port/v1"}, "expected http:// or https://"),
        ({"base_url": "http://h/v1?api-version=1"}, "no query"),
        ({"api_key": KEY}, "a pipeline must not contain a key"),
        ({"base_url": f"http://me:{KEY.replace('/', '')}@h/v1"}, "contains a user name or password"),
        ({"api_key_env": KEY}, "is not the name of an environment variable"),
        ({"extra_body": {"api_key": KEY}}, "looks like a key"),
        ({"extra_body": {"messages": []}}, "messages cannot be set there"),
        ({"extra_body": {1: 2}}, "cannot be sent as JSON"),
        ({"extra_body": "x"}, "expected a mapping"),
        (
            {"retries": 3, "key": KEY},
            r"key, retries: engine openai has no such setting\. Allowed: base_url, api_key",
        ),
        ({"concurrency": 0}, "concurrency is 0: expected a whole number of at least 1"),
        ({"concurrency": True}, "expected a whole number"),
        ({"attempts": 2.5}, "attempts is 2.5"),
        ({"timeout": float("inf")}, "timeout is inf: expected a number of seconds above 0"),
        ({"image_detail": "huge"}, "allowed: auto, low and high"),
    ],
)
def test_wrong_settings_are_said_without_repeating_a_key(engine_args: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        OpenAISettings.of({"base_url": "http://127.0.0.1:8000/v1", **engine_args})
    told = "".join(traceback.format_exception(caught.value))
    assert "4711" not in told


def test_a_variable_that_was_named_must_be_set(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigError, match="the environment variable MY_KEY is not set here"):
        ask(spec(server, api_key_env="MY_KEY"))
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    ask(spec(server, api_key_env="MY_KEY"), question())
    assert server.asked[0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("value", [f"{KEY}\nHost: evil", f"Bearer {KEY}", f"{KEY}ä"])
def test_a_key_that_no_header_can_hold_is_refused_unseen(value: str) -> None:
    with pytest.raises(ConfigError, match="MY_KEY is not a valid API key") as caught:
        Key(value, "MY_KEY")
    assert "4711" not in "".join(traceback.format_exception(caught.value))


def test_the_key_is_never_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not where a server repeats it in whatever it says, nor in what travels to other processes."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    told: list[str] = []

    def chat(n: int, asked: Asked) -> Response:
        key = asked.headers["Authorization"].removeprefix("Bearer ")
        assert key == KEY
        said = {"error": {"message": f"{'x' * 290} {key}"}}
        by_prompt = {
            "refused": Response(status=400, content=said),
            "raw": Response(status=400, content=f"no {key} of yours".encode()),
            "escaped": Response(status=422, content={"what": {"key": key}}),
            "slashed": Response(status=422, content=json.dumps({"key": key}).replace("/", r"\/").encode()),
            "quoted": Response(status=400, content=urllib.request.quote(key, safe="").encode()),
            "failing": Response(status=500, content=said),
            "no JSON": Response(content=b"<html>" + key.encode()),
            "wrong key": Response(status=401, content=said),
            "moved": Response(status=302, content=b"", headers={"Location": f"http://127.0.0.1:9/{key}"}),
        }
        return by_prompt.get(asked.prompt, Response(content=answer()))

    server.chat = chat
    server.models = Response(content={"data": [{"id": "m", "owned_by": KEY}]})

    async def run() -> None:
        async def sleep(seconds: float) -> None: ...

        prompts = ("refused", "raw", "escaped", "slashed", "quoted", "failing", "no JSON", "wrong key", "moved")
        for prompt in prompts:
            engine = OpenAIEngine(spec(server, attempts=2), sleep=sleep)
            await engine.start()
            with pytest.raises(RecaptionError) as caught:
                await engine.generate(question(prompt))
            error = caught.value
            told.extend([str(error), repr(error), repr(pickle.dumps(error))])
            told.extend(traceback.format_exception(error))
            told.extend([repr(engine), repr(engine._server), str(engine.provenance()), repr(vars(engine))])
            with suppress(TypeError, AttributeError):  # an engine holds threads, and is not pickled at all
                told.append(repr(pickle.dumps(engine)))
            await engine.stop()
        server.models = Response(status=401, content={"error": {"message": f"Bearer {KEY} is wrong"}})
        with pytest.raises(ConfigError, match=r"refuses the API key \(401: Bearer \*\*\* is wrong\)") as refused:
            await OpenAIEngine(spec(server)).start()
        told.extend(traceback.format_exception(refused.value))

    asyncio.run(run())
    told.extend([repr(spec(server)), repr(pickle.dumps(spec(server))), caplog.text, *capfd.readouterr()])
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Key(KEY, "X"))
    everything = "\n".join(told)
    assert len(server.asked) >= 9 and "***" in everything
    for form in (KEY, KEY[:8], "4711"):
        assert form not in everything


def pipeline(folder: Path, **model: Any) -> dict[str, Any]:
    args = {"base_url": "http://127.0.0.1:1/v1"}
    return {
        "name": "x",
        "source": {"path": f"{folder}/*.tar"},
        "models": {"m": {"engine": "openai", "model": "no/such-model", "engine_args": args, **model}},
        "generate": [{"id": "long", "model": "m", "prompt": "describe_long"}],
        "output": {"path": str(folder / "out")},
    }


def test_a_model_of_a_server_is_known_by_its_name_alone(
    make_source: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OTHER_KEY", "other")
    data = pipeline(make_source(shards=1, per_shard=2))

    def identity(**model: Any) -> str:
        changed = copy.deepcopy(data)
        changed["models"]["m"] |= model
        plan = make_plan(config.validate(changed))
        assert KEY not in repr(plan) and KEY.encode() not in pickle.dumps(plan)
        return plan.questions[0].generation.fingerprint

    url = {"base_url": "http://127.0.0.1:1/v1"}
    batch = {"concurrency": 3, "timeout": 9, "attempts": 1, "api_key_env": "OTHER_KEY"}
    assert identity(engine_args={"base_url": "https://example.com/api/v1"}) == identity()
    assert identity(engine_args={**url, **batch}) == identity()
    assert identity(engine_args={**url, "extra_body": {}}) == identity()
    different = [
        identity(),
        identity(model="no/other-model"),
        identity(revision="v2"),
        identity(max_pixels=1000),
        identity(engine_args={**url, "image_detail": "low"}),
        identity(engine_args={**url, "extra_body": {"repetition_penalty": 1.1}}),
    ]
    assert len(set(different)) == len(different)


def test_a_plan_says_what_is_wrong_with_the_servers_settings(make_source: Callable[..., Path]) -> None:
    data = pipeline(make_source(shards=1, per_shard=2), engine_args={"base_url": "http://h/v1", "api_key": KEY})
    with pytest.raises(ConfigError, match="a pipeline must not contain a key") as caught:
        make_plan(config.validate(data))
    assert "4711" not in str(caught.value)


def test_the_shipped_pipeline_is_whole(make_source: Callable[..., Path]) -> None:
    loaded, path = config.load("openai", (f"source.path={make_source(shards=1, per_shard=2)}/*.tar",))
    (model,) = make_plan(loaded, path).models
    assert model.engine is not None and model.commit is None
    assert (model.engine.model, model.engine.revision) == ("Qwen/Qwen2.5-VL-7B-Instruct", None)


def free_port() -> int:
    """Below the ports that Linux gives to connections and servers that name none: it stays free."""
    while True:
        port = random.SystemRandom().randrange(4_000, 8_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture
def vllm_serve(tiny_model: Path, tmp_path: Path) -> Iterator[str]:
    """A `vllm serve` of the random captioner on this machine's CPU; yields its base URL."""
    pytest.importorskip("vllm", reason="vllm is not installed")
    port = free_port()
    quiet = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    # One process and no pinning, as in recaption.engine.vllm.
    single = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
    options = {
        "--host": "127.0.0.1", "--port": str(port), "--served-model-name": "m", "--dtype": "float32",
        "--max-model-len": "512", "--max-num-seqs": "8", "--generation-config": "vllm",
        "--distributed-executor-backend": "uni", "--api-key": KEY,
        "--structured-outputs-config": '{"backend": "xgrammar", "disable_any_whitespace": true}',
    }  # fmt: skip
    # What `vllm serve` runs; the command itself does not start where the package is called vllm-cpu.
    command = [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        str(tiny_model),
        "--enforce-eager",
    ]
    command += ["--enable-prompt-tokens-details", *(word for pair in options.items() for word in pair)]
    log = tmp_path / "serve.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=sink, env={**os.environ, **quiet, **single}, start_new_session=True
        )
    try:
        until = time.monotonic() + 900
        while True:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
                if reply.status == 200:
                    break
            words = log.read_text("utf-8", "replace")[-4000:]
            assert process.poll() is None, f"vllm serve ended:\n{words}"
            assert time.monotonic() < until, f"vllm serve does not start:\n{words}"
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        for how in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, how)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
        with suppress(ProcessLookupError):  # what it started, too
            os.killpg(process.pid, signal.SIGKILL)


def prompt_tokens(model: Path, request: Request) -> int:
    """As many as transformers makes of the request, the picture's among them."""
    from transformers import AutoProcessor

    content = [
        {"type": "image", "image": decode(request.image, LIMITS)},
        {"type": "text", "text": request.prompt},
    ]
    inputs = AutoProcessor.from_pretrained(model).apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return len(inputs["input_ids"][0])


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.filterwarnings("default")
def test_a_real_vllm_serve_answers(
    vllm_serve: str, tiny_model: Path, request_for: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    with pytest.raises(ConfigError, match=r"refuses the API key \(401"):
        ask(spec(vllm_serve))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ConfigError, match=r"model 'other': .*\(404: .*it lists m"):
        ask(replace(spec(vllm_serve), model="other"))

    good = [request_for(n, max_tokens=4 + n, ignore_eos=True) for n in range(8)]
    alike = [request_for(1, temperature=1.0, seed=seed, ignore_eos=True) for seed in (1, 2, 1)]
    too_long = replace(good[0], prompt="word " * 1000)
    no_image = replace(good[0], image=b"<html>")
    fewer = replace(good[0], pixel_share=0.1)
    found = ask(
        replace(spec(vllm_serve, timeout=300, concurrency=6), max_pixels=10**6),
        *good, *alike, too_long, no_image, fewer,
    )  # fmt: skip
    answers = [item for item in found[:8] if isinstance(item, Completion)]
    assert [(a.output_tokens, a.finish_reason) for a in answers] == [(4 + n, "length") for n in range(8)]
    assert {a.prompt_tokens for a in answers} == {prompt_tokens(tiny_model, good[0])}
    one, two, three = (item for item in found[8:11] if isinstance(item, Completion))
    assert one.text == three.text != two.text
    assert isinstance(found[11], RequestError), found[11]
    assert isinstance(found[12], ImageError)
    assert isinstance(found[13], Completion)

    by_logprobs = replace(YES_NO, logprobs=True)
    outputs = (YES_NO, COUNT, Output(logprobs=True), by_logprobs)
    asked = [
        *(replace(good[n], output=output) for n, output in enumerate(outputs)),
        text_question(Output(logprobs=True)),
    ]
    found = ask(
        replace(spec(vllm_serve, timeout=300), outputs=outputs),
        *(replace(r, sampling=Sampling(max_tokens=64)) for r in asked),
    )
    first, *others = (item for item in found if isinstance(item, Completion))
    assert accept(first, YES_NO).text in YES_NO.choices
    assert isinstance(json.loads(accept(others[0], COUNT).text)["n"], int)
    for item in (others[1], others[-1]):
        assert item.logprobs is None or sum(item.logprobs.nbytes) == len(item.text.encode())
        assert item.logprobs is not None or "\ufffd" in item.text
    chosen = found[3]  # by a random model, yes and no may be improbable
    if isinstance(chosen, Completion):
        assert chosen.text in YES_NO.choices and chosen.logprobs is not None
        assert sum(math.exp(value) for value in chosen.logprobs.choices) <= 1.0
    else:
        assert isinstance(chosen, RequestError) and "none of the 20 most probable first tokens" in str(chosen)
