-- How long the texts are, in words: captions and sub-captions of each generation.
-- For tokens use the columns n_tokens_<tokenizer> of sub_captions, if the pipeline names tokenizers.
-- if empty: there are no captions yet
WITH texts AS (
    SELECT generation, 'captions' AS texts, n_words FROM captions
    UNION ALL SELECT generation, 'sub-captions', n_words FROM sub_captions
)
SELECT
    generation, texts, count(*) AS n, min(n_words) AS least,
    quantile_cont(n_words, 0.05) AS p5, median(n_words) AS median, quantile_cont(n_words, 0.95) AS p95,
    max(n_words) AS most, round(avg(n_words), 1) AS mean
FROM texts
GROUP BY generation, texts
ORDER BY generation = 'raw', generation, texts
