-- name: insert_set
INSERT INTO distilled_set (id, job, owner, path, files, created_at)
VALUES (:id, :job, :owner, :path, :files, :created_at);

-- name: set_by_id
SELECT * FROM distilled_set WHERE id = :id;

-- name: page_of_sets
-- a file is stored as path: [digest, nbytes]
SELECT number, id, job, owner, created_at,
    (SELECT count(*) FROM json_each(files)) AS num_files,
    (SELECT coalesce(sum(json_extract(value, '$[1]')), 0) FROM json_each(files)) AS nbytes
FROM distilled_set
WHERE number < :before AND (:owner IS NULL OR owner = :owner)
ORDER BY number DESC
LIMIT :limit;

-- name: delete_set
DELETE FROM distilled_set WHERE id = :id;
