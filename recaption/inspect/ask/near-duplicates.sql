-- Images that look like a larger image, or like an equal one with an earlier key.
-- inspect compares embeddings of images (task score, embed: images), else the pixels. This SQL finds equal bytes only.
-- As Parquet, the answer is a list for source.exclude: it has the column sha256.
-- if empty: no two images are alike
SELECT key, first AS same_as, 1.0 AS similarity, NULL::VARCHAR AS sha256  -- the hash would exclude the first one, too
FROM (
    SELECT key, first_value(key) OVER (PARTITION BY sha256 ORDER BY key) AS first
    FROM images WHERE status IN ('ok', 'partial') AND sha256 <> ''
)
WHERE key <> first
ORDER BY key
