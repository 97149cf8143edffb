-- Captions that copy the raw captions of their images, by generation, with an example.
-- run: the longest series of two or more words that is also in a raw caption; case and punctuation do not matter.
-- copied: captions with a run of at least $words words. example: the longest run.
-- $words = 6: words of a run that counts as copied
-- if empty: no image has both a raw caption and a generated one
WITH texts AS (
    SELECT caption_id, key, generation, regexp_extract_all(lower(text), '[\p{L}\p{M}\p{N}]+') AS words
    FROM captions
),
raw AS (
    SELECT key, caption_id AS raw_id, unnest(words[:-2]) AS word, unnest(words[2:]) AS following,
        unnest(range(len(words) - 1)) AS raw_place
    FROM texts WHERE generation = 'raw'
),
generated AS (
    SELECT key, caption_id, unnest(words[:-2]) AS word, unnest(words[2:]) AS following,
        unnest(range(len(words) - 1)) AS place
    FROM texts WHERE generation <> 'raw'
),
-- Pairs of words of one run have the same distance in both texts, and consecutive places.
shared AS (
    SELECT
        caption_id, raw_id, word, following, place, place - raw_place AS distance,
        place - row_number() OVER (PARTITION BY caption_id, raw_id, place - raw_place ORDER BY place) AS start
    FROM generated JOIN raw USING (key, word, following)
),
runs AS (
    SELECT caption_id, count(*) + 1 AS run,
        string_agg(word, ' ' ORDER BY place) || ' ' || arg_max(following, place) AS copy
    FROM shared GROUP BY caption_id, raw_id, distance, start
),
longest AS (
    SELECT caption_id, max(run) AS run, arg_max(copy, (run, copy)) AS copy FROM runs GROUP BY caption_id
)
SELECT
    generation, count(*) AS captions, count(*) FILTER (run >= $words) AS copied,
    round(100 * count(*) FILTER (run >= $words) / count(*), 2) AS percent,
    median(coalesce(run, 0)) AS median_run, round(quantile_cont(coalesce(run, 0), 0.95), 1) AS p95_run,
    coalesce(max(run), 0) AS longest_run, arg_max(copy, (run, copy)) AS example
FROM texts LEFT JOIN longest USING (caption_id)
WHERE generation <> 'raw' AND key IN (SELECT key FROM texts WHERE generation = 'raw')
GROUP BY generation
ORDER BY percent DESC, generation
