"""The values that flow through recaption, from a source to a dataset.

    SourceShard -> Image -> Answer -> Caption -> SubCaption -> Tag -> Record
                        `-> Reject

All are frozen, keyword-only and slotted; none imports anything of ours. Their form on disk is in `schemas/`
(`recaption.schema` keeps the two in agreement).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, get_args

SCHEMA_VERSION: Final = "1.3"
"""MAJOR.MINOR of everything on disk. Minor adds nullable columns or tables; readers refuse a newer major."""

FinishReason = Literal[
    "stop",
    "length",
    "repetition",
    "empty",
    "refusal",
    "error",
    "invalid",  # not of the form that the task asks for
    "unclear",  # of that form, but without a clear decision
]
Granularity = Literal["raw", "short", "long", "region", "aspect", "fused"]
WholeImage = Literal["short", "long"]  # granularities of a generated caption of a whole image
Status = Literal["ok", "partial", "reject", "excluded"]
Stage = Literal["source", "decode", "generate", "build"]
Modality = Literal["image", "text"]  # of a request: with an image, or text only
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 as shares of an upright image's width and height
TagKind = Literal[
    "object",
    "absent",  # an object that the sentence states is absent: "no people"
    "measure",  # of what follows: "a group of people"
    "meta",  # of the picture, a place in it, or lighting: "the left side", "the background", "soft light"
    "abstract",  # nothing that can be seen as a thing: "atmosphere", "a sense of calm"
    "name",  # of a person, a place, a day, a firm: no thing that the picture shows
]

Reason = Literal[
    # source: seen while a shard is listed or read
    "missing_image",  # a sample without an image member or with a null image
    "source_failed",  # the source itself marks the row as failed (img2dataset: status != success)
    "unreadable",  # the shard is broken from here on: truncated archive, corrupt row group
    "changed",  # the bytes are no longer those that the index saw (sha256 differs)
    # decode: the image itself
    "empty",  # no bytes
    "undecodable",  # not an image, or of a format that is not taken
    "truncated",  # starts as an image but ends too early
    "too_small",  # a side below the limit (the model's patches)
    "too_many_pixels",  # above the pixel limit, seen in the header before anything is decoded
    "extreme_aspect",  # longer side / shorter side above the limit
    # generate: what the model made of it
    "empty_answer",
    "repetition",
    "refusal",
    "truncated_answer",
    "invalid_answer",  # not of the form that the task asks for
    "unclear",  # neither of the choices is likely
    "not_in_table",  # no table of the folder names the image, so it lacks a column that the generation needs
    "request_error",  # the prompt cannot be filled in, or the engine refused the request or failed at it alone
    "poison",  # crashed two engines while it was alone in them
    "unstorable",  # the answer or reject cannot be written
    # build
    "decontaminated",  # listed in source.exclude
    "missing_required",  # no answer of a generation named in output.require
]
REASONS: Final[frozenset[str]] = frozenset(get_args(Reason))
DECODE_REASONS: Final[frozenset[str]] = frozenset(
    {"empty", "undecodable", "truncated", "too_small", "too_many_pixels", "extreme_aspect"}
)
"""The image itself cannot be used: seen in its header, at its end or in its pixels."""


def stage_of(reason: str | None) -> Stage:
    """The stage at which an image was found unusable, before any request."""
    return "decode" if reason in DECODE_REASONS else "source"


FlairList = Literal[
    "raw_caption",
    "shortIB_captions",
    "longIB_captions",
    "shortSV_captions",
    "longSV_captions",
    "shortLLA_captions",
    "longLLA_captions",
]
"""The seven sentence lists that FLAIR's trainer joins to one pool, in its order (ExplainableML/flair,
src/flair/data.py, sample_dict). IB, SV and LLA are the models of DreamLIP's captions; any captions of recaption may
take their place.
"""


DROPPED: Final = "_dropped"
"""Column of `Image.columns` that lists the names of columns whose values are too large or cannot be read."""
MAX_VALUE: Final = 64 * 1024
"""Bytes of one value of `Image.columns` as JSON: an index row is read several times for every image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceShard:
    """One file of the source, or a virtual cut of about 5,000 images of a folder or Parquet source.

    `id` is unique in the source and a pure function of the shard's place in it; dataset shards are named by it, unless
    they are cut at equal counts (`output.samples_per_shard`).
    `first` and `count` cut rows `[first, first + count)` out of `path` (None: the whole file). In a folder whose images
    have keys by path, `number` is that of the shard's part of the range of hashes, and `count` the number of images
    when the folder was listed.
    """

    id: str
    number: int  # position among the source's shards, 0-based
    path: str  # local path or fsspec URL; for a folder source the folder
    first: int = 0
    count: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Locator:
    """Where an image's bytes are: a byte range of a tar or file, or a row of a Parquet file.

    tar:     path, member, offset, size    (offset: of the member's data, in bytes)
    parquet: path, row, size               (row: within the file)
    folder:  path, size                    (offset 0)
    """

    path: str
    size: int
    member: str | None = None
    offset: int = 0
    row: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """A picture and what came with it, without its bytes.

    `row` is its position among the samples of its source shard. When `reason` is set the source itself already shows
    that it cannot be used; `sha256` is then "" if there are no bytes.
    """

    key: str  # [A-Za-z0-9_-]{1,128}, unique in the dataset
    source_key: str  # as the source has it
    shard: str  # SourceShard.id
    row: int
    sha256: str  # hex, of the bytes as they are in the source
    locator: Locator
    url: str | None = None
    raw_captions: tuple[str, ...] = ()  # as the source has them
    columns: Mapping[str, Any] = field(default_factory=dict)  # the other columns, JSON values; prompts may use them
    reason: Reason | None = None
    detail: str | None = None  # the reason in words; without a reason, why there are no columns
    format: str | None = None  # jpeg, png, …, from the header, as all below; None: not known
    width: int | None = None  # pixels as stored
    height: int | None = None
    orientation: int | None = None  # EXIF orientation to apply, 2 to 8; None: none

    @property
    def raw_caption(self) -> str | None:
        """The first of them."""
        return self.raw_captions[0] if self.raw_captions else None

    @property
    def not_in_table(self) -> bool:
        """Whether it has no columns because no table of its folder names it. `detail` says so."""
        return self.reason is None and self.detail is not None and not self.columns

    @property
    def upright_size(self) -> tuple[int | None, int | None]:
        """Width and height once the orientation is applied: 5 to 8 swap them."""
        turned = self.orientation is not None and self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageLimits:
    """What an image must be to reach a model. Checked on the header, before anything is decoded."""

    min_side: int = 1  # pixels, of the shorter side
    max_pixels: int = 178_956_970  # width x height as stored: twice Pillow's own warning level, its error level
    max_aspect: float = 200.0  # longer side / shorter side; Qwen2-VL's processor refuses above 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How an engine draws tokens. temperature 0 is greedy; top_k 0 and top_p 1 mean no cut."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False  # benchmarks only


@dataclass(frozen=True, kw_only=True, slots=True)
class Logprobs:
    """Log-probabilities (natural logarithm) of an answer, as the model gives them: before temperature, top-k and top-p.

    `tokens` has one value per generated token, the end token included. Under a grammar (`Output.json_schema` on vLLM)
    they are those among the tokens that the grammar allows. `nbytes` are the UTF-8 bytes of the text that each token
    adds: they sum to the length of the text, and the end token has 0. Where several tokens make one character, each has
    at least one byte of it if there are enough.

    With `Output.choices`, the answer counts as one token, and `choices` has a value for each choice, in their order:
    the log-probability that an unconstrained answer begins with the choice, over all spellings of its first token (see
    `engine.logprobs`). Their probabilities sum to at most 1; the rest is neither.

    With `Output.likelihood`, `tokens` and `nbytes` are those of the tokens that have a part of the statement, given all
    that comes before them; `nbytes` sum to the length of the statement as the tokenizer writes it.
    """

    tokens: tuple[float, ...]
    nbytes: tuple[int, ...]
    choices: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """A box that a detector found for a phrase, as shares of the picture that it was shown."""

    phrase: int  # position among the phrases of the request
    score: float  # in [0, 1]
    box: Box


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """The result of one request. The retry ladder decides whether the text is usable.

    An engine returns its own finish reason. `engine.completion.accept` maps it to one of `types.FinishReason` and keeps
    the engine's in `engine_finish`.
    """

    text: str
    finish_reason: str | None
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0  # prompt tokens that were in the engine's prefix cache
    engine_finish: str | None = None  # the finish reason of the engine, where `finish_reason` differs
    logprobs: Logprobs | None = None  # only with `Output.logprobs` and `Output.likelihood`
    scores: tuple[float, ...] | None = None  # only with `Output.scores`; the engine defines them
    boxes: tuple[Detection, ...] | None = None  # only with `Output.boxes`
    shown: tuple[int, int] | None = None
    """Width and height in pixels of the image that the model was given, after the engine and the processor resized it.

    None: not known. A task that needs it stores it in its value.
    """
    in_thought: bool = False  # the prompt ends with the opening tag of a thought, so the text begins within it


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """One question for every image: task x model x prompt x sampling. `fingerprint` is its identity (16 hex digits)."""

    id: str
    model: str  # the model's name in the pipeline
    granularity: Granularity | None  # None: its task makes no captions
    fingerprint: str
    prompt: str | None = None  # prompt id; None with engine `column`
    column: str | None = None  # engine `column`: the source column that holds the captions
    sampling: Sampling | None = None
    task: str = "caption"
    over: tuple[str, ...] = ()  # ids of the generations whose answers it reads


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One request to an engine. An answer or reject has all of its attempts."""

    seed: int
    temperature: float
    finish_reason: FinishReason
    output_tokens: int
    detail: str | None = None
    pixel_share: float | None = None  # of the image's usual pixels, where fewer were shown; None: all


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A model's answer for one unit of an image and one generation. `text` is the model's string, changed only to be
    storable."""

    key: str
    sha256: str
    row: int
    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    output_tokens: int
    prompt_sha256: str  # of the filled-in prompt
    attempts: tuple[Attempt, ...] = ()
    engine_finish: str | None = None  # the engine's own finish reason; None: it gave none, or it was not recorded
    unit: str | None = None  # id of the unit at the time of the request, for display only; None: the whole image
    value: str | None = None  # what the task parsed, as JSON
    logprobs: bytes | None = None  # of the tokens of `text`: see `tasks.stored_logprobs`
    embedding: bytes | None = None  # of the unit: float16, little-endian


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    """An image or an answer that could not be used."""

    key: str
    source_key: str
    shard: str
    row: int
    sha256: str
    stage: Stage
    generation: str | None  # None: the image itself, for all generations
    reason: Reason
    detail: str
    attempts: int = 0
    prompt_sha256: str | None = None  # of the filled-in prompt; None: no prompt can be answered about the image
    unit: str | None = None  # id of the unit; None: the whole image

    @classmethod
    def of(
        cls,
        image: Image,
        *,
        stage: Stage,
        reason: Reason,
        detail: str,
        generation: str | None = None,
        attempts: int = 0,
        prompt_sha256: str | None = None,
        unit: str | None = None,
    ) -> Reject:
        """The reject of an image."""
        return cls(
            key=image.key,
            source_key=image.source_key,
            shard=image.shard,
            row=image.row,
            sha256=image.sha256,
            stage=stage,
            generation=generation,
            reason=reason,
            detail=detail,
            attempts=attempts,
            prompt_sha256=prompt_sha256,
            unit=unit,
        )

    def for_image(self, image: Image) -> Reject:
        """The same reject with the place and the keys of `image`, which has equal bytes."""
        return replace(self, key=image.key, source_key=image.source_key, shard=image.shard, row=image.row)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tag:
    """A noun phrase of a sub-caption: an object, or another kind. Offsets are code points into the caption's text,
    half-open. Only tags of kind `object` state that something is present."""

    lemma: str
    label: str | None = None  # of a closed vocabulary, if the pipeline names one
    text: str
    char_start: int
    char_end: int
    attributes: tuple[str, ...] = ()
    count: int | None = None  # as stated: "two dogs" 2, "a dog" 1, "dogs" None
    plural: bool = False
    kind: TagKind = "object"


@dataclass(frozen=True, kw_only=True, slots=True)
class SubCaption:
    """A span of a caption, usually one sentence: `caption.text[char_start:char_end] == text`, always.

    `content_start` is where the content begins after a boilerplate opener (offset into the caption's text; equal to
    `char_start` without one). `dup_of` names the sub_id of an earlier, nearly equal one of the same image.
    """

    sub_id: str  # <caption_id>#<idx>
    idx: int
    text: str
    char_start: int
    char_end: int
    n_words: int
    content_start: int
    is_first: bool = False
    is_last: bool = False
    is_fragment: bool = False
    is_negation: bool = False
    is_meta: bool = False
    is_boilerplate: bool = False
    is_unparsed: bool | None = None  # the whole caption, kept because a rule failed on it; None: written before 1.3
    dup_of: str | None = None
    lang: str | None = None
    weight: float = 1.0
    lp_mean: float | None = None  # of the log-probabilities of its content words' tokens; None: not known
    lp_min: float | None = None
    lp_std: float | None = None
    n_tokens: Mapping[str, int] = field(default_factory=dict)  # tokenizer name -> count, with start and end tokens
    tags: tuple[Tag, ...] = ()

    @property
    def objects(self) -> tuple[Tag, ...]:
        """The tags of objects that are present."""
        return tuple([tag for tag in self.tags if tag.kind == "object"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """A text about an image: an answer, or the raw caption that came with it.

    `text` is cleaned (answers: `recaption.tasks.cleaning`) and normalised (`recaption.text.normalise`) once on intake;
    offsets below count code points in it. `cleaned` names the rules that changed an answer; it is None if none did.
    """

    caption_id: str  # <key>/<raw | generation>/<n>
    generation: str  # "raw" or the generation's id
    source: str  # "raw" or "<model>:<prompt>"
    granularity: Granularity
    text: str
    finish_reason: FinishReason | None = None  # None for raw captions
    lang: str | None = None
    translated_from: str | None = None  # caption_id of the text that it translates
    aspect: str | None = None  # what it is about, of granularity `aspect`
    region_id: str | None = None  # of the table `regions`: the region that it describes
    box: Box | None = None  # the part of the image that the model was shown; None: all of it
    cleaned: tuple[str, ...] | None = None
    sub_captions: tuple[SubCaption, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionFailure:
    """A caption that could not be parsed, or has no rows in `table`, or has texts without token ids
    because `tokenizer` failed on them.

    `table` is a custom table, that of a task, or the id of a generation whose task has no tables.
    """

    caption_id: str
    table: str | None = None
    tokenizer: str | None = None
    error: str  # name and message of the exception


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One sample of the dataset: an image with all of its captions, or the reason why it has none."""

    key: str
    source_key: str
    shard: str
    row: int
    sha256: str
    status: Status
    split: str = "train"
    reason: Reason | None = None
    url: str | None = None
    width: int | None = None  # pixels, upright, from the header; None where the header is broken
    height: int | None = None
    orientation: int | None = None  # EXIF orientation of the source's bytes that was applied, 2 to 8; None: none
    captions: tuple[Caption, ...] = ()

    def texts(self) -> dict[str, str]:
        """Generation (or raw) -> its text; the first, where there are several."""
        return {caption.generation: caption.text for caption in reversed(self.captions)}

    def distinct_texts(self) -> int:
        """How many different texts can be drawn from it: sub-captions that repeat no earlier one and have a weight
        above 0, and captions without sub-captions."""
        texts = {s.text for c in self.captions for s in c.sub_captions if s.dup_of is None and s.weight > 0}
        return len(texts | {c.text for c in self.captions if not c.sub_captions})
