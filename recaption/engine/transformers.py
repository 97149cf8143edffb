"""An engine for image-text-to-text models of transformers, for models that vLLM does not have and for small machines.

engine_args: those of `engine.micro_batch`. Of the model's generation settings (temperature, repetition penalty, ...)
only the end tokens are used, as in vLLM with `generation_config="vllm"`. The image processor gets the same pixel budget
(see `engine.budget`), so that both engines return the same answers.

Florence-2, Kosmos-2 and PaliGemma are published without a chat template: their processors put the image in front of the
prompt. An encoder-decoder model (Florence-2) is padded on the right, and its answer begins after the tokens that its
generation settings prescribe.

A text-only model (Qwen3, Llama) takes requests without images. For choices, only tokens that continue one of them are
drawn, each choice spelled as the tokenizer spells it. There is no grammar for JSON: an answer of another form is a
RequestError (`engine.completion`), and the retry ladder tries again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from recaption.engine import budget
from recaption.engine.base import LAST_TOKENS, Completion, EngineSpec, Logprobs, Request
from recaption.engine.capabilities import check_accepts
from recaption.engine.logprobs import likeliest_choice, spellings, token_bytes, with_likelihood, with_statement
from recaption.engine.micro_batch import Job, MicroBatchEngine
from recaption.errors import ConfigError, RequestError
from recaption.tasks.cleaning import opens_thought
from recaption.tasks.output import Output

if TYPE_CHECKING:
    from recaption.engine.rows import Row

_ADD_THE_IMAGE: Final = frozenset({"florence2", "kosmos-2", "paligemma"})
"""Types of models whose processors add the image to a plain prompt."""
_UNPADDED: Final = frozenset({"kosmos-2"})
"""Types of models that count padding as positions (`create_position_ids_from_input_ids`), so no request is padded."""
_PLAIN_PROMPT: Final = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'text' %}"
    "{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


class TransformersEngine(MicroBatchEngine):
    """See `engine.base.Engine`. `_processor` of a text-only model is its tokenizer."""

    name: ClassVar[str] = "transformers"

    def __init__(self, spec: EngineSpec) -> None:
        super().__init__(spec)
        self._spellings: dict[tuple[str, ...], tuple[tuple[int, ...], ...]] = {}  # only the worker uses it
        self._starts: list[int] = []  # of an encoder-decoder model; empty: a decoder
        self._tokens: tuple[int, Sequence[Row]] = 0, ()  # of finished batches, and the rows of the running batch

    def _check(self, request: Request) -> None:
        if not request.output.is_text:
            raise RequestError(
                f"the transformers engine returns texts, not {request.output.form}: use engine dual_encoder or detector"
            )

    def _kind(self, job: Job) -> tuple[bool, bool, bool]:
        """Not all processors take requests with and without an image together."""
        output = job.request.output
        return job.image is None, output.likelihood, output.special_tokens

    def _output_tokens(self) -> int:
        over, rows = self._tokens
        return over + sum(len(row.tokens) for row in rows)

    def _load(self) -> None:
        name = self.spec.model
        self.accepts = check_accepts(self.spec)
        takes_images = "image" in self.accepts
        processor, model = (
            self._loaded("AutoProcessor", "AutoModelForImageTextToText")
            if takes_images
            else self._loaded("AutoTokenizer", "AutoModelForCausalLM")
        )
        from transformers import GenerationConfig, GenerationMixin

        tokenizer = processor.tokenizer if takes_images else processor
        if model.config.model_type in _ADD_THE_IMAGE and not processor.chat_template:
            processor.chat_template = tokenizer.chat_template or _PLAIN_PROMPT  # two of the processors drop theirs
        if not getattr(processor, "chat_template", None):
            raise ConfigError(f"model {name!r} has no chat template: use an instruction-tuned one")
        self._starts = _starts(model) if model.config.is_encoder_decoder else []
        if self._starts and any(output.likelihood for output in self.spec.outputs):
            raise ConfigError(
                f"model {name!r} is an encoder-decoder, which cannot score given texts: use another model"
            )
        tokenizer.padding_side = "right" if self._starts else "left"
        if model.config.model_type in _UNPADDED:
            self.batch_size = 1
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        ends = model.generation_config.eos_token_id
        self._end = frozenset(
            token
            for token in (*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id)
            if token is not None
        )
        # Without an end token: rows.Follow ends each row.
        for part in model.modules():  # Kosmos-2 generates with a part of the model
            if isinstance(part, GenerationMixin):
                part.generation_config = GenerationConfig(
                    pad_token_id=tokenizer.pad_token_id, decoder_start_token_id=next(iter(self._starts), None)
                )
        length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._length: int = self.spec.max_model_len or length or 1 << 30
        self._budget = budget.settings_of(name, self.spec.revision, self.spec.max_pixels)
        self._patch = getattr(getattr(processor, "image_processor", None), "patch_size", None)  # px
        self._processor, self._tokenizer, self._model = processor, tokenizer, model
        for choices in {output.choices for output in self.spec.outputs if output.choices and output.logprobs}:
            try:
                self._spell(choices)
            except RequestError as error:
                raise ConfigError(f"model {name!r}: {error}") from error

    def _batch(self, jobs: Sequence[Job]) -> list[Completion]:
        import torch

        from recaption.engine.rows import Choose, Follow

        if jobs[0].request.output.likelihood:
            return [self._likelihood(job) for job in jobs]
        tokenizer = self._tokenizer
        inputs = self._inputs(jobs)
        lengths = inputs["attention_mask"].sum(-1).tolist()
        self._check_length(max(lengths))
        rooms = [self._length - (len(self._starts) or length) for length in lengths]
        rows = [self._row(job.request, room) for job, room in zip(jobs, rooms, strict=True)]
        starts = {"decoder_input_ids": torch.tensor([self._starts] * len(jobs), device=self.device)}

        special = jobs[0].request.output.special_tokens

        def text(tokens: list[int]) -> str:
            kept = [token for token in tokens if token not in self._end] if special else tokens
            return str(tokenizer.decode(kept, skip_special_tokens=not special, clean_up_tokenization_spaces=False))

        over = self._tokens[0]
        self._tokens = over, rows
        try:
            with torch.inference_mode():
                self._model.generate(
                    **inputs,
                    **(starts if self._starts else {}),
                    do_sample=False,
                    max_new_tokens=max(row.max_tokens for row in rows),
                    logits_processor=[Choose(rows, self._end)],
                    stopping_criteria=[Follow(rows, self._end, text, self._halt)],
                )
        finally:
            self._tokens = over + sum(len(row.tokens) for row in rows), ()
        grids = inputs.get("image_grid_thw")
        shown = [budget.shown_size(grid, self._patch) for grid in ([None] * len(jobs) if grids is None else grids)]
        return [
            self._completion(job.request.output, row, length, text(row.tokens), size, within)
            for job, row, length, size, within in zip(
                jobs, rows, lengths, shown, self._in_thought(inputs["input_ids"]), strict=True
            )
        ]

    def _in_thought(self, prompts: Any) -> list[bool]:
        """Whether each of these prompts, which end in the last column, ends within a thought."""
        if self._starts:
            return [False] * len(prompts)
        return [opens_thought(self._tokenizer.decode(ids)) for ids in prompts[:, -LAST_TOKENS:].tolist()]

    def _inputs(self, jobs: Sequence[Job]) -> Any:
        """The model's inputs for requests of one `_kind`, padded, on the device."""
        chats = [[{"role": "user", "content": self._content(job)}] for job in jobs]
        if "image" in self.accepts:
            more = self._budget if jobs[0].image is not None else {}
            settings: dict[str, Any] = {"processor_kwargs": {"padding": True, "return_tensors": "pt", **more}}
            cast = {"dtype": self._model.dtype}
        else:  # token ids alone
            settings, cast = {"padding": True, "return_tensors": "pt"}, {}
        return self._processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            **settings,
            **dict(self.spec.chat_template_kwargs),
        ).to(self.device, **cast)

    def _check_length(self, length: int) -> None:
        if length >= self._length:
            raise RequestError(f"the prompt has {length} tokens with its image; at most {self._length - 1} are allowed")

    def _likelihood(self, job: Job) -> Completion:
        """One forward pass, of one request: padding would move the positions of some models."""
        import torch

        output = job.request.output
        inputs = self._inputs([job])
        prompt = inputs["input_ids"][0].tolist()
        tokens, scored = with_statement(self._tokenizer, prompt, job.request)
        self._check_length(len(tokens))
        added = len(tokens) - len(prompt)
        for name, values in {"input_ids": tokens[len(prompt) :], "attention_mask": [1] * added}.items():
            more = torch.tensor([values], dtype=inputs[name].dtype, device=self.device)
            inputs[name] = torch.cat([inputs[name], more], -1)
        for name, value in inputs.items():
            if added and tuple(value.shape) == (1, len(prompt)):  # kinds of tokens: 0 is text
                inputs[name] = torch.cat([value, value.new_zeros(1, added)], -1)
        # Only the logits that are used: those that predict the first token of the statement and all after it.
        kept = len(tokens) - scored.first + 1
        with torch.inference_mode():
            logits = self._model(**inputs, use_cache=False, logits_to_keep=kept).logits[0, -kept:]
        logprobs = logits.float().log_softmax(-1)
        said = tokens[scored.first : scored.first + len(scored.nbytes)]
        completion = Completion(text="", finish_reason="stop", prompt_tokens=len(tokens), output_tokens=0)
        if output.choices:
            sums = [float(logprobs[-1, list(ids)].logsumexp(-1)) for ids in self._spell(output.choices)]
            completion = likeliest_choice(replace(completion, output_tokens=1), output.choices, sums)
        return with_likelihood(completion, scored, [float(logprobs[at, token]) for at, token in enumerate(said)])

    def _content(self, job: Job) -> str | list[dict[str, Any]]:
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

    def _completion(
        self,
        output: Output,
        row: Row,
        prompt_tokens: int,
        text: str,
        shown: tuple[int, int] | None,
        in_thought: bool,
    ) -> Completion:
        """`text` is that of all tokens of the row."""
        completion = Completion(
            # As in vLLM: without the bytes of an incomplete character.
            text=text.rstrip("\ufffd") if row.text is None else row.text,
            finish_reason=row.finish_reason or "length",
            prompt_tokens=prompt_tokens,
            output_tokens=len(row.tokens),
            shown=shown,
            in_thought=in_thought,
        )
        if row.spellings:
            return likeliest_choice(completion, output.choices, row.choice_logprobs)
        if not output.logprobs:
            return completion
        nbytes = token_bytes(self._tokenizer, row.tokens, completion.text)
        if nbytes is None:
            return completion
        return replace(completion, logprobs=Logprobs(tokens=tuple(row.logprobs), nbytes=nbytes))


def _starts(model: Any) -> list[int]:
    """The tokens in front of each answer of an encoder-decoder model. Raises ConfigError if it has none."""
    settings = model.generation_config
    starts = [settings.decoder_start_token_id, settings.forced_bos_token_id]
    if starts == [None, None]:
        starts = [settings.bos_token_id]
    if starts == [None]:
        raise ConfigError("generation_config.json of the model has no decoder_start_token_id, with which answers begin")
    return [token for token in starts if token is not None]
