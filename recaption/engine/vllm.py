"""The engine on vLLM's AsyncLLM: continuous batching, with separate renderers. The only module that imports vllm.

Written against vLLM 0.32. tests/engine/test_vllm.py and test_qwen.py, which also start engines, were run with the CPU
builds of 0.32.0 (transformers 5.19) and 0.31.0 (transformers 5.17). vLLM declares neither its renderers nor its stat
loggers stable: run both files with another version before pyproject.toml allows it. engine_args are the fields of
`AsyncEngineArgs` (max_num_seqs, gpu_memory_utilization, quantization, ...). The defaults are:

- max_num_seqs and max_num_batched_tokens: `AsyncLLM` alone falls back to 128 and 2048 even on an H200, because its
  usage context is in none of the tables of arg_utils.py. The second is also the image encoder's budget.
- mm_processor_cache_gb 0: every image is processed once; with it off and enable_prefix_caching off, nothing is hashed.
  Set enable_prefix_caching where an image has several prompts: their common prefix is the image. Renderers then
  keep the last processed images (RENDER_CACHE_GIB); the engine always receives complete images.
- mm_processor_kwargs: `max_pixels` as settings of the model's processor (`engine.budget`). vLLM sizes its encoder's
  memory and cache by the largest image that these allow. limit_mm_per_prompt therefore gives no width and height: they
  could only make that size too small, and vLLM refuses an image that needs more than its encoder's cache holds.
- mm_encoder_tp_mode "data" with tensor parallelism: each GPU has a whole image encoder (they are small), and
  the GPUs share the images.
- generation_config "vllm": the sampling is that of the pipeline, not that of the model's authors.
- structured_outputs_config: xgrammar, without white space between JSON tokens. "auto" would use guidance for some
  schemas, but an engine has one backend, that of its first structured request; and a model that may put white space
  between tokens may never end.
- on a CPU: eager, without a worker process (see `engine.environment`), and a key-value cache of 1 GiB.

A renderer (`VllmRendererSpec`, built in any process) resizes, patches and tokenises an image. The engine's own renderer
uses one thread for all requests (vllm/renderers/base.py), which starves the GPU.

Log-probabilities always come through `logprob_token_ids`, never through `logprobs`: vLLM's older model runner (the one
of a CPU) returns wrong values where both are in one batch (vllm/v1/sample/sampler.py, `forward`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recaption.decode import Decoder
from recaption.engine import budget
from recaption.engine.base import (
    LAST_TOKENS,
    Completion,
    EngineSpec,
    Gauge,
    Logprobs,
    Rendered,
    RendererSpec,
    Request,
    Scored,
    check_prompt,
)
from recaption.engine.environment import prepare, prepare_cpu
from recaption.engine.in_flight import InFlight
from recaption.engine.logprobs import (
    likeliest_choice,
    spellings,
    sum_logprobs,
    token_bytes,
    with_likelihood,
    with_statement,
)
from recaption.engine.packing import Packed, pack, unpack
from recaption.engine.repetition import MAX_PATTERN, MIN_COUNT
from recaption.errors import ConfigError, EngineDead, MissingExtra, RequestError
from recaption.tasks.cleaning import opens_thought
from recaption.tasks.output import TEXT, Output
from recaption.types import ImageLimits, Modality, Sampling

_GIB = 2**30
RENDER_CACHE_GIB = 0.125
"""Cache of processed images in a renderer, for several prompts per image: ten images of one megapixel in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VllmRendererSpec:
    """See `engine.base.RendererSpec`. `config` is the engine's pickled VllmConfig, so that renderers start fast."""

    config: bytes
    model: str
    limits: ImageLimits
    max_pixels: int | None
    cache_gib: float = 0.0
    template: tuple[tuple[str, Any], ...] = ()  # variables of the chat template

    def build(self) -> VllmRenderer:
        return VllmRenderer(self)


class VllmRenderer:
    """Turns requests into vLLM's engine inputs. Not thread-safe."""

    def __init__(self, spec: VllmRendererSpec) -> None:
        prepare(spec.model)
        import cloudpickle
        from vllm.renderers import ChatParams, renderer_from_config

        config = cloudpickle.loads(spec.config)
        # Not the cache that vLLM splits between a front end and its engine: with skip_mm_cache below, whole items come
        # from a cache in the renderer alone (vllm/multimodal/cache, MultiModalProcessorOnlyCache).
        if config.model_config.multimodal_config is not None:
            config.model_config.multimodal_config.mm_processor_cache_gb = spec.cache_gib
        self._renderer = renderer_from_config(config)
        self._params = ChatParams(chat_template_kwargs={"add_generation_prompt": True, **dict(spec.template)})
        self._pixels = spec.max_pixels
        self._decoder = Decoder(spec.limits, spec.max_pixels)
        self._tokenizer = tokenizer = self._renderer.get_tokenizer()
        self._bos = getattr(tokenizer, "bos_token", None)
        self._special = tuple(getattr(tokenizer, "all_special_tokens", ()))
        vision = getattr(config.model_config.hf_config, "vision_config", None)
        self._patch: int | None = getattr(vision, "patch_size", None)  # px

    def render(self, request: Request) -> Rendered:
        """Raises ImageError, and RequestError for a prompt that is too long or that the model's template refuses.

        The times are those of this thread; torch also uses one thread, unless OMP_NUM_THREADS is set.
        """
        check_prompt(request.prompt, self._special)
        check_prompt(request.statement, self._special)
        started = time.thread_time()
        content = request.prompt if request.image is None else [self._image(request, request.image), _text(request)]
        decoded = time.thread_time()
        try:
            _, prompt = self._renderer.render_messages([{"role": "user", "content": content}], self._params)
            # As in transformers' processors: no second BOS token if the template already writes one.
            first = not (self._bos and str(prompt.get("prompt", "")).startswith(self._bos))
            tokens = dataclasses.replace(self._renderer.default_chat_tok_params, add_special_tokens=first)
            [engine_input] = self._renderer.render_cmpl([prompt], tokens, skip_mm_cache=True)
        except Exception as error:
            raise RequestError(f"{type(error).__name__}: {str(error)[:500]}") from error
        scored = None
        if request.output.likelihood:
            tokens, scored = with_statement(self._tokenizer, engine_input["prompt_token_ids"], request)
            engine_input["prompt_token_ids"] = tokens
        packed = pack(engine_input)
        return Rendered(
            engine_input=packed,
            sampling=request.sampling,
            nbytes=packed.nbytes,
            output=request.output,
            scored=scored,
            shown=budget.shown_size(_grid(engine_input), self._patch),
            in_thought=opens_thought(self._end_of(engine_input)),
            decode_seconds=decoded - started,
            render_seconds=time.thread_time() - decoded,
        )

    def _end_of(self, engine_input: Any) -> str:
        """The last tokens of a rendered prompt as a text."""
        return str(self._tokenizer.decode(list(engine_input["prompt_token_ids"])[-LAST_TOKENS:]))

    def _image(self, request: Request, data: bytes) -> dict[str, Any]:
        image = self._decoder.decode(data, request.sha256, request.pixel_share, request.orientation, request.crop)
        # The id of the pixels: requests with the same pixels share the work of the processor and the encoder.
        pixels = f"{request.sha256}-{self._pixels}-{request.pixel_share}"
        if request.crop is not None:
            pixels += f"-{request.crop}"
        return {"type": "image_pil", "image_pil": image, "uuid": pixels}


def _grid(engine_input: Any) -> Sequence[int] | None:
    """Frames, rows and columns of the patches of a rendered image; None if the processor does not report them."""
    [item] = (engine_input.get("mm_kwargs") or {}).get("image") or [None]
    grid = None if item is None else item.get("image_grid_thw")
    return None if grid is None else grid.data.tolist()


def _text(request: Request) -> dict[str, Any]:
    return {"type": "text", "text": request.prompt}


class VllmEngine:
    """See `engine.base.Engine`. Takes Rendered, and Requests, which it renders in a thread."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self.capacity = 0
        self.accepts: frozenset[Modality] = frozenset({"image", "text"})
        self._spellings: dict[tuple[str, ...], asyncio.Task[tuple[tuple[int, ...], ...]]] = {}
        self._engine: Any = None
        self._tally = Tally()
        self._numbers = itertools.count()
        self._in_flight = InFlight()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vllm-render")

    @cached_property
    def _config(self) -> Any:
        return _config(self.spec)

    def renderer(self) -> RendererSpec:
        import cloudpickle
        from vllm.transformers_utils.config import maybe_register_config_serialize_by_value

        config = self._config
        maybe_register_config_serialize_by_value()
        return VllmRendererSpec(
            config=cloudpickle.dumps(config),
            model=self.spec.model,
            limits=self.spec.limits,
            max_pixels=self.spec.max_pixels,
            cache_gib=RENDER_CACHE_GIB if config.cache_config.enable_prefix_caching else 0.0,
            template=self.spec.chat_template_kwargs,
        )

    @cached_property
    def _local(self) -> VllmRenderer:
        return VllmRenderer(self.renderer())  # type: ignore[arg-type]

    def _render(self, request: Request) -> Rendered:
        return self._local.render(request)

    async def start(self) -> None:
        """Start the engine's process and load the model. Raises ConfigError, MissingExtra, EngineDead."""
        config = await asyncio.to_thread(lambda: self._config)
        from vllm.v1.engine.async_llm import AsyncLLM

        loggers = [_stat_logger(self._tally)]
        try:
            # disable_log_stats only disables vLLM's loggers; the statistics are still made for a given logger.
            self._engine = await asyncio.to_thread(
                AsyncLLM.from_vllm_config, config, disable_log_stats=True, stat_loggers=loggers
            )
        except Exception as error:
            raise EngineDead(f"vLLM could not start {self.spec.model}: {type(error).__name__}: {error}") from error
        seqs = config.scheduler_config.max_num_seqs
        # A full batch, and many requests to follow it: answers of equal length end in the same step.
        self.capacity = seqs + max(min(seqs, 64), seqs // 4)
        if config.model_config.multimodal_config is None:
            self.accepts = frozenset({"text"})
        self._in_flight.open()
        for output in self.spec.outputs:
            await self._try(output)

    async def _try(self, output: Output) -> None:
        """Raises ConfigError for an output that this engine cannot return, such as a schema that xgrammar refuses.

        What vLLM compiles for the first request with this output is compiled now.
        """
        tokens = self._engine.get_tokenizer().encode("Hello, hello")
        sampling = Sampling(max_tokens=1)
        scored = Scored(text="o", first=len(tokens) - 1, nbytes=(1,)) if output.likelihood else None
        work = Rendered(engine_input=token_input(tokens), sampling=sampling, nbytes=0, output=output, scored=scored)
        try:
            await self.generate(work)
        except RequestError as error:
            await self.stop()
            raise ConfigError(f"vLLM with model {self.spec.model!r} cannot return {output.form}: {error}") from error

    async def generate(self, work: Request | Rendered) -> Completion:
        return await self._in_flight.run(self._generate, work)

    async def stop(self) -> None:
        self._in_flight.stop()
        await self._in_flight.ended()
        engine, self._engine = self._engine, None
        if engine is not None:
            if engine.output_handler is not None:
                engine.output_handler.cancel()  # it would report the end of the engine's process as a failure
            await asyncio.to_thread(engine.shutdown)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def gauge(self) -> Gauge | None:
        return None if self._engine is None else self._tally.read(len(self._in_flight))

    def provenance(self) -> dict[str, str]:
        import torch
        import vllm
        from vllm.platforms import current_platform

        config = self._config
        return {
            "engine": "vllm",
            "engine_version": vllm.__version__,
            "torch": torch.__version__,
            "device": current_platform.get_device_name(),
            "dtype": str(config.model_config.dtype).removeprefix("torch."),
            "max_num_seqs": str(config.scheduler_config.max_num_seqs),
            "max_num_batched_tokens": str(config.scheduler_config.max_num_batched_tokens),
            "enable_prefix_caching": str(config.cache_config.enable_prefix_caching),
        }

    async def _generate(self, work: Request | Rendered) -> Completion:
        from vllm.v1.engine.exceptions import EngineDeadError

        if isinstance(work, Request):
            work = await asyncio.get_running_loop().run_in_executor(self._thread, self._render, work)
        engine_input = work.engine_input
        if isinstance(engine_input, Packed):
            engine_input = unpack(engine_input)
        output = work.output
        if not output.is_text:
            raise RequestError(f"the vllm engine returns texts, not {output.form}: use engine dual_encoder or detector")
        ids = await self._spell(output.choices) if output.choices and output.logprobs else ()
        try:
            sampling = sampling_params(work.sampling, output, ids)
            last = await self._final(engine_input, sampling)
            if work.scored is not None and (last.num_cached_tokens or 0) >= work.scored.first:
                # The prefix cache skipped the step that predicts the statement's first token.
                sampling.skip_reading_prefix_cache = True
                last = await self._final(engine_input, sampling)
        except EngineDeadError as error:
            raise EngineDead(f"vLLM's engine died: {error}") from error
        except Exception as error:
            if self._engine is None or self._engine.errored:
                raise EngineDead(f"vLLM's engine died: {type(error).__name__}: {error}") from error
            cause = error.__cause__ or error  # vLLM wraps unexpected errors
            raise RequestError(f"{type(cause).__name__}: {str(cause)[:500]}") from error
        answer = last.outputs[0]
        completion = Completion(
            text=answer.text,
            finish_reason=answer.finish_reason,
            prompt_tokens=len(last.prompt_token_ids or ()),
            output_tokens=len(answer.token_ids),
            cached_tokens=last.num_cached_tokens or 0,
            shown=work.shown,
            in_thought=work.in_thought,
        )
        if ids:
            first = _found(answer.logprobs)[0]
            sums = tuple(sum_logprobs(first[token].logprob for token in tokens if token in first) for tokens in ids)
            completion = likeliest_choice(completion, output.choices, sums)
        if work.scored is not None:
            tail = len(last.prompt_token_ids) - work.scored.first
            said = zip(last.prompt_token_ids[-tail:], _found(last.prompt_logprobs)[-tail:], strict=True)
            said_values = [found[token].logprob for token, found in said]
            return with_likelihood(completion, work.scored, said_values[: len(work.scored.nbytes)])
        if ids or not output.logprobs:
            return completion
        # If a stop string ended the text, vLLM may drop tokens after it: the lists may differ in length.
        listed = _found(answer.logprobs)
        values = tuple(found[token].logprob for token, found in zip(answer.token_ids, listed, strict=False))
        tokens = answer.token_ids[: len(values)]
        nbytes = token_bytes(self._engine.get_tokenizer(), tokens, answer.text, last.prompt_token_ids or ())
        return dataclasses.replace(
            completion, logprobs=None if nbytes is None else Logprobs(tokens=values, nbytes=nbytes)
        )

    async def _final(self, engine_input: Any, sampling: Any) -> Any:
        """The last RequestOutput of a request."""
        last: Any = None
        async for result in self._engine.generate(engine_input, sampling, str(next(self._numbers))):
            last = result
        if last is None or not last.outputs:
            raise RequestError("vLLM ended the request without an output")
        return last

    async def _spell(self, choices: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        """The `spellings` of choices, looked up once. Raises RequestError."""
        if choices not in self._spellings:
            looking = asyncio.to_thread(spellings, self._engine.get_tokenizer(), choices)
            self._spellings[choices] = asyncio.create_task(looking)
        return await asyncio.shield(self._spellings[choices])


class Tally:
    """Sums the statistics of vLLM's scheduler steps into a gauge. Not thread-safe: for one event loop."""

    def __init__(self) -> None:
        self._now: dict[int, tuple[int, int]] = {}  # scheduler -> running, waiting
        self._least_waiting = self._requests = self._prompt_tokens = self._output_tokens = 0

    def record(self, scheduler_stats: Any, iteration_stats: Any, scheduler: int) -> None:
        """`SchedulerStats` and `IterationStats` of vllm/v1/metrics/stats.py; either may be None."""
        if scheduler_stats is not None:
            # Without requests that wait for something other than capacity: they would wait in an idle engine too.
            self._now[scheduler] = scheduler_stats.num_running_reqs, scheduler_stats.num_waiting_reqs
            self._least_waiting = min(self._least_waiting, self._waiting())
        if iteration_stats is not None:
            self._requests += len(iteration_stats.finished_requests)
            self._prompt_tokens += iteration_stats.num_prompt_tokens
            self._output_tokens += iteration_stats.num_generation_tokens

    def read(self, in_flight: int) -> Gauge:
        """Return the gauge and start its next window. `in_flight`: requests that the engine has.

        A scheduler without work makes no steps, so its last statistics may include requests that were cancelled since.
        The counts are therefore limited to `in_flight`.
        """
        waiting = min(self._waiting(), in_flight)
        least, self._least_waiting = min(self._least_waiting, waiting), waiting
        return Gauge(
            running=min(sum(running for running, _ in self._now.values()), in_flight),
            waiting=waiting,
            least_waiting=least,
            requests=self._requests,
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
        )

    def _waiting(self) -> int:
        return sum(waiting for _, waiting in self._now.values())


def _stat_logger(tally: Tally) -> type:
    """The class from which vLLM makes its stat logger.

    It is a PrometheusStatLogger, because vLLM otherwise adds its own, which costs time in every step
    (vllm/v1/metrics/loggers.py, StatLoggerManager).
    """
    from vllm.v1.metrics.loggers import PrometheusStatLogger

    class TallyLogger(PrometheusStatLogger):
        def __init__(self, vllm_config: Any, engine_indexes: list[int] | None = None) -> None:
            pass

        def record(self, scheduler_stats: Any, iteration_stats: Any, engine_idx: int = 0, **more: Any) -> None:
            tally.record(scheduler_stats, iteration_stats, engine_idx)

        def log(self) -> None:
            pass

        def log_engine_initialized(self) -> None:
            pass

        def record_admission_rejection(self, reason: str) -> None:
            pass

        def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None:
            pass

    return TallyLogger


def _found(logprobs: Any) -> Any:
    """The log-probabilities of a RequestOutput. Raises RequestError if there are none."""
    if not logprobs:
        raise RequestError("vLLM returned no log-probabilities")
    return logprobs


def token_input(tokens: Sequence[int]) -> dict[str, Any]:
    """A text-only prompt as an engine input of vLLM."""
    return {"type": "token", "prompt_token_ids": list(tokens)}


def sampling_params(sampling: Sampling, output: Output = TEXT, ids: Sequence[Sequence[int]] = ()) -> Any:
    """vLLM's SamplingParams: it returns only finished answers and ends loops (`engine.repetition`).

    Log-probabilities of `choices` are those of one unconstrained token, for the `ids` of their spellings. In all other
    cases, `choices` and `json_schema` become a grammar; stop strings and `ignore_eos` would break it and are left out.
    For a likelihood, the tokens in the prefix cache are not computed again: vLLM leaves out their log-probabilities, or
    returns arbitrary values (vllm/v1/worker/gpu_model_runner.py, `_get_prompt_logprobs_dict`).
    """
    from vllm.sampling_params import (
        RepetitionDetectionParams,
        RequestOutputKind,
        SamplingParams,
        StructuredOutputsParams,
    )

    if ids or output.likelihood:
        return SamplingParams(
            max_tokens=1,
            temperature=0.0,
            output_kind=RequestOutputKind.FINAL_ONLY,
            detokenize=False,  # neither the text nor log-probabilities of cached tokens are used
            logprob_token_ids=[token for tokens in ids for token in tokens] or None,
            prompt_logprobs=0 if output.likelihood else None,
            skip_reading_prefix_cache=False,
        )
    grammar = None
    if output.choices:
        grammar = StructuredOutputsParams(choice=list(output.choices))
    elif output.json_schema is not None:
        grammar = StructuredOutputsParams(json=json.loads(output.json_schema))
    ignore_eos = sampling.ignore_eos and grammar is None
    loops = RepetitionDetectionParams(max_pattern_size=MAX_PATTERN, min_pattern_size=1, min_count=MIN_COUNT)
    return SamplingParams(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p if sampling.temperature > 0 else 1.0,
        top_k=sampling.top_k if sampling.temperature > 0 else 0,
        seed=sampling.seed if sampling.temperature > 0 else None,
        stop=(list(sampling.stop) or None) if grammar is None else None,
        ignore_eos=ignore_eos,
        output_kind=RequestOutputKind.FINAL_ONLY,
        repetition_detection=None if ignore_eos else loops,
        structured_outputs=grammar,
        skip_special_tokens=not output.special_tokens,
        logprob_token_ids=[0] if output.logprobs else None,  # the sampled token's comes with those of any ids
    )


def _config(spec: EngineSpec) -> Any:
    """The configuration of vLLM for `spec`. Raises ConfigError with vLLM's message, MissingExtra without vLLM."""
    prepare(spec.model)
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
    except ImportError as error:
        raise MissingExtra("vllm", "vllm") from error

    given = dict(spec.engine_args)
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    if unknown := sorted(set(given) - known):
        raise ConfigError(
            f"engine_args {', '.join(unknown)}: vLLM has no such setting. Allowed: the fields of AsyncEngineArgs, "
            "the names of `vllm serve --help` with _ in place of -"
        )
    args: dict[str, Any] = {
        "model": spec.model,
        "revision": None if Path(spec.model).is_dir() else spec.revision,
        "dtype": spec.dtype,
        "max_model_len": spec.max_model_len,
        "tensor_parallel_size": spec.tensor_parallel,
        "seed": 0,
        "limit_mm_per_prompt": {"image": 1, "video": 0, "audio": 0},
        "mm_processor_cache_gb": 0,
        "mm_processor_kwargs": budget.settings_of(spec.model, spec.revision, spec.max_pixels) or None,
        "enable_prefix_caching": False,
        "generation_config": "vllm",
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        "disable_log_stats": True,
        "enable_log_requests": False,
    }
    if spec.tensor_parallel > 1:
        args["mm_encoder_tp_mode"] = "data"
    if current_platform.is_cpu():
        args |= prepare_cpu(spec)
    else:
        large = current_platform.get_device_total_memory() >= 60 * _GIB
        args |= {"max_num_seqs": 512 if large else 256, "max_num_batched_tokens": 16384 if large else 8192}
    try:
        config = AsyncEngineArgs(**{**args, **given}).create_engine_config()
    except (ValueError, TypeError, OSError, NotImplementedError) as error:
        raise ConfigError(f"vLLM cannot run model {spec.model!r} with these settings: {error}") from error
    if config.model_config.multimodal_config is None and "image" in spec.needs:
        raise ConfigError(f"model {spec.model!r} takes no images: name a vision-language model")
    return config
