-- name: insert_dataset
INSERT INTO dataset (
    id, owner, request_id, display_name, path, uploaded, state, nbytes, num_images, num_classes, digest,
    received_nbytes, created_at, failure_reason, failure_message
) VALUES (
    :id, :owner, :request_id, :display_name, :path, :uploaded, :state, :nbytes, :num_images, :num_classes, :digest,
    :received_nbytes, :created_at, :failure_reason, :failure_message
);

-- name: dataset_by_id
SELECT * FROM dataset WHERE id = :id;

-- name: dataset_by_request
SELECT * FROM dataset WHERE owner = :owner AND request_id = :request_id;

-- name: page_of_datasets
SELECT * FROM dataset
WHERE number < :before AND (:owner IS NULL OR owner = :owner)
ORDER BY number DESC
LIMIT :limit;

-- name: update_dataset
UPDATE dataset
SET
    state = :state,
    path = :path,
    nbytes = :nbytes,
    num_images = :num_images,
    num_classes = :num_classes,
    received_nbytes = :received_nbytes,
    failure_reason = :failure_reason,
    failure_message = :failure_message
WHERE id = :id;

-- name: delete_dataset
DELETE FROM dataset WHERE id = :id;

-- name: dataset_nbytes
-- The server stores what was uploaded; a folder that was registered is its owner's.
SELECT coalesce(sum(nbytes), 0) AS nbytes FROM dataset WHERE owner = :owner AND uploaded = 1;
