"""An engine for image-text-to-text models of transformers, for models that vLLM does not have and for small machines.

engine_args: `batch_size` (16), `wait_ms` (5: how long an incomplete batch waits for more requests), `threads` (torch's
CPU threads; default: torch's own, or OMP_NUM_THREADS), `device` (default: cuda if there is one, else cpu). Other
arguments go to `from_pretrained`. Of the model's generation settings (temperature, repetition penalty, ...) only the
end tokens are used, as in vLLM with `generation_config="vllm"`. The image processor gets the same pixel budget (see
`engine.budget`), so that both engines return the same answers.

A text-only model (Qwen3, Llama) takes requests without images. Choices are scored token by token, and only tokens that
continue one are drawn; a choice is spelled as the tokenizer spells it. There is no
grammar for JSON: an answer of another form is a RequestError (`engine.completion`), and the retry ladder tries again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recaption.decode import Decoder
from recaption.engine import budget
from recaption.engine.base import Completion, EngineSpec, Gauge, Logprobs, Rendered, RendererSpec, Request, check_prompt
from recaption.engine.capabilities import check_accepts
from recaption.engine.in_flight import InFlight
from recaption.engine.logprobs import likeliest_choice, spellings, token_bytes
from recaption.errors import ConfigError, EngineDead, MissingExtra, RecaptionError, RequestError
from recaption.tasks.output import Output
from recaption.types import Modality

if TYPE_CHECKING:
    from recaption.engine.rows import Row


@dataclass(kw_only=True, slots=True, eq=False)
class _Job:
    request: Request
    image: Any  # PIL.Image.Image, RGB; None: a text-only request
    answer: asyncio.Future[Completion]


class TransformersEngine:
    """See `engine.base.Engine`. The model runs in a thread, so that it never blocks the event loop."""

    def __init__(self, spec: EngineSpec) -> None:
        args = dict(spec.engine_args)
        self.spec = spec
        self.batch_size = _positive(args.pop("batch_size", 16), "batch_size")
        self.wait = _positive(args.pop("wait_ms", 5), "wait_ms") / 1000
        threads = args.pop("threads", None)
        self.threads = None if threads is None else _positive(threads, "threads")
        self.device: str | None = args.pop("device", None)
        self.load_args = args
        self.capacity = 2 * self.batch_size
        self._decoder = Decoder(spec.limits, spec.max_pixels, keep=self.capacity)
        self.accepts: frozenset[Modality] = frozenset({"image", "text"})
        self._model: Any = None
        self._processor: Any = None  # of a text-only model its tokenizer
        self._tokenizer: Any = None
        self._spellings: dict[tuple[str, ...], tuple[tuple[int, ...], ...]] = {}  # only the worker uses it
        self._in_flight = InFlight()
        self._waiting: list[_Job] = []
        self._running: list[_Job] = []
        self._least_waiting = self._finished = self._prompt_tokens = 0
        self._tokens: tuple[int, Sequence[Row]] = 0, ()  # of finished batches, and the rows of the running batch
        self._more = asyncio.Event()
        self._halt = threading.Event()
        self._worker: ThreadPoolExecutor | None = None
        self._collector: asyncio.Task[None] | None = None

    def renderer(self) -> RendererSpec | None:
        return None

    async def start(self) -> None:
        """Load the model. Raises ConfigError for an unusable model, MissingExtra, EngineDead when out of memory."""
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="transformers-engine")
        await asyncio.get_running_loop().run_in_executor(self._worker, self._load)
        self._collector = asyncio.create_task(self._collect())
        self._in_flight.open()

    async def generate(self, work: Request | Rendered) -> Completion:
        if isinstance(work, Rendered):
            raise RequestError("the transformers engine takes requests, not rendered ones")
        return await self._in_flight.run(self._generate, work)

    async def stop(self) -> None:
        self._in_flight.stop()
        self._halt.set()
        await self._in_flight.ended()
        if self._collector is not None:
            self._collector.cancel()
            await asyncio.gather(self._collector, return_exceptions=True)
            self._collector = None
        if self._worker is not None:
            await asyncio.to_thread(self._worker.shutdown, cancel_futures=True)
            self._worker = None
        self._model = self._processor = self._tokenizer = None

    def gauge(self) -> Gauge | None:
        waiting = len(self._waiting)
        least, self._least_waiting = min(self._least_waiting, waiting), waiting
        over, rows = self._tokens
        return Gauge(
            running=len(self._running),
            waiting=waiting,
            least_waiting=least,
            requests=self._finished,
            prompt_tokens=self._prompt_tokens,
            output_tokens=over + sum(len(row.tokens) for row in rows),
        )

    def provenance(self) -> dict[str, str]:
        import torch
        import transformers

        device = self.device or "cpu"
        return {
            "engine": "transformers",
            "engine_version": transformers.__version__,
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
            "dtype": str(getattr(self._model, "dtype", self.spec.dtype)).removeprefix("torch."),
        }

    async def _generate(self, request: Request) -> Completion:
        check_prompt(request.prompt, self._tokenizer.all_special_tokens)
        if request.output.scores:
            raise RequestError("the transformers engine returns texts, not scores: use engine dual_encoder")
        if request.image is None:
            image = None
        elif "image" in self.accepts:
            # In a thread, so that the model does not wait for it.
            image = await asyncio.to_thread(
                self._decoder.decode,
                request.image,
                request.sha256,
                request.pixel_share,
                request.orientation,
                request.crop,
            )
        else:
            raise RequestError(f"model {self.spec.model!r} takes no images")
        job = _Job(request=request, image=image, answer=asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._more.set()
        return await job.answer  # cancelled with this task: the collector then leaves the job out

    async def _collect(self) -> None:
        """Send batches to the worker, one at a time. The next batch gathers while one runs."""
        loop = asyncio.get_running_loop()
        while True:
            await self._more.wait()
            if len(self._waiting) < self.batch_size:
                await asyncio.sleep(self.wait)
            wanted = [job for job in self._waiting if not job.answer.done()]
            # Not all processors take requests with and without an image together.
            kind = [job for job in wanted if (job.image is None) == (wanted[0].image is None)]
            batch = kind[: self.batch_size]
            self._waiting = [job for job in wanted if job not in batch] if len(wanted) > len(batch) else []
            self._least_waiting = min(self._least_waiting, len(self._waiting))
            if not self._waiting:
                self._more.clear()
            if not batch:
                continue
            self._running = batch
            try:
                results = await loop.run_in_executor(self._worker, self._answer, batch)
            except EngineDead as error:
                self._in_flight.stop(error)
                return
            except Exception as error:  # a fault of this module: no request may wait forever
                self._in_flight.stop(EngineDead(f"{type(error).__name__}: {error}"))
                raise
            finally:
                self._running = []
            for job, result in zip(batch, results, strict=True):
                if isinstance(result, Completion):
                    self._finished += 1
                    self._prompt_tokens += result.prompt_tokens
                if job.answer.done():
                    continue
                if isinstance(result, RecaptionError):
                    job.answer.set_exception(result)
                else:
                    job.answer.set_result(result)

    def _load(self) -> None:
        try:
            import torch
            from transformers import (
                AutoModelForCausalLM,
                AutoModelForImageTextToText,
                AutoProcessor,
                AutoTokenizer,
                GenerationConfig,
            )
        except ImportError as error:
            raise MissingExtra("transformers", "transformers") from error

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        self.device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        name = self.spec.model
        origin: dict[str, Any] = {"revision": self.spec.revision}
        if Path(name).is_dir():
            origin = {"local_files_only": True}
        self.accepts = check_accepts(self.spec)
        takes_images = "image" in self.accepts
        try:
            processor = (AutoProcessor if takes_images else AutoTokenizer).from_pretrained(name, **origin)
            kind = AutoModelForImageTextToText if takes_images else AutoModelForCausalLM
            model = kind.from_pretrained(name, dtype=self.spec.dtype, **origin, **self.load_args).to(self.device)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise EngineDead(f"out of memory while loading {name}: {error}") from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"transformers cannot load model {name!r}: {error}") from error
        if not getattr(processor, "chat_template", None):
            raise ConfigError(f"model {name!r} has no chat template: use an instruction-tuned one")
        tokenizer = processor.tokenizer if takes_images else processor
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        ends = model.generation_config.eos_token_id
        self._end = frozenset(
            token
            for token in (*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id)
            if token is not None
        )
        # Without an end token: rows.Follow ends each row.
        model.generation_config = GenerationConfig(pad_token_id=tokenizer.pad_token_id)
        length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._length: int = self.spec.max_model_len or length or 1 << 30
        self._budget = budget.settings_of(name, self.spec.revision, self.spec.max_pixels)
        self._processor, self._tokenizer, self._model = processor, tokenizer, model.eval()
        for choices in {output.choices for output in self.spec.outputs if output.choices and output.logprobs}:
            try:
                self._spell(choices)
            except RequestError as error:
                raise ConfigError(f"model {name!r}: {error}") from error

    def _answer(self, jobs: Sequence[_Job]) -> list[Completion | RecaptionError]:
        """Answer a batch. If it fails, answer each request alone. Runs in the worker thread."""
        import torch

        try:
            return list(self._batch(jobs))
        except RequestError as error:
            if len(jobs) == 1:
                return [error]
        except (MemoryError, torch.OutOfMemoryError) as error:
            if len(jobs) == 1:
                raise EngineDead(f"out of memory with a single request: {error}") from error
            if str(self.device).startswith("cuda"):
                torch.cuda.empty_cache()
        except Exception as error:  # any error of a model; the requests are then tried one by one to find the cause
            if isinstance(error, getattr(torch, "AcceleratorError", ())) or "CUDA error" in str(error):
                raise EngineDead(f"the device failed: {error}") from error
            if len(jobs) == 1:
                return [RequestError(f"{type(error).__name__}: {str(error)[:500]}")]
        return [self._answer([job])[0] for job in jobs]

    def _batch(self, jobs: Sequence[_Job]) -> list[Completion]:
        import torch

        from recaption.engine.rows import Choose, Follow

        tokenizer = self._tokenizer
        chats = [[{"role": "user", "content": self._content(job)}] for job in jobs]
        if "image" in self.accepts:
            more = self._budget if jobs[0].image is not None else {}
            settings: dict[str, Any] = {"processor_kwargs": {"padding": True, "return_tensors": "pt", **more}}
            cast = {"dtype": self._model.dtype}
        else:  # token ids alone
            settings, cast = {"padding": True, "return_tensors": "pt"}, {}
        inputs = self._processor.apply_chat_template(
            chats, add_generation_prompt=True, tokenize=True, return_dict=True, **settings
        ).to(self.device, **cast)
        lengths = inputs["attention_mask"].sum(-1).tolist()
        if max(lengths) >= self._length:
            raise RequestError(
                f"the prompt has {max(lengths)} tokens with its image; at most {self._length - 1} are allowed"
            )
        rows = [self._row(job.request, self._length - length) for job, length in zip(jobs, lengths, strict=True)]

        def text(tokens: list[int]) -> str:
            return str(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

        over = self._tokens[0]
        self._tokens = over, rows
        try:
            with torch.inference_mode():
                self._model.generate(
                    **inputs,
                    do_sample=False,
                    max_new_tokens=max(row.max_tokens for row in rows),
                    logits_processor=[Choose(rows, self._end)],
                    stopping_criteria=[Follow(rows, self._end, text, self._halt)],
                )
        finally:
            self._tokens = over + sum(len(row.tokens) for row in rows), ()
        return [
            self._completion(job.request.output, row, length, text(row.tokens))
            for job, row, length in zip(jobs, rows, lengths, strict=True)
        ]

    def _content(self, job: _Job) -> str | list[dict[str, Any]]:
        """The image comes first, so that requests about one image share the longest prefix."""
        if "image" not in self.accepts:
            return job.request.prompt
        text = {"type": "text", "text": job.request.prompt}
        return [text] if job.image is None else [{"type": "image", "image": job.image}, text]

    def _row(self, request: Request, room: int) -> Row:
        """`room`: tokens that are left of the context. Raises RequestError for choices that cannot be told apart."""
        from recaption.engine.rows import Row

        output, sampling = request.output, request.sampling
        row = Row(sampling=sampling, max_tokens=min(sampling.max_tokens, room), keep_logprobs=output.logprobs)
        if not output.choices:
            return row
        row.sampling = replace(sampling, stop=(), ignore_eos=False)
        if output.logprobs:
            row.max_tokens, row.spellings = 1, self._spell(output.choices)
        else:
            row.paths = tuple(
                tuple(self._tokenizer(choice, add_special_tokens=False)["input_ids"]) for choice in output.choices
            )
        return row

    def _spell(self, choices: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        if choices not in self._spellings:
            self._spellings[choices] = spellings(self._tokenizer, choices)
        return self._spellings[choices]

    def _completion(self, output: Output, row: Row, prompt_tokens: int, text: str) -> Completion:
        """`text` is that of all tokens of the row."""
        completion = Completion(
            # As in vLLM: without the bytes of an incomplete character.
            text=text.rstrip("\ufffd") if row.text is None else row.text,
            finish_reason=row.finish_reason or "length",
            prompt_tokens=prompt_tokens,
            output_tokens=len(row.tokens),
        )
        if row.spellings:
            return likeliest_choice(completion, output.choices, row.choice_logprobs)
        if not output.logprobs:
            return completion
        nbytes = token_bytes(self._tokenizer, row.tokens, completion.text)
        found = Logprobs(tokens=tuple(row.logprobs), nbytes=nbytes) if nbytes else None
        return replace(completion, logprobs=found)


def _positive(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"engine_args.{name}: {value!r} is not a whole number of at least 1")
    return value
