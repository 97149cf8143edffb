-- The sub-captions that verifications support least: those with the lowest p_true.
-- p_true: the mean, if there are several verifications of a sub-caption. judges: the models that verified it.
-- $limit = 20: rows
-- needs: verifications, which a generation with task: verify makes
-- if empty: no sub-caption is verified
WITH worst AS (
    SELECT sub_id, avg(p_true) AS p_true, list_sort(list(DISTINCT model)) AS judges
    FROM verifications GROUP BY sub_id ORDER BY p_true, sub_id LIMIT $limit
)
SELECT round(p_true, 3) AS p_true, key, generation, idx + 1 AS position, text, source, judges, sub_id
FROM sub_captions JOIN worst USING (sub_id)
ORDER BY worst.p_true, sub_id
