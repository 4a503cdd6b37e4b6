-- name: insert_unit
INSERT INTO unit (job, number, class_ids, num_images) VALUES (:job, :number, :class_ids, :num_images);

-- name: job_to_serve
SELECT id FROM job
WHERE
    state NOT IN ('succeeded', 'failed', 'cancelled')
    AND cancel_requested = 0
    AND id NOT IN (SELECT value FROM json_each(:exclude))
    AND EXISTS (SELECT 1 FROM unit WHERE unit.job = job.id AND unit.lease IS NULL AND unit.finished = 0)
ORDER BY priority DESC, turn, number
LIMIT 1;

-- name: units_to_lease
SELECT * FROM unit WHERE job = :job AND lease IS NULL AND finished = 0 ORDER BY number LIMIT :limit;

-- name: insert_lease
INSERT INTO lease (token, worker, job) VALUES (:token, :worker, :job);

-- name: give_unit
UPDATE unit SET lease = :token WHERE job = :job AND number = :number;

-- name: lease_by_token
SELECT * FROM lease WHERE token = :token;

-- name: all_leases
SELECT * FROM lease ORDER BY rowid;

-- name: count_leases
SELECT count(*) AS leases FROM lease WHERE job = :job;

-- name: units_of_lease
SELECT * FROM unit WHERE lease = :token ORDER BY number;

-- name: held_unit
SELECT number FROM unit WHERE job = :job AND number = :number AND lease = :token;

-- name: keep_checkpoint
UPDATE unit SET checkpoint = :digest WHERE job = :job AND number = :number;

-- name: finish_unit
UPDATE unit
SET finished = 1, lease = NULL, checkpoint = NULL, arrays = :arrays, result = :result
WHERE job = :job AND number = :number;

-- name: insert_image
INSERT INTO image (job, label, position, unit, number, digest, nbytes, row)
VALUES (:job, :label, :position, :unit, :number, :digest, :nbytes, :row);

-- name: image_at
SELECT * FROM image WHERE job = :job AND label = :label AND position = :position;

-- name: finished_units
SELECT * FROM unit WHERE job = :job AND finished = 1 AND number >= 0 ORDER BY number;

-- name: images_by_unit
SELECT * FROM image WHERE job = :job ORDER BY unit, number;

-- name: count_attempt
UPDATE unit SET attempts = attempts + 1 WHERE job = :job AND number = :number RETURNING attempts;

-- name: forget_attempts
UPDATE unit SET attempts = 0 WHERE job = :job AND attempts > 0;

-- name: delete_lease
DELETE FROM lease WHERE token = :token;

-- name: delete_leases_of_job
DELETE FROM lease WHERE job = :job;

-- name: refers
SELECT
    EXISTS (SELECT 1 FROM image WHERE digest = :digest)
    OR EXISTS (SELECT 1 FROM unit WHERE checkpoint = :digest)
    OR EXISTS (SELECT 1 FROM unit WHERE arrays = :digest)
    AS found;
