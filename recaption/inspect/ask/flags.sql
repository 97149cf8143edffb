-- Flags of sub-captions, by generation, with an example (always the same one).
-- if empty: there are no sub-captions yet
WITH counts AS (
    SELECT
        generation, count(*) AS total,
        count(*) FILTER (is_fragment) AS fragment,
        arg_min(text, hash(sub_id)) FILTER (is_fragment) AS fragment_text,
        count(*) FILTER (is_negation) AS negation,
        arg_min(text, hash(sub_id)) FILTER (is_negation) AS negation_text,
        count(*) FILTER (is_meta) AS meta,
        arg_min(text, hash(sub_id)) FILTER (is_meta) AS meta_text,
        count(*) FILTER (is_boilerplate) AS boilerplate,
        arg_min(text, hash(sub_id)) FILTER (is_boilerplate) AS boilerplate_text,
        count(*) FILTER (is_unparsed) AS unparsed,
        arg_min(text, hash(sub_id)) FILTER (is_unparsed) AS unparsed_text,
        count(*) FILTER (dup_of IS NOT NULL) AS duplicate,
        arg_min(text, hash(sub_id)) FILTER (dup_of IS NOT NULL) AS duplicate_text,
        count(*) FILTER (weight = 0) AS never_drawn,
        arg_min(text, hash(sub_id)) FILTER (weight = 0) AS never_drawn_text
    FROM sub_captions GROUP BY generation
),
flags AS (
    SELECT generation, total, 'fragment' AS flag, fragment AS n, fragment_text AS example FROM counts
    UNION ALL SELECT generation, total, 'negation', negation, negation_text FROM counts
    UNION ALL SELECT generation, total, 'meta', meta, meta_text FROM counts
    UNION ALL SELECT generation, total, 'boilerplate', boilerplate, boilerplate_text FROM counts
    UNION ALL SELECT generation, total, 'unparsed', unparsed, unparsed_text FROM counts
    UNION ALL SELECT generation, total, 'duplicate', duplicate, duplicate_text FROM counts
    UNION ALL SELECT generation, total, 'weight 0', never_drawn, never_drawn_text FROM counts
)
SELECT flag, generation, n, round(100 * n / total, 2) AS percent, example
FROM flags
ORDER BY flag, generation = 'raw', generation
