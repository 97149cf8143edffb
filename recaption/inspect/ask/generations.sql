-- Generations side by side: lengths, objects per caption, and problems in percent.
-- objects: different ones. cut: captions that end at max_tokens. meta to repeats: shares of sub-captions.
-- hedged: with a word such as "appears", "seems", "likely".
-- repeats: with the same text as an earlier one of the generation and image. `dup_of` also has other wordings.
-- rejected: requests without an answer; refused, looped: those that ended in a refusal or a repetition.
-- if empty: there are no captions yet
WITH subs AS (
    SELECT
        generation, count(*) AS subs,
        count(*) FILTER (is_meta OR is_boilerplate) AS meta, count(*) FILTER (is_negation) AS negation,
        count(*) FILTER (is_fragment) AS fragment, count(*) - count(DISTINCT hash(key, lower(text))) AS repeats,
        count(*) FILTER (regexp_matches(
            lower(text), '\b(appears?|seems?|likely|possibly|probably|perhaps|might|may be|could be|suggest(s|ing))\b'
        )) AS hedged
    FROM sub_captions GROUP BY generation
),
objects AS (
    SELECT generation, avg(n) AS objects
    FROM (
        SELECT generation, caption_id, len(list_distinct(flatten(list(tag_lemmas)))) AS n
        FROM sub_captions GROUP BY generation, caption_id
    )
    GROUP BY generation
),
texts AS (
    SELECT
        generation, min(source) AS source, count(*) AS captions, median(n_words) AS words,
        100 * avg((coalesce(finish_reason, '') = 'length')::INT) AS cut
    FROM captions GROUP BY generation
),
failed AS (
    SELECT
        generation, count(*) FILTER (reason = 'refusal') AS refused, count(*) FILTER (reason = 'repetition') AS looped,
        count(*) AS rejected
    FROM rejects WHERE generation IS NOT NULL GROUP BY generation
)
SELECT
    generation, source, texts.captions, words, round(subs.subs / texts.captions, 1) AS sub_captions,
    round(objects, 1) AS objects, round(cut, 1) AS cut, round(100 * meta / subs, 1) AS meta,
    round(100 * hedged / subs, 1) AS hedged, round(100 * negation / subs, 1) AS negation,
    round(100 * fragment / subs, 1) AS fragment, round(100 * repeats / subs, 1) AS repeats,
    coalesce(rejected, 0) AS rejected, coalesce(refused, 0) AS refused, coalesce(looped, 0) AS looped
FROM texts
LEFT JOIN subs USING (generation) LEFT JOIN objects USING (generation) LEFT JOIN failed USING (generation)
ORDER BY generation = 'raw', generation
