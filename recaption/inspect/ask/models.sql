-- The models side by side: captions, length, variety, attempts.
-- if empty: there are no generated captions yet
WITH said AS (
    SELECT
        split_part(source, ':', 1) AS model, generation, count(*) AS captions, median(n_words) AS words,
        round(avg(n_sub_captions), 1) AS sub_captions, round(100 * count(DISTINCT hash(text)) / count(*), 1) AS percent_unlike,
        round(100 * count(*) FILTER (finish_reason <> 'stop') / count(*), 1) AS percent_not_ended
    FROM captions WHERE generation <> 'raw' GROUP BY model, generation
),
asked AS (
    SELECT generation, round(avg(len(attempts)), 2) AS asked_per_answer, round(avg(output_tokens), 1) AS tokens
    FROM answers GROUP BY generation
)
SELECT
    model, generation, captions, words, sub_captions, percent_unlike, percent_not_ended, tokens, asked_per_answer
FROM said LEFT JOIN asked USING (generation)
ORDER BY captions DESC, model, generation
