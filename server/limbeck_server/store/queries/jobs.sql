-- name: insert_job
INSERT INTO job (id, owner, request_id, kind, spec, state, priority, created_at)
VALUES (:id, :owner, :request_id, :kind, :spec, 'pending', :priority, :now);

-- name: job_by_id
SELECT * FROM job WHERE id = :id;

-- name: job_by_request
SELECT * FROM job WHERE owner = :owner AND request_id = :request_id;

-- name: page_of_jobs
SELECT * FROM job
WHERE
    number < :before
    AND (:owner IS NULL OR owner = :owner)
    AND (:states = '[]' OR state IN (SELECT value FROM json_each(:states)))
ORDER BY number DESC
LIMIT :limit;

-- name: delete_job
DELETE FROM job WHERE id = :id;

-- name: next_sequence
UPDATE job SET sequence = sequence + 1 WHERE id = :job RETURNING sequence;

-- name: insert_event
INSERT INTO event (job, sequence, at, kind, detail) VALUES (:job, :sequence, :at, :kind, :detail);

-- name: events_after
SELECT * FROM event WHERE job = :job AND sequence > :after ORDER BY sequence LIMIT :limit;

-- name: images_after
SELECT * FROM image WHERE job = :job AND number > :after ORDER BY number LIMIT :limit;

-- name: set_waiting
UPDATE job SET waiting_for = :reason WHERE id = :job;

-- name: set_state
UPDATE job
SET
    state = :state,
    started_at = CASE WHEN :state = 'preparing' THEN :now ELSE started_at END,
    finished_at = CASE WHEN :state IN ('succeeded', 'failed', 'cancelled') THEN :now END,
    waiting_for = '',
    failure_reason = :failure_reason,
    failure_message = :failure_message
WHERE id = :job;

-- name: set_cancel_requested
UPDATE job SET cancel_requested = 1 WHERE id = :job;

-- name: set_prepared
UPDATE job SET prepared = :prepared, num_units = :num_units, num_images = :num_images WHERE id = :job;

-- name: add_finished
UPDATE job
SET finished_units = finished_units + 1, finished_images = finished_images + :num_images
WHERE id = :job;

-- name: set_result
UPDATE job SET result = :result, distilled_set = :distilled_set WHERE id = :job;

-- name: take_turn
UPDATE job SET turn = (SELECT max(turn) + 1 FROM job) WHERE id = :job;

-- name: count_by_state
SELECT state, count(*) AS jobs FROM job GROUP BY state;

-- name: count_unfinished
SELECT count(*) AS jobs FROM job WHERE owner = :owner AND state NOT IN ('succeeded', 'failed', 'cancelled');

-- name: unfinished_reader
-- A spec names what it reads by 32 random hexadecimal digits, wherever in it that is.
SELECT id FROM job
WHERE state NOT IN ('succeeded', 'failed', 'cancelled') AND instr(spec, :id) > 0
LIMIT 1;
