-- Shares of unsupported sub-captions (p_true below 0.5) in percent, with 95 % intervals.
-- low, high: Wilson's score interval. unverified: sub-captions of the same generations without a verification.
-- model, prompt: of the caption. judge: the model that verified. position: 1 is the first sub-caption of its caption.
-- object, attribute: the ten with the highest low. kind: colour, size, material, …; number if it has one.
-- images with X: only images of which X has verified sub-captions, if X has fewer of them (before and after a repair).
-- needs: verifications, which a generation with task: verify makes
-- if empty: no sub-caption is verified
WITH verdicts AS (SELECT sub_id, avg(p_true) AS p_true FROM verifications GROUP BY sub_id),
verified AS (SELECT DISTINCT generation FROM sub_captions SEMI JOIN verdicts USING (sub_id)),
subs AS MATERIALIZED (
    SELECT
        sub_id, key, generation, split_part(source, ':', 1) AS model, split_part(source, ':', 2) AS prompt, idx,
        tag_lemmas, p_true
    FROM sub_captions SEMI JOIN verified USING (generation) LEFT JOIN verdicts USING (sub_id)
),
tagged AS (
    SELECT
        sub_id, list_distinct(flatten(list([lower(a) FOR a IN attributes]))) AS attributes,
        bool_or(count IS NOT NULL) AS counted
    FROM objects SEMI JOIN subs USING (sub_id) GROUP BY sub_id
),
described AS (
    SELECT sub_id, coalesce(attributes, []) AS attributes, coalesce(counted, false) AS counted, p_true
    FROM subs LEFT JOIN tagged USING (sub_id)
),
words AS (SELECT sub_id, unnest(attributes) AS attribute, p_true FROM described),
lists AS (
    SELECT
        string_split_regex(trim('
            red orange yellow green blue purple pink brown black white grey gray gold silver beige tan cream
            ivory maroon navy teal turquoise cyan magenta violet lavender indigo crimson scarlet burgundy
            khaki olive bronze copper golden rose peach coral mint charcoal mustard aqua lilac amber emerald
            taupe slate ochre sepia rust ginger azure chartreuse mauve fuchsia cobalt sapphire ruby blond
            blonde brunette off-white
        '), '\s+') AS colours,
        string_split_regex(trim('
            wood metal stone brick glass plastic leather cotton wool silk denim paper cardboard concrete
            marble granite steel iron aluminum aluminium brass ceramic porcelain clay rubber bamboo wicker
            straw velvet linen lace fur tile chrome cobblestone asphalt gravel dirt canvas fabric mesh wire
            pearl tin oak walnut pine teak mahogany cedar birch maple crystal slate satin suede fleece
            rattan vinyl chiffon tulle nylon polyester pewter terracotta adobe plywood timber tweed corduroy
            flannel burlap felt cork lacquer enamel acrylic stucco limestone sandstone titanium nickel
            cashmere hemp jute spandex lycra mosaic wooden metallic woollen woolen woven
        '), '\s+') AS materials,
        string_split('small large big tall short long wide narrow tiny huge little thin thick high low', ' ') AS sizes
),
kinds AS (  -- each sub-caption once per kind
    SELECT DISTINCT
        sub_id,
        CASE
            WHEN list_has_any(string_split(attribute, ' '), colours) THEN 'colour'
            WHEN list_has_any(string_split(attribute, ' '), sizes) THEN 'size'
            WHEN list_has_any(string_split(attribute, ' '), materials) THEN 'material'
            ELSE 'other attribute'
        END AS kind,
        p_true
    FROM words, lists
),
covered AS (SELECT DISTINCT generation, key FROM subs WHERE p_true IS NOT NULL),
fewer AS (
    SELECT generation FROM covered GROUP BY generation HAVING count(*) < (SELECT count(DISTINCT key) FROM covered)
),
members AS (
    SELECT 1 AS place, 'all' AS grouped_by, 'all' AS value, 0 AS number, p_true FROM subs
    UNION ALL SELECT 2, 'generation', generation, 0, p_true FROM subs
    UNION ALL
    SELECT 3, 'images with ' || covered.generation, subs.generation, 0, p_true
    FROM subs JOIN covered USING (key) WHERE covered.generation IN (FROM fewer)
    UNION ALL SELECT 4, 'model', model, 0, p_true FROM subs
    UNION ALL SELECT 5, 'prompt', prompt, 0, p_true FROM subs
    UNION ALL SELECT 6, 'judge', model, 0, p_true FROM verifications
    UNION ALL
    SELECT 7, 'position', CASE WHEN idx < 10 THEN (idx + 1)::VARCHAR ELSE '11+' END, least(idx, 10), p_true
    FROM subs
    UNION ALL
    SELECT 8, 'object', unnest(list_distinct(tag_lemmas)), 0, p_true FROM subs WHERE p_true IS NOT NULL
    UNION ALL SELECT 9, 'attribute', attribute, 0, p_true FROM words WHERE p_true IS NOT NULL
    UNION ALL SELECT 10, 'kind', kind, 0, p_true FROM kinds
    UNION ALL SELECT 10, 'kind', 'number', 0, p_true FROM described WHERE counted
    UNION ALL
    SELECT 10, 'kind', 'no attribute or number', 0, p_true FROM described WHERE attributes = [] AND NOT counted
),
counted AS (
    SELECT
        place, grouped_by, value, number, count(p_true) AS verified, count(*) FILTER (p_true < 0.5) AS unsupported,
        count(*) - count(p_true) AS unverified, avg(p_true) AS mean
    FROM members GROUP BY ALL HAVING verified > 0
),
bounds AS (  -- 1.96 * 1.96 = 3.8415
    SELECT
        *, (unsupported + 3.8415 / 2) / (verified + 3.8415) AS middle,
        1.96 / (verified + 3.8415) * sqrt(unsupported * (verified - unsupported) / verified + 3.8415 / 4) AS half
    FROM counted
)
SELECT
    grouped_by, value, verified, unsupported, round(100 * unsupported / verified, 2) AS percent,
    round(100 * greatest(middle - half, 0), 2) AS low, round(100 * least(middle + half, 1), 2) AS high, unverified,
    round(mean, 3) AS mean_p_true
FROM bounds
QUALIFY
    place NOT IN (8, 9)
    OR row_number() OVER (PARTITION BY grouped_by ORDER BY low DESC, verified DESC, value) <= 10
ORDER BY place, grouped_by, number, CASE WHEN place IN (8, 9) THEN -low ELSE 0 END, value
