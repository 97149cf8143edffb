-- Weights of sub-captions, by generation and source, then by position in the caption.
-- A row with a source includes all positions; a row with a position includes all sources.
-- position: 1 is the first sub-caption of its caption; 11+ includes all after the tenth.
-- percent_low: share of weights of at most 0.1. The last five columns count weights; each sub-caption is in one of them.
-- if empty: there are no sub-captions yet
WITH placed AS (SELECT generation, source, least(idx, 10) + 1 AS place, weight FROM sub_captions)
SELECT
    generation, source, CASE WHEN place > 10 THEN '11+' ELSE place::VARCHAR END AS position,
    count(*) AS sub_captions, round(avg(weight), 3) AS mean,
    round(100 * count(*) FILTER (weight <= 0.1) / count(*), 1) AS percent_low,
    count(*) FILTER (weight <= 0) AS "0", count(*) FILTER (weight > 0 AND weight <= 0.1) AS "to 0.1",
    count(*) FILTER (weight > 0.1 AND weight <= 0.4) AS "to 0.4",
    count(*) FILTER (weight > 0.4 AND weight <= 0.8) AS "to 0.8", count(*) FILTER (weight > 0.8) AS "to 1"
FROM placed
GROUP BY GROUPING SETS ((generation, source), (generation, place))
ORDER BY place IS NOT NULL, generation = 'raw', generation, source, place
