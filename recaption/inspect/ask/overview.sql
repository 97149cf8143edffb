-- Counts: images by status, texts, tags, answers and rejects.
WITH usable AS (SELECT count(*) AS images FROM images WHERE status IN ('ok', 'partial')),
counts AS (
    SELECT 1 AS place, 'images' AS what, count(*) AS n FROM images
    UNION ALL SELECT 2, 'images: ' || status, count(*) FROM images GROUP BY status
    UNION ALL SELECT 3, 'captions: ' || generation, count(*) FROM captions GROUP BY generation
    UNION ALL SELECT 3, 'captions: ' || generation || ', cleaned', count(*) FROM captions WHERE cleaned IS NOT NULL GROUP BY generation
    UNION ALL SELECT 4, 'sub-captions', count(*) FROM sub_captions
    UNION ALL SELECT 5, 'distinct texts to draw', coalesce(sum(n_texts), 0) FROM images
    UNION ALL SELECT 6, 'objects', count(*) FROM objects
    UNION ALL SELECT 7, 'different objects', count(DISTINCT lemma) FROM objects
    UNION ALL SELECT 8, 'stored answers: ' || generation, count(*) FROM answers GROUP BY generation
    UNION ALL SELECT 9, 'rejects', count(*) FROM rejects
)
SELECT what, n::BIGINT AS n, round(n / nullif(usable.images, 0), 2) AS per_usable_image
FROM counts, usable
ORDER BY place, what
