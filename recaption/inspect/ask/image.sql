-- One image, a row per sub-caption: generation, objects, flags, weight.
-- See also the views images (size, status, URL), answers (the model's own text) and rejects.
-- $key: the image's key
-- if empty: the image has no sub-captions
SELECT
    generation, source, idx, text, tag_lemmas AS objects,
    list_filter(
        [
            CASE WHEN is_fragment THEN 'fragment' END, CASE WHEN is_negation THEN 'negation' END,
            CASE WHEN is_meta THEN 'meta' END, CASE WHEN is_boilerplate THEN 'boilerplate' END,
            CASE WHEN is_unparsed THEN 'unparsed' END,
            CASE WHEN dup_of IS NOT NULL THEN 'duplicate of ' || dup_of END
        ],
        lambda flag: flag IS NOT NULL
    ) AS flags,
    n_words, lang, weight, sub_id
FROM sub_captions
WHERE key = $key
ORDER BY generation = 'raw', caption_id, idx
