-- Images by the number of distinct texts a trainer can draw from them, and those that have at least so many.
-- if empty: there are no usable images yet
SELECT
    n_texts AS texts, count(*) AS images, round(100 * count(*) / sum(count(*)) OVER (), 1) AS percent,
    round(100 * sum(count(*)) OVER (ORDER BY n_texts DESC) / sum(count(*)) OVER (), 1) AS percent_at_least
FROM images
WHERE status IN ('ok', 'partial')
GROUP BY n_texts
ORDER BY n_texts
