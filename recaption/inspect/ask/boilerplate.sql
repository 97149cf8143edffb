-- Openers without content ("The image shows …"), most frequent first.
-- $limit = 20: rows
-- if empty: no sub-caption begins with an opener
SELECT
    lower(trim(substr(text, 1, content_start - char_start))) AS opener, count(*) AS n,
    count(DISTINCT generation) AS generations, arg_min(text, hash(sub_id)) AS example
FROM sub_captions
WHERE is_boilerplate AND content_start > char_start
GROUP BY opener
ORDER BY n DESC, opener
LIMIT $limit
