-- name: beat
INSERT INTO pulse (id, at) VALUES (1, :now) ON CONFLICT (id) DO UPDATE SET at = excluded.at;

-- name: applied_migrations
SELECT * FROM migration ORDER BY version;

-- name: insert_migration
INSERT INTO migration (version, name, digest, applied_at) VALUES (:version, :name, :digest, :now);
