-- The objects in most images, and their most frequent attributes.
-- $limit = 20: rows
-- if empty: no objects are tagged yet
WITH mentioned AS (  -- an image names an object once or more: the candidates for the most images
    SELECT lemma, count(*) AS mentions FROM objects GROUP BY lemma ORDER BY mentions DESC, lemma LIMIT 3 * $limit + 300
),
most AS (  -- hashes of keys are counted faster than keys
    SELECT lemma, count(DISTINCT hash(key)) AS images, any_value(mentions) AS mentions
    FROM objects JOIN mentioned USING (lemma) GROUP BY lemma ORDER BY images DESC, lemma LIMIT $limit
),
said AS (
    SELECT lemma, attribute, count(*) AS n
    FROM (SELECT lemma, unnest(attributes) AS attribute FROM objects WHERE len(attributes) > 0)
    SEMI JOIN most USING (lemma)
    GROUP BY lemma, attribute
    QUALIFY row_number() OVER (PARTITION BY lemma ORDER BY n DESC, attribute) <= 4
),
attributes AS (SELECT lemma, string_agg(attribute, ', ' ORDER BY n DESC, attribute) AS attributes FROM said GROUP BY lemma)
SELECT
    lemma, images, round(100 * images / (SELECT count(*) FROM images WHERE status IN ('ok', 'partial')), 1) AS percent,
    mentions, attributes
FROM most LEFT JOIN attributes USING (lemma)
ORDER BY images DESC, lemma
