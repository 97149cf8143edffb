-- DuckDB views over one build. {build} is the build's folder, {out} the output that it lies in; the copy inside a build
-- has them as '.' and '../..', so that it works from there:   cd OUT/dataset && duckdb -init views.sql
-- Every build holds every table, so the first group always binds. The second group needs the rest of the output and
-- fails alone when the build was copied somewhere else. Needs DuckDB >= 1.3.

-- images: a row per sample of the source, in source order, rejected ones too
CREATE OR REPLACE VIEW images AS SELECT * FROM read_parquet('./images/*.parquet', union_by_name = true);
CREATE OR REPLACE VIEW records AS SELECT * FROM images;

CREATE OR REPLACE VIEW captions AS SELECT * FROM read_parquet('./captions/*.parquet', union_by_name = true);
CREATE OR REPLACE VIEW sub_captions AS SELECT * FROM read_parquet('./sub_captions/*.parquet', union_by_name = true);
CREATE OR REPLACE VIEW tags AS SELECT * FROM read_parquet('./tags/*.parquet', union_by_name = true);
-- objects: the tags that say what is there; the others are kept with the reason why they do not
CREATE OR REPLACE VIEW objects AS SELECT * EXCLUDE (kind) FROM tags WHERE kind = 'object';
CREATE OR REPLACE VIEW rejects AS SELECT * FROM read_parquet('./rejects/*.parquet', union_by_name = true);

-- shards: a row per dataset shard, from the manifest; files is a list with path, rows, bytes and sha256 of each
CREATE OR REPLACE VIEW shards AS
SELECT shard.name AS shard, unnest(shard.counts), shard.splits.train AS train, shard.splits.val AS val,
       list_sum([f.bytes FOR f IN shard.files]) AS bytes, shard.files AS files
FROM (
    SELECT unnest(shards) AS shard
    FROM read_json('./manifest.json', maximum_object_size = 1073741824, columns = {
        'shards': 'STRUCT(name VARCHAR, files STRUCT(path VARCHAR, "table" VARCHAR, split VARCHAR, "rows" BIGINT, bytes BIGINT,
                   sha256 VARCHAR)[], counts STRUCT(images BIGINT, ok BIGINT, partial BIGINT, reject BIGINT, excluded BIGINT,
                   captions BIGINT, sub_captions BIGINT, tags BIGINT, words BIGINT), splits STRUCT(train BIGINT, val BIGINT))[]'})
);

-- second group: the rest of the output

-- answers: what the models said, word for word; the folder's name is <generation>-<fingerprint>
CREATE OR REPLACE VIEW answers AS
SELECT
  split_part(parse_filename(parse_dirpath(filename)), '-', 1) AS generation,
  split_part(parse_filename(parse_dirpath(filename)), '-', 2) AS fingerprint,
  * EXCLUDE (filename)
FROM read_parquet('../../answers/*/*.parquet', union_by_name = true, filename = true);

-- runs: times, hosts and rates
CREATE OR REPLACE VIEW runs AS SELECT * FROM read_json('../../metrics/*.json', format = 'auto', union_by_name = true);
