-- Usable images of the two datasets; images are the same if their bytes are, or, without a hash, their keys.
WITH usable AS (
    SELECT DISTINCT dataset, coalesce(nullif(sha256, ''), key) AS image FROM images WHERE status IN ('ok', 'partial')
),
a AS (SELECT image FROM usable WHERE dataset = $one),
b AS (SELECT image FROM usable WHERE dataset = $other)
SELECT
    (SELECT count(*) FROM a) AS one, (SELECT count(*) FROM b) AS other,
    (SELECT count(*) FROM a SEMI JOIN b USING (image)) AS in_both,
    (SELECT count(*) FROM a ANTI JOIN b USING (image)) AS only_one,
    (SELECT count(*) FROM b ANTI JOIN a USING (image)) AS only_other
