-- Rejected images (without a generation) and answers by reason, with an example.
-- if empty: nothing was rejected
SELECT
    reason, stage, generation, count(*) AS n, round(100 * count(*) / sum(count(*)) OVER (), 1) AS percent,
    arg_min(detail, hash(key)) AS example, arg_min(key, hash(key)) AS key, max(attempts) AS most_attempts
FROM rejects
GROUP BY reason, stage, generation
ORDER BY n DESC, reason, stage, generation
