-- Equal sub-captions, and the number of images that have each.
-- Hashes are compared first, which needs a fraction of the memory, then the texts of the few with equal hashes.
-- $limit = 20: rows
-- if empty: all sub-captions differ
WITH repeated AS (
    SELECT hash(text) AS digest, count(*) AS n
    FROM sub_captions GROUP BY digest HAVING count(*) > 1 ORDER BY n DESC, digest LIMIT $limit
)
SELECT text, count(*) AS n, count(DISTINCT key) AS images, list_sort(list(DISTINCT generation)) AS generations
FROM sub_captions
WHERE hash(text) IN (SELECT digest FROM repeated)
GROUP BY text
ORDER BY n DESC, text
LIMIT $limit
