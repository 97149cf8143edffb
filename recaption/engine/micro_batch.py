"""Engines on transformers: requests are gathered into batches, and one thread runs the model.

engine_args: `batch_size` (16), `wait_ms` (5: how long an incomplete batch waits for more requests), `threads` (torch's
CPU threads; default: torch's own, or OMP_NUM_THREADS), `device` (default: cuda if there is one, else cpu). Other
arguments go to `from_pretrained`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from recaption.decode import Decoder
from recaption.engine.base import Completion, EngineSpec, Gauge, Rendered, RendererSpec, Request, check_prompt
from recaption.engine.in_flight import InFlight
from recaption.errors import ConfigError, EngineDead, MissingExtra, RecaptionError, RequestError
from recaption.types import Modality


@dataclass(kw_only=True, slots=True, eq=False)
class Job:
    request: Request
    image: Any  # PIL.Image.Image, RGB; None: a text-only request
    answer: asyncio.Future[Completion]


class MicroBatchEngine:
    """See `engine.base.Engine`. The model runs in a thread, so that it never blocks the event loop.

    A subclass has a `name` and implements `_load`, `_batch` and `_check`.
    """

    name: ClassVar[str]

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
        self._processor: Any = None
        self._tokenizer: Any = None
        self._in_flight = InFlight()
        self._waiting: list[Job] = []
        self._running: list[Job] = []
        self._least_waiting = self._finished = self._prompt_tokens = 0
        self._more = asyncio.Event()
        self._halt = threading.Event()
        self._worker: ThreadPoolExecutor | None = None
        self._collector: asyncio.Task[None] | None = None

    def _load(self) -> None:
        """Set `_model`, `_processor`, `_tokenizer` and `accepts`. Runs in the worker thread. Raises as `start`."""
        raise NotImplementedError

    def _check(self, request: Request) -> None:
        """Raises RequestError for a request that the engine cannot answer."""
        raise NotImplementedError

    def _batch(self, jobs: Sequence[Job]) -> list[Completion]:
        """Answer requests of one `_kind`. Runs in the worker thread."""
        raise NotImplementedError

    def _kind(self, job: Job) -> Any:
        """Requests of different kinds are not in one batch."""
        return None

    def _output_tokens(self) -> int:
        """All generated tokens since the start, those of the running batch included."""
        return 0

    def renderer(self) -> RendererSpec | None:
        return None

    async def start(self) -> None:
        """Load the model. Raises ConfigError for an unusable model, MissingExtra, EngineDead when out of memory."""
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=f"{self.name}-engine")
        await asyncio.get_running_loop().run_in_executor(self._worker, self._load)
        self._collector = asyncio.create_task(self._collect())
        self._in_flight.open()

    async def generate(self, work: Request | Rendered) -> Completion:
        if isinstance(work, Rendered):
            raise RequestError(f"the {self.name} engine renders requests itself; send it a Request")
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
        return Gauge(
            running=len(self._running),
            waiting=waiting,
            least_waiting=least,
            requests=self._finished,
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens(),
        )

    def provenance(self) -> dict[str, str]:
        import torch
        import transformers

        device = self.device or "cpu"
        return {
            "engine": self.name,
            "engine_version": transformers.__version__,
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
            "dtype": str(getattr(self._model, "dtype", self.spec.dtype)).removeprefix("torch."),
        }

    async def _generate(self, request: Request) -> Completion:
        check_prompt(request.prompt, self._tokenizer.all_special_tokens)
        check_prompt(request.statement, self._tokenizer.all_special_tokens)
        self._check(request)
        if request.image is None:
            image = None
        elif "image" in self.accepts:
            # In a thread, so that the model does not wait for the decoder.
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
        job = Job(request=request, image=image, answer=asyncio.get_running_loop().create_future())
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
            batch = [job for job in wanted if self._kind(job) == self._kind(wanted[0])][: self.batch_size]
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

    def _answer(self, jobs: Sequence[Job]) -> list[Completion | RecaptionError]:
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
        except Exception as error:  # any error of a model; the requests are then repeated one by one to find the cause
            if isinstance(error, getattr(torch, "AcceleratorError", ())) or "CUDA error" in str(error):
                raise EngineDead(f"the device failed: {error}") from error
            if len(jobs) == 1:
                return [RequestError(f"{type(error).__name__}: {str(error)[:500]}")]
        return [self._answer([job])[0] for job in jobs]

    def _loaded(self, processor: str, model: str) -> tuple[Any, Any]:
        """A processor and a model of classes of transformers, the model on the device.

        Raises ConfigError, MissingExtra, EngineDead when out of memory.
        """
        try:
            import torch
            import transformers
        except ImportError as error:
            raise MissingExtra("transformers", "transformers") from error

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        self.device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        name = self.spec.model
        origin: dict[str, Any] = {"revision": self.spec.revision}
        if Path(name).is_dir():
            origin = {"local_files_only": True}
        try:
            loaded = getattr(transformers, processor).from_pretrained(name, **origin)
            weights = getattr(transformers, model).from_pretrained(
                name, dtype=self.spec.dtype, **origin, **self.load_args
            )
            return loaded, weights.to(self.device).eval()
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise EngineDead(f"out of memory while loading {name}: {error}") from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"transformers cannot load model {name!r}: {error}") from error


def _positive(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"engine_args.{name}: {value!r} is not a whole number of at least 1")
    return value
