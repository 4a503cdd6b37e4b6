-- name: insert_set
INSERT INTO distilled_set (id, job, owner, path, files, created_at)
VALUES (:id, :job, :owner, :path, :files, :created_at);

-- name: set_by_id
SELECT * FROM distilled_set WHERE id = :id;

-- name: page_of_sets
SELECT number, id, job, owner, path, '{}' AS files, created_at FROM distilled_set
WHERE number < :before AND (:owner IS NULL OR owner = :owner)
ORDER BY number DESC
LIMIT :limit;

-- name: delete_set
DELETE FROM distilled_set WHERE id = :id;
