-- The prompts in use, with tokens, one row per fingerprint.
-- fingerprint: of the model, the prompt and the settings.
-- different: distinct prompts after the columns of each image are filled in.
-- if empty: there are no answers yet
SELECT
    generation, fingerprint, (SELECT any_value(split_part(source, ':', 2)) FROM captions AS c WHERE c.generation = a.generation) AS prompt,
    count(*) AS answers, count(DISTINCT prompt_sha256) AS different, median(prompt_tokens) AS prompt_tokens,
    median(output_tokens) AS output_tokens, quantile_cont(output_tokens, 0.95) AS p95,
    round(100 * count(*) FILTER (len(attempts) <= 1) / count(*), 1) AS percent_at_once,
    round(100 * count(*) FILTER (finish_reason = 'length') / count(*), 1) AS percent_cut
FROM answers AS a
GROUP BY generation, fingerprint
ORDER BY generation, fingerprint
