-- Languages of captions (BCP 47), by generation; null where it is unknown.
-- if empty: there are no captions yet
SELECT
    lang, generation, count(*) AS captions, round(100 * count(*) / sum(count(*)) OVER (PARTITION BY generation), 1) AS percent,
    arg_min(text, hash(caption_id)) AS example
FROM captions
GROUP BY lang, generation
ORDER BY generation = 'raw', generation, captions DESC, lang
