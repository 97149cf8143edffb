-- The slowest answers, by the tokens of all their attempts.
-- Seconds are recorded for whole runs only (view runs): answers do not depend on the machine's speed.
-- $limit = 20: rows
-- if empty: there are no answers yet
SELECT
    key, generation, finish_reason, len(attempts) AS attempts,
    list_sum([a.output_tokens FOR a IN attempts])::BIGINT AS tokens_made,
    list_distinct([a.detail FOR a IN attempts IF a.detail IS NOT NULL]) AS details,
    output_tokens AS tokens_kept, prompt_tokens
FROM answers
ORDER BY coalesce(tokens_made, output_tokens) DESC, prompt_tokens DESC, generation, key
LIMIT $limit
