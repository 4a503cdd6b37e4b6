-- The ledger's first shape. A migration that was released is never edited: its digest is kept in every ledger.

CREATE TABLE migration (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    applied_at REAL NOT NULL
) STRICT;

-- Written by `check`, so that a disk that refuses is noticed before a job is.
CREATE TABLE pulse (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at REAL NOT NULL
) STRICT;

CREATE TABLE distilled_set (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL UNIQUE,  -- which may be deleted before its set
    owner TEXT NOT NULL,
    path TEXT NOT NULL,
    files TEXT NOT NULL,
    created_at REAL NOT NULL
) STRICT;

CREATE TABLE job (
    number INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order of creation, whatever the clock said
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    request_id TEXT,
    kind TEXT NOT NULL,
    spec TEXT NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('pending', 'preparing', 'running', 'publishing', 'succeeded', 'failed', 'cancelled')
    ),
    priority INTEGER NOT NULL,
    turn INTEGER NOT NULL DEFAULT 0,  -- when it was served last: the ledger's count of leases at that time
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    num_units INTEGER NOT NULL DEFAULT 0,
    finished_units INTEGER NOT NULL DEFAULT 0,
    num_images INTEGER NOT NULL DEFAULT 0,
    finished_images INTEGER NOT NULL DEFAULT 0,
    waiting_for TEXT NOT NULL DEFAULT '',
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    failure_reason TEXT,
    failure_message TEXT,
    prepared TEXT,
    result TEXT,
    distilled_set TEXT REFERENCES distilled_set (id) ON DELETE SET NULL,
    sequence INTEGER NOT NULL DEFAULT 0,
    UNIQUE (owner, request_id)
) STRICT;

CREATE INDEX job_by_turn ON job (turn);
CREATE INDEX job_by_owner ON job (owner, number);
CREATE INDEX job_by_set ON job (distilled_set) WHERE distilled_set IS NOT NULL;
CREATE INDEX unfinished_job ON job (priority DESC, turn, number)
WHERE state NOT IN ('succeeded', 'failed', 'cancelled');

CREATE TABLE event (
    job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (job, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
    token TEXT PRIMARY KEY,
    worker TEXT NOT NULL,
    job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE
) STRICT;

CREATE INDEX lease_by_job ON lease (job);

CREATE TABLE unit (
    job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,  -- -1 prepares, -2 publishes, the others are the method's own
    class_ids TEXT NOT NULL,
    num_images INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,  -- that failed
    finished INTEGER NOT NULL DEFAULT 0 CHECK (finished IN (0, 1)),
    lease TEXT REFERENCES lease (token) ON DELETE SET NULL,
    checkpoint TEXT,
    arrays TEXT,
    result TEXT,
    PRIMARY KEY (job, number),
    CHECK (NOT (finished AND lease IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX unit_by_lease ON unit (lease) WHERE lease IS NOT NULL;
CREATE INDEX unit_to_lease ON unit (job, number) WHERE lease IS NULL AND finished = 0;
CREATE INDEX unit_by_checkpoint ON unit (checkpoint) WHERE checkpoint IS NOT NULL;
CREATE INDEX unit_by_arrays ON unit (arrays) WHERE arrays IS NOT NULL;

CREATE TABLE image (
    job TEXT NOT NULL,
    label INTEGER NOT NULL,
    position INTEGER NOT NULL,
    unit INTEGER NOT NULL,
    number INTEGER NOT NULL,  -- 1, 2, 3, … in the order in which the job's images were finished
    digest TEXT NOT NULL,
    nbytes INTEGER NOT NULL,
    row TEXT NOT NULL,
    PRIMARY KEY (job, label, position),
    UNIQUE (job, number),
    FOREIGN KEY (job, unit) REFERENCES unit (job, number) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX image_by_unit ON image (job, unit);
CREATE INDEX image_by_digest ON image (digest);

CREATE TABLE dataset (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    request_id TEXT,
    display_name TEXT NOT NULL,
    path TEXT NOT NULL,
    uploaded INTEGER NOT NULL CHECK (uploaded IN (0, 1)),
    state TEXT NOT NULL CHECK (state IN ('uploading', 'checking', 'ready', 'failed')),
    nbytes INTEGER NOT NULL,
    num_images INTEGER NOT NULL,
    num_classes INTEGER NOT NULL,
    digest TEXT NOT NULL,
    received_nbytes INTEGER NOT NULL,
    created_at REAL NOT NULL,
    failure_reason TEXT,
    failure_message TEXT,
    UNIQUE (owner, request_id)
) STRICT;
