-- The whole current schema. A new file is made from it; older files come to it by the steps in migrations/.
-- Times are milliseconds since 1970 UTC, ids are text with a prefix, hashes are blobs, money is micro-dollars.

CREATE TABLE station (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Tenants and people -----------------------------------------------------------------------------------------------

CREATE TABLE orgs (
    id         TEXT PRIMARY KEY NOT NULL,
    slug       TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    -- domain::plan::Plan; what is not known counts as free.
    plan       TEXT NOT NULL DEFAULT 'free',
    -- Asked to be deleted: nobody gets in, and after its grace period everything in it is deleted.
    deleted_at INTEGER,
    purge_at   INTEGER,
    deleted_by TEXT REFERENCES principals (id) ON DELETE SET NULL,
    -- When it last got a slot beside others that waited, by count: what goes round.
    served     INTEGER NOT NULL DEFAULT 0,
    -- Uncompressed bytes of its payloads and blobs; the triggers beside those tables keep it.
    stored_bytes INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX orgs_by_deleter ON orgs (deleted_by) WHERE deleted_by IS NOT NULL;
CREATE INDEX orgs_to_purge ON orgs (purge_at) WHERE purge_at IS NOT NULL;

CREATE TABLE workspaces (
    id         TEXT PRIMARY KEY NOT NULL,
    org_id     TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    slug       TEXT NOT NULL,
    name       TEXT NOT NULL,
    -- Nobody gets in any more, and everything in it is being deleted.
    deleted_at INTEGER,
    created_at INTEGER NOT NULL,
    UNIQUE (org_id, slug),
    UNIQUE (org_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX workspaces_to_purge ON workspaces (id) WHERE deleted_at IS NOT NULL;

CREATE TABLE principals (
    id         TEXT PRIMARY KEY NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('user', 'service')),
    name       TEXT NOT NULL,
    -- Of a service: what it is for, and who made it.
    note       TEXT NOT NULL DEFAULT '',
    created_by TEXT REFERENCES principals (id) ON DELETE SET NULL,
    -- Whether it looks after the station itself: organizations, mail, security.
    station_admin INTEGER NOT NULL DEFAULT 0 CHECK (station_admin IN (0, 1)),
    disabled_at INTEGER,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX principals_station_admins ON principals (id) WHERE station_admin = 1;
CREATE INDEX principals_by_maker ON principals (created_by) WHERE created_by IS NOT NULL;

CREATE TABLE users (
    principal_id  TEXT PRIMARY KEY NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    -- Lower case, trimmed.
    email         TEXT NOT NULL UNIQUE,
    -- PHC string.
    password_hash TEXT NOT NULL,
    password_changed_at INTEGER NOT NULL,
    -- The last time.
    signed_in_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX users_never_signed_in ON users (principal_id) WHERE signed_in_at IS NULL;

-- Second factors of a sign-in. The secret is sealed (crypto::seal).
CREATE TABLE totp (
    principal_id TEXT PRIMARY KEY NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    secret       BLOB NOT NULL,
    created_at   INTEGER NOT NULL,
    -- NULL until a first code has shown that the app has it.
    confirmed_at INTEGER,
    -- The time step of the last code that was taken: each is good once.
    last_step    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE recovery_codes (
    principal_id TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    code_hash    BLOB NOT NULL,
    used_at      INTEGER,
    PRIMARY KEY (principal_id, code_hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE passkeys (
    id            TEXT PRIMARY KEY NOT NULL,
    principal_id  TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    credential_id BLOB NOT NULL UNIQUE,
    -- JSON: public key and counter.
    credential    TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    last_used_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX passkeys_by_principal ON passkeys (principal_id, created_at);

CREATE TABLE members (
    org_id       TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    principal_id TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    role         TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'builder', 'operator', 'viewer')),
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (org_id, principal_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_principal ON members (principal_id);
CREATE INDEX members_in_charge ON members (principal_id, org_id) WHERE role IN ('owner', 'admin');

CREATE TABLE sessions (
    id           TEXT PRIMARY KEY NOT NULL,
    token_hash   BLOB NOT NULL UNIQUE,
    principal_id TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    created_at   INTEGER NOT NULL,
    seen_at      INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    user_agent   TEXT NOT NULL DEFAULT '',
    address      TEXT NOT NULL DEFAULT '',
    -- How it was begun.
    factor       TEXT NOT NULL DEFAULT 'password' CHECK (factor IN ('password', 'totp', 'recovery', 'passkey', 'link')),
    -- When its person last proved who they are: sensitive actions want this to be recent.
    proved_at    INTEGER NOT NULL,
    -- Where it is at work; the first of its person's where nothing is chosen, or what was chosen is gone.
    org_id       TEXT REFERENCES orgs (id) ON DELETE SET NULL,
    workspace_id TEXT REFERENCES workspaces (id) ON DELETE SET NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_org ON sessions (org_id) WHERE org_id IS NOT NULL;
CREATE INDEX sessions_by_workspace ON sessions (workspace_id) WHERE workspace_id IS NOT NULL;
CREATE INDEX sessions_by_principal ON sessions (principal_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_use ON sessions (seen_at);

-- One-time links: the first set-up, a demo's sign-in, a new password.
CREATE TABLE one_time_links (
    token_hash   BLOB PRIMARY KEY NOT NULL,
    purpose      TEXT NOT NULL CHECK (purpose IN ('setup', 'sign_in', 'reset')),
    principal_id TEXT REFERENCES principals (id) ON DELETE CASCADE,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    used_at      INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX one_time_links_by_principal ON one_time_links (principal_id);
CREATE INDEX one_time_links_by_expiry ON one_time_links (expires_at);

-- Links with which a person joins an organization.
CREATE TABLE invitations (
    id          TEXT PRIMARY KEY NOT NULL,
    org_id      TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    -- Lower case, trimmed: only this address can accept.
    email       TEXT NOT NULL,
    role        TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'builder', 'operator', 'viewer')),
    token_hash  BLOB NOT NULL UNIQUE,
    invited_by  TEXT REFERENCES principals (id) ON DELETE SET NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    accepted_at INTEGER,
    revoked_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX invitations_by_org ON invitations (org_id, id);
CREATE INDEX invitations_by_email ON invitations (email);
CREATE UNIQUE INDEX invitations_open ON invitations (org_id, email) WHERE accepted_at IS NULL AND revoked_at IS NULL;
CREATE INDEX invitations_by_inviter ON invitations (invited_by) WHERE invited_by IS NOT NULL;

CREATE TABLE api_keys (
    -- The public part of the key.
    id           TEXT PRIMARY KEY NOT NULL,
    org_id       TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    principal_id TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    secret_hash  BLOB NOT NULL,
    -- JSON list of permissions, NULL for all that the principal has.
    scopes       TEXT,
    -- Who made it: of a service's key a person. It can never do more than both may.
    created_by   TEXT REFERENCES principals (id) ON DELETE SET NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER,
    revoked_at   INTEGER,
    -- The key that was made to take its place.
    replaced_by  TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_by_maker ON api_keys (created_by) WHERE created_by IS NOT NULL;
CREATE INDEX api_keys_by_org ON api_keys (org_id, created_at);
CREATE INDEX api_keys_by_principal ON api_keys (principal_id);
CREATE INDEX api_keys_open ON api_keys (expires_at) WHERE revoked_at IS NULL;

CREATE TABLE audit_log (
    -- An organization's id, or 'station'.
    chain      TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    actor      TEXT,
    credential TEXT,
    -- Which one: a key's public part, a session's id.
    credential_id TEXT,
    action     TEXT NOT NULL,
    target     TEXT NOT NULL DEFAULT '',
    outcome    TEXT NOT NULL CHECK (outcome IN ('ok', 'denied', 'failed')),
    -- Of the same within a minute: action, actor, credential, address, target, outcome and detail.
    count      INTEGER NOT NULL DEFAULT 1,
    request_id TEXT,
    detail     TEXT NOT NULL DEFAULT '{}',
    -- Digest of the digests that audit_persons has for the row; NULL where it has nothing.
    person     BLOB,
    -- HMAC over the row before's and these fields.
    hash       BLOB NOT NULL,
    PRIMARY KEY (chain, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_log_by_time ON audit_log (chain, at);
CREATE INDEX audit_log_by_actor ON audit_log (actor, chain, at) WHERE actor IS NOT NULL;
CREATE INDEX audit_log_by_action ON audit_log (chain, action, at);
CREATE TRIGGER audit_log_keeps_rows BEFORE DELETE ON audit_log BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
-- A repeat raises the count of a chain's newest row, and nothing else ever changes.
CREATE TRIGGER audit_log_keeps_values BEFORE UPDATE ON audit_log
WHEN new.count <> old.count + 1 OR new.chain <> old.chain OR new.seq <> old.seq OR new.at <> old.at OR new.actor IS NOT old.actor
    OR new.credential IS NOT old.credential OR new.credential_id IS NOT old.credential_id OR new.action <> old.action
    OR new.target <> old.target OR new.outcome <> old.outcome OR new.request_id IS NOT old.request_id OR new.detail <> old.detail
    OR new.person IS NOT old.person OR EXISTS (SELECT 1 FROM audit_log l WHERE l.chain = old.chain AND l.seq > old.seq)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
-- INSERT OR REPLACE is a deletion that no trigger sees.
CREATE TRIGGER audit_log_grows BEFORE INSERT ON audit_log
WHEN EXISTS (SELECT 1 FROM audit_log l WHERE l.chain = new.chain AND l.seq >= new.seq)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

-- What of an audit row is about a person, apart from it: erasing a person blanks this and leaves the chain verifiable.
CREATE TABLE audit_persons (
    chain        TEXT NOT NULL,
    seq          INTEGER NOT NULL,
    -- Who did it, or whom it was done to.
    part         TEXT NOT NULL CHECK (part IN ('actor', 'subject')),
    principal_id TEXT,
    -- Of a subject that is no user, until it is erased.
    email        TEXT,
    -- NULL, like the fields, once the person is erased.
    salt         BLOB,
    -- JSON: name, email, address, user_agent.
    fields       TEXT,
    -- SHA-256 over salt and fields.
    digest       BLOB NOT NULL,
    PRIMARY KEY (chain, seq, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_persons_by_principal ON audit_persons (principal_id) WHERE principal_id IS NOT NULL;
CREATE INDEX audit_persons_by_email ON audit_persons (email) WHERE email IS NOT NULL;
CREATE TRIGGER audit_persons_keeps_rows BEFORE DELETE ON audit_persons BEGIN
    SELECT RAISE(ABORT, 'persons of the audit log are blanked, not deleted');
END;
CREATE TRIGGER audit_persons_keeps_values BEFORE UPDATE ON audit_persons
WHEN new.chain <> old.chain OR new.seq <> old.seq OR new.part <> old.part OR new.principal_id IS NOT old.principal_id
    OR new.digest <> old.digest OR new.salt IS NOT NULL OR new.fields IS NOT NULL OR new.email IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'persons of the audit log are blanked, not changed');
END;

-- What agents of an organization, or of one of its workspaces, may do beyond or below their manifests. The newest version holds.
CREATE TABLE policies (
    org_id       TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    -- Empty for the organization's own.
    workspace_id TEXT NOT NULL DEFAULT '',
    version      INTEGER NOT NULL,
    -- JSON of domain::policy::Rules.
    rules        TEXT NOT NULL,
    note         TEXT NOT NULL DEFAULT '',
    created_by   TEXT REFERENCES principals (id) ON DELETE SET NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (org_id, workspace_id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX policies_by_author ON policies (created_by) WHERE created_by IS NOT NULL;

CREATE TABLE idempotency_keys (
    org_id       TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    route        TEXT NOT NULL,
    key          TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    -- NULL while the first request is still at work.
    status       INTEGER,
    body         BLOB,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (org_id, route, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Agents -----------------------------------------------------------------------------------------------------------

CREATE TABLE agents (
    id                TEXT PRIMARY KEY NOT NULL,
    org_id            TEXT NOT NULL,
    workspace_id      TEXT NOT NULL,
    name              TEXT NOT NULL,
    summary           TEXT NOT NULL,
    category          TEXT NOT NULL,
    runtime           TEXT NOT NULL CHECK (runtime IN ('javascript', 'component')),
    latest_version    TEXT NOT NULL,
    latest_version_id TEXT NOT NULL,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id) ON DELETE CASCADE,
    UNIQUE (org_id, workspace_id, name),
    UNIQUE (org_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE agent_versions (
    id             TEXT PRIMARY KEY NOT NULL,
    org_id         TEXT NOT NULL,
    agent_id       TEXT NOT NULL,
    version        TEXT NOT NULL,
    runtime        TEXT NOT NULL CHECK (runtime IN ('javascript', 'component')),
    manifest       TEXT NOT NULL,
    -- The whole manifest as JSON, defaults filled in.
    manifest_json  TEXT NOT NULL,
    code_digest    BLOB NOT NULL,
    code_bytes     INTEGER NOT NULL,
    input_schema   TEXT,
    readme         TEXT,
    sample_input   TEXT,
    created_by     TEXT NOT NULL REFERENCES principals (id) ON DELETE RESTRICT,
    created_at     INTEGER NOT NULL,
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, code_digest) REFERENCES blobs (org_id, digest) ON DELETE RESTRICT,
    UNIQUE (org_id, agent_id, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_versions_by_code ON agent_versions (org_id, code_digest);
CREATE INDEX agent_versions_by_author ON agent_versions (created_by);

-- Runs -------------------------------------------------------------------------------------------------------------

CREATE TABLE runs (
    id               TEXT PRIMARY KEY NOT NULL,
    org_id           TEXT NOT NULL,
    workspace_id     TEXT NOT NULL,
    environment      TEXT NOT NULL DEFAULT 'production',
    agent_id         TEXT NOT NULL,
    version_id       TEXT NOT NULL REFERENCES agent_versions (id) ON DELETE RESTRICT,
    -- As shown in lists, so that they need no join.
    agent_name       TEXT NOT NULL,
    agent_version    TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')),
    reason           TEXT,
    -- JSON: code, message, and for scripts file, line, column, stack.
    error            TEXT,
    trigger          TEXT NOT NULL,
    started_by       TEXT NOT NULL REFERENCES principals (id) ON DELETE RESTRICT,
    priority         INTEGER NOT NULL DEFAULT 0,
    input_hash       BLOB NOT NULL,
    output_hash      BLOB,
    -- Journal.
    next_seq         INTEGER NOT NULL DEFAULT 1,
    journal_bytes    INTEGER NOT NULL DEFAULT 0,
    calls            INTEGER NOT NULL DEFAULT 0,
    -- Execution.
    attempt          INTEGER NOT NULL DEFAULT 0,
    segment          INTEGER NOT NULL DEFAULT 0,
    fence            INTEGER NOT NULL DEFAULT 0,
    lease_node       TEXT,
    lease_until      INTEGER,
    -- When a waiting run goes on by itself: the next segment of a chain, or the next try.
    wake_at          INTEGER,
    -- Between two segments: what the next begins with.
    wake_on          TEXT CHECK (wake_on IN ('timer', 'message', 'retry')),
    state_hash       BLOB,
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    -- Reasons not to dispatch it, a set of bits (domain::run::Hold).
    holds            INTEGER NOT NULL DEFAULT 0,
    -- The budget for which it was last held.
    held_budget_id   TEXT,
    -- Order of what others complete for it, see waits.
    next_signal      INTEGER NOT NULL DEFAULT 1,
    next_message     INTEGER NOT NULL DEFAULT 1,
    -- Whether people talk with it.
    session          INTEGER NOT NULL DEFAULT 0 CHECK (session IN (0, 1)),
    -- Whether its starter named the version; otherwise the next segment takes a newer one of the same state format.
    pinned           INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
    -- Where calls, journal_bytes and active_ms stood when the current turn began: limits hold from one message to the next.
    turn_calls       INTEGER NOT NULL DEFAULT 0,
    turn_bytes       INTEGER NOT NULL DEFAULT 0,
    turn_ms          INTEGER NOT NULL DEFAULT 0,
    -- JSON of domain::retry::RetryPolicy.
    retry            TEXT NOT NULL DEFAULT '{}',
    -- Automatic tries made of the current segment.
    tries            INTEGER NOT NULL DEFAULT 0,
    -- Failed, and nobody has dealt with it yet.
    dead             INTEGER NOT NULL DEFAULT 0 CHECK (dead IN (0, 1)),
    -- The run that started it, and by which call.
    parent_run_id    TEXT REFERENCES runs (id) ON DELETE SET NULL,
    parent_segment   INTEGER,
    parent_call      INTEGER,
    parent_sub       INTEGER,
    depth            INTEGER NOT NULL DEFAULT 0,
    -- Whether it has had waits, children or a parent, so that its end concerns others.
    entangled        INTEGER NOT NULL DEFAULT 0 CHECK (entangled IN (0, 1)),
    -- The run and entry that it was forked from, and whether its writes ask first.
    forked_from      TEXT REFERENCES runs (id) ON DELETE SET NULL,
    forked_seq       INTEGER,
    ask_writes       INTEGER NOT NULL DEFAULT 0 CHECK (ask_writes IN (0, 1)),
    -- Sums.
    fuel             INTEGER NOT NULL DEFAULT 0,
    active_ms        INTEGER NOT NULL DEFAULT 0,
    input_tokens     INTEGER NOT NULL DEFAULT 0,
    output_tokens    INTEGER NOT NULL DEFAULT 0,
    cost_micros      INTEGER NOT NULL DEFAULT 0,
    -- Its own and of all runs below it: what its budget is compared with.
    tree_spent_micros INTEGER NOT NULL DEFAULT 0,
    tree_reserved_micros INTEGER NOT NULL DEFAULT 0,
    -- The most that it and the runs below it may cost; NULL where nobody said.
    budget_micros    INTEGER,
    -- The API key that it was started with.
    key_id           TEXT NOT NULL DEFAULT '',
    created_at       INTEGER NOT NULL,
    started_at       INTEGER,
    finished_at      INTEGER,
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE RESTRICT,
    UNIQUE (org_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_by_workspace ON runs (org_id, workspace_id, id);
CREATE INDEX runs_by_state ON runs (org_id, workspace_id, state, id);
CREATE INDEX runs_by_agent ON runs (org_id, agent_id, id);
-- For what runs cost: all that is asked is in it.
CREATE INDEX runs_ended ON runs (org_id, id, workspace_id, agent_id, started_by, key_id, state, cost_micros)
    WHERE state IN ('succeeded', 'failed', 'cancelled');
CREATE INDEX runs_by_version ON runs (version_id);
CREATE INDEX runs_by_starter ON runs (started_by);
CREATE INDEX runs_by_parent ON runs (parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX runs_by_fork ON runs (forked_from) WHERE forked_from IS NOT NULL;
CREATE INDEX runs_sessions ON runs (org_id, workspace_id, id) WHERE session = 1;
CREATE INDEX runs_held ON runs (org_id, workspace_id, id) WHERE holds <> 0;
CREATE INDEX runs_dead ON runs (org_id, workspace_id, id) WHERE dead = 1;
-- What the dispatcher reads: only live runs are in it.
CREATE INDEX runs_queue ON runs (org_id, priority DESC, id) WHERE state = 'queued' AND holds = 0;
CREATE INDEX runs_leased ON runs (lease_until, org_id) WHERE state = 'running';
CREATE INDEX runs_waking ON runs (wake_at) WHERE state = 'waiting' AND wake_at IS NOT NULL;

CREATE TABLE segments (
    run_id         TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    org_id         TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    segment        INTEGER NOT NULL,
    -- What executes: the component, or the JavaScript runtime.
    component_digest BLOB NOT NULL,
    -- The script's source where the component is the JavaScript runtime.
    script_digest  BLOB,
    wit_version    TEXT NOT NULL,
    -- Recorded, not pinned: where it differs on replay, fuel is not compared.
    engine         TEXT NOT NULL,
    seed           BLOB NOT NULL,
    -- JSON of the event that woke it.
    event          TEXT,
    state_hash     BLOB,
    first_seq      INTEGER NOT NULL,
    started_at     INTEGER NOT NULL,
    ended_at       INTEGER,
    fuel           INTEGER,
    -- Given up because its quota was used up: kept for viewers, ignored by replay.
    abandoned      INTEGER NOT NULL DEFAULT 0 CHECK (abandoned IN (0, 1)),
    -- JSON: who asked for it, and the quota.
    ask            TEXT,
    PRIMARY KEY (run_id, segment)
) STRICT, WITHOUT ROWID;
CREATE INDEX segments_by_org ON segments (org_id);

CREATE TABLE journal (
    run_id        TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq           INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    lane          TEXT NOT NULL CHECK (lane IN ('station', 'guest')),
    attempt       INTEGER NOT NULL,
    segment       INTEGER NOT NULL,
    call          INTEGER,
    sub           INTEGER,
    phase         TEXT NOT NULL CHECK (phase IN ('start', 'end', 'point')),
    kind          TEXT NOT NULL,
    class         TEXT,
    fingerprint   BLOB,
    fuel          INTEGER,
    step          INTEGER,
    actor         TEXT,
    audience      INTEGER NOT NULL DEFAULT 0,
    meta          TEXT NOT NULL DEFAULT '{}',
    -- A payload is in the row, or beside it under its hash; never both.
    request       TEXT,
    request_ref   BLOB,
    request_bytes INTEGER NOT NULL DEFAULT 0,
    response      TEXT,
    response_ref  BLOB,
    response_bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

-- What a run waits for: each row is completed by someone else.
CREATE TABLE waits (
    run_id   TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    org_id   TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    -- The call that waits.
    segment  INTEGER NOT NULL,
    call     INTEGER NOT NULL,
    sub      INTEGER NOT NULL,
    kind     TEXT NOT NULL CHECK (kind IN ('timer', 'approval', 'message', 'child', 'ask')),
    -- The approval, or the child run.
    target   TEXT,
    due_at   INTEGER,
    -- Whether the run is parked on it, as against having opened it for later.
    awaited  INTEGER NOT NULL DEFAULT 0 CHECK (awaited IN (0, 1)),
    -- When it was completed, in the order of the run's signals.
    signal   INTEGER,
    -- JSON of domain::wait::Outcome.
    outcome  TEXT,
    PRIMARY KEY (run_id, segment, call, sub)
) STRICT, WITHOUT ROWID;
CREATE INDEX waits_due ON waits (due_at) WHERE signal IS NULL AND due_at IS NOT NULL;
CREATE INDEX waits_by_target ON waits (target) WHERE signal IS NULL AND target IS NOT NULL;
CREATE INDEX waits_by_org ON waits (org_id);

-- Decisions of people, asked for by a run.
CREATE TABLE approvals (
    id           TEXT PRIMARY KEY NOT NULL,
    org_id       TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    run_id       TEXT NOT NULL,
    -- The call that waits for it.
    segment      INTEGER NOT NULL,
    call         INTEGER NOT NULL,
    sub          INTEGER NOT NULL,
    -- The entry that asked, for links into the timeline.
    seq          INTEGER NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('action', 'question', 'unknown_outcome')),
    agent_name   TEXT NOT NULL,
    action       TEXT NOT NULL,
    -- JSON.
    arguments    TEXT NOT NULL,
    reason       TEXT NOT NULL,
    -- The policy's rule that asked; empty where the agent did.
    rule         TEXT NOT NULL DEFAULT '',
    -- JSON list.
    verbs        TEXT NOT NULL,
    -- How many people must agree.
    quorum       INTEGER NOT NULL DEFAULT 1,
    -- The least role that may decide, and whether whoever started the run may.
    min_role     TEXT NOT NULL DEFAULT 'operator' CHECK (min_role IN ('owner', 'admin', 'builder', 'operator')),
    self_approval INTEGER NOT NULL DEFAULT 1 CHECK (self_approval IN (0, 1)),
    due_at       INTEGER,
    on_timeout   TEXT NOT NULL CHECK (on_timeout IN ('cancel', 'deny')),
    state        TEXT NOT NULL CHECK (state IN ('pending', 'decided', 'expired', 'withdrawn')),
    -- The verb that was decided.
    verb         TEXT,
    -- JSON, where they were edited or a person entered the answer.
    decided_arguments TEXT,
    decided_reason TEXT,
    decided_by   TEXT REFERENCES principals (id) ON DELETE SET NULL,
    decided_at   INTEGER,
    created_at   INTEGER NOT NULL,
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX approvals_by_state ON approvals (org_id, workspace_id, state, id);
CREATE INDEX approvals_by_run ON approvals (org_id, run_id, id);
CREATE INDEX approvals_by_decider ON approvals (decided_by) WHERE decided_by IS NOT NULL;

-- What each person said.
CREATE TABLE approval_decisions (
    approval_id  TEXT NOT NULL REFERENCES approvals (id) ON DELETE CASCADE,
    principal_id TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    verb         TEXT NOT NULL,
    arguments    TEXT,
    reason       TEXT NOT NULL,
    at           INTEGER NOT NULL,
    PRIMARY KEY (approval_id, principal_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX approval_decisions_by_principal ON approval_decisions (principal_id);

-- Leave for one exact action of one run.
CREATE TABLE grants (
    approval_id TEXT PRIMARY KEY NOT NULL REFERENCES approvals (id) ON DELETE CASCADE,
    org_id      TEXT NOT NULL,
    run_id      TEXT NOT NULL,
    -- Of function and canonical arguments.
    fingerprint BLOB NOT NULL,
    used_at     INTEGER,
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_unused ON grants (org_id, run_id, fingerprint) WHERE used_at IS NULL;
CREATE INDEX grants_by_run ON grants (org_id, run_id);

-- Messages to a run, in order.
CREATE TABLE messages (
    run_id     TEXT NOT NULL,
    message    INTEGER NOT NULL,
    org_id     TEXT NOT NULL,
    id         TEXT NOT NULL UNIQUE,
    sender     TEXT REFERENCES principals (id) ON DELETE SET NULL,
    sender_name TEXT NOT NULL,
    text       TEXT NOT NULL,
    sent_at    INTEGER NOT NULL,
    -- JSON: the run that asks, its call, and the quota.
    ask        TEXT,
    -- Whether a segment or a call has taken it.
    taken      INTEGER NOT NULL DEFAULT 0 CHECK (taken IN (0, 1)),
    PRIMARY KEY (run_id, message),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX messages_waiting ON messages (run_id, message) WHERE taken = 0;
CREATE INDEX messages_by_run ON messages (org_id, run_id);
CREATE INDEX messages_by_sender ON messages (sender) WHERE sender IS NOT NULL;

CREATE TABLE payloads (
    org_id   TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    hash     BLOB NOT NULL,
    -- 'json': the text; 'chat': a head and the hashes of the messages; 'bytes': anything.
    form     TEXT NOT NULL CHECK (form IN ('json', 'chat', 'bytes')),
    -- Uncompressed.
    bytes    INTEGER NOT NULL,
    compressed INTEGER NOT NULL CHECK (compressed IN (0, 1)),
    body     BLOB NOT NULL,
    PRIMARY KEY (org_id, hash)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER payloads_count_up AFTER INSERT ON payloads BEGIN
    UPDATE orgs SET stored_bytes = stored_bytes + NEW.bytes WHERE id = NEW.org_id;
END;
CREATE TRIGGER payloads_count_down AFTER DELETE ON payloads BEGIN
    UPDATE orgs SET stored_bytes = stored_bytes - OLD.bytes WHERE id = OLD.org_id;
END;

CREATE TABLE blobs (
    org_id     TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    digest     BLOB NOT NULL,
    bytes      INTEGER NOT NULL,
    chunks     INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org_id, digest)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER blobs_count_up AFTER INSERT ON blobs BEGIN
    UPDATE orgs SET stored_bytes = stored_bytes + NEW.bytes WHERE id = NEW.org_id;
END;
CREATE TRIGGER blobs_count_down AFTER DELETE ON blobs BEGIN
    UPDATE orgs SET stored_bytes = stored_bytes - OLD.bytes WHERE id = OLD.org_id;
END;

CREATE TABLE blob_chunks (
    org_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    chunk  INTEGER NOT NULL,
    compressed INTEGER NOT NULL CHECK (compressed IN (0, 1)),
    body   BLOB NOT NULL,
    PRIMARY KEY (org_id, digest, chunk),
    FOREIGN KEY (org_id, digest) REFERENCES blobs (org_id, digest) ON DELETE CASCADE
) STRICT;

-- Runtime components of the station itself, by digest, so that old segments can finish after an upgrade.
CREATE TABLE runtime_components (
    digest     BLOB PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL,
    body       BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE memory (
    org_id      TEXT NOT NULL,
    agent_id    TEXT NOT NULL,
    environment TEXT NOT NULL,
    key         TEXT NOT NULL,
    value       TEXT NOT NULL,
    version     INTEGER NOT NULL,
    -- In a fork's own environment: the key is gone there, whatever lies beneath.
    deleted     INTEGER NOT NULL DEFAULT 0 CHECK (deleted IN (0, 1)),
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (org_id, agent_id, environment, key),
    FOREIGN KEY (org_id, agent_id) REFERENCES agents (org_id, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    run_id       TEXT NOT NULL,
    org_id       TEXT NOT NULL,
    name         TEXT NOT NULL,
    content_type TEXT NOT NULL,
    bytes        INTEGER NOT NULL,
    digest       BLOB NOT NULL,
    -- The entry that put it.
    seq          INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (run_id, name),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id) ON DELETE CASCADE,
    FOREIGN KEY (org_id, digest) REFERENCES blobs (org_id, digest) ON DELETE RESTRICT
) STRICT, WITHOUT ROWID;
CREATE INDEX artifacts_by_digest ON artifacts (org_id, digest);
CREATE INDEX artifacts_by_run ON artifacts (org_id, run_id);

-- Models -----------------------------------------------------------------------------------------------------------

-- Servers of language models that an admin has named: of an organization, or, without one, the station's own, for all.
CREATE TABLE providers (
    id         TEXT PRIMARY KEY NOT NULL,
    org_id     TEXT REFERENCES orgs (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('openai', 'anthropic', 'scripted')),
    -- What it was made from: 'openai', 'openrouter', 'ollama', …; prices are looked up under it.
    preset     TEXT NOT NULL,
    base_url   TEXT NOT NULL DEFAULT '',
    -- Its key, in secrets; none where the server wants none.
    key_secret_id TEXT REFERENCES secrets (id) ON DELETE SET NULL,
    -- Of a scripted one: its rules.
    rules      TEXT NOT NULL DEFAULT '',
    -- Whether a model without a price costs nothing here; otherwise it is refused.
    free       INTEGER NOT NULL DEFAULT 0 CHECK (free IN (0, 1)),
    enabled    INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    -- JSON of domain::provider::Limits: time-outs, calls at once, tokens in a minute.
    limits     TEXT NOT NULL DEFAULT '{}',
    -- JSON list of the models it last said it has.
    models     TEXT NOT NULL DEFAULT '[]',
    models_at  INTEGER,
    version    INTEGER NOT NULL DEFAULT 1,
    created_by TEXT REFERENCES principals (id) ON DELETE SET NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX providers_by_name ON providers (COALESCE(org_id, ''), name);
CREATE INDEX providers_by_org ON providers (org_id);
CREATE INDEX providers_by_maker ON providers (created_by) WHERE created_by IS NOT NULL;
CREATE INDEX providers_by_key ON providers (key_secret_id) WHERE key_secret_id IS NOT NULL;

-- The names by which agents of a workspace ask models: each a list of providers' models, tried in order.
CREATE TABLE model_aliases (
    org_id       TEXT NOT NULL,
    workspace_id TEXT NOT NULL,
    name         TEXT NOT NULL,
    -- JSON list of domain::provider::Link.
    chain        TEXT NOT NULL,
    version      INTEGER NOT NULL DEFAULT 1,
    updated_by   TEXT REFERENCES principals (id) ON DELETE SET NULL,
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (org_id, workspace_id, name),
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX model_aliases_by_author ON model_aliases (updated_by) WHERE updated_by IS NOT NULL;

-- What an organization, or without one the station, says a model costs; what it does not say is in the list that ships with the program.
CREATE TABLE prices (
    id         TEXT PRIMARY KEY NOT NULL,
    org_id     TEXT REFERENCES orgs (id) ON DELETE CASCADE,
    -- A provider's preset or name; '*' for any.
    provider   TEXT NOT NULL,
    -- A model's name, in which * stands for any characters.
    model      TEXT NOT NULL,
    from_at    INTEGER NOT NULL,
    -- JSON of domain::price::Tariff.
    tariff     TEXT NOT NULL,
    note       TEXT NOT NULL DEFAULT '',
    created_by TEXT REFERENCES principals (id) ON DELETE SET NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX prices_by_model ON prices (COALESCE(org_id, ''), provider, model, from_at);
CREATE INDEX prices_by_org ON prices (org_id);
CREATE INDEX prices_by_maker ON prices (created_by) WHERE created_by IS NOT NULL;

-- Secrets ----------------------------------------------------------------------------------------------------------

-- The keys that seal secrets, one in use for each organization and one for the station, each sealed by the master key.
CREATE TABLE data_keys (
    id         TEXT PRIMARY KEY NOT NULL,
    org_id     TEXT REFERENCES orgs (id) ON DELETE CASCADE,
    -- By crypto::seal.
    wrapped    BLOB NOT NULL,
    -- Fingerprint of the master key that sealed it.
    master     TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX data_keys_by_org ON data_keys (org_id, created_at);
CREATE INDEX data_keys_by_master ON data_keys (master, id);

CREATE TABLE secrets (
    id           TEXT PRIMARY KEY NOT NULL,
    -- NULL: the station's.
    org_id       TEXT REFERENCES orgs (id) ON DELETE CASCADE,
    -- NULL: of the whole organization.
    workspace_id TEXT REFERENCES workspaces (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    -- 'agents' write its name in requests; a 'provider' or a 'channel' has it as its key.
    purpose      TEXT NOT NULL CHECK (purpose IN ('agents', 'provider', 'channel')),
    note         TEXT NOT NULL DEFAULT '',
    -- JSON list of domain::secret::Binding: which agents may send it where.
    bindings     TEXT NOT NULL DEFAULT '[]',
    -- The version that is sent.
    current      INTEGER NOT NULL DEFAULT 1,
    -- Of the row, for If-Match.
    version      INTEGER NOT NULL DEFAULT 1,
    created_by   TEXT REFERENCES principals (id) ON DELETE SET NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX secrets_by_name ON secrets (COALESCE(org_id, ''), COALESCE(workspace_id, ''), purpose, name);
CREATE INDEX secrets_by_org ON secrets (org_id, purpose, name);
CREATE INDEX secrets_by_workspace ON secrets (workspace_id) WHERE workspace_id IS NOT NULL;
CREATE INDEX secrets_by_maker ON secrets (created_by) WHERE created_by IS NOT NULL;

CREATE TABLE secret_versions (
    secret_id   TEXT NOT NULL REFERENCES secrets (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    -- 'sealed' is here; 'env' and 'file' are looked up where place says.
    source      TEXT NOT NULL CHECK (source IN ('sealed', 'env', 'file')),
    place       TEXT NOT NULL DEFAULT '',
    data_key_id TEXT REFERENCES data_keys (id) ON DELETE RESTRICT,
    sealed      BLOB,
    created_by  TEXT REFERENCES principals (id) ON DELETE SET NULL,
    created_at  INTEGER NOT NULL,
    -- Not sent any more, and its sealed value is gone.
    destroyed_at INTEGER,
    PRIMARY KEY (secret_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX secret_versions_by_data_key ON secret_versions (data_key_id) WHERE data_key_id IS NOT NULL;
CREATE INDEX secret_versions_by_maker ON secret_versions (created_by) WHERE created_by IS NOT NULL;

-- Which secrets a run has sent: what comes back to it is searched for them, after a restart as well.
CREATE TABLE run_secrets (
    run_id    TEXT NOT NULL,
    org_id    TEXT NOT NULL,
    secret_id TEXT NOT NULL REFERENCES secrets (id) ON DELETE CASCADE,
    number    INTEGER NOT NULL,
    PRIMARY KEY (run_id, secret_id, number),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX run_secrets_by_secret ON run_secrets (secret_id);
CREATE INDEX run_secrets_by_run ON run_secrets (org_id, run_id);

-- Hosts that a run has sent requests to, redirects included.
CREATE TABLE run_hosts (
    run_id       TEXT NOT NULL,
    org_id       TEXT NOT NULL,
    -- With its port where that is not the usual one.
    host         TEXT NOT NULL,
    requests     INTEGER NOT NULL,
    -- Of these, those that can change something there.
    writes       INTEGER NOT NULL,
    sent_bytes   INTEGER NOT NULL,
    received_bytes INTEGER NOT NULL,
    first_at     INTEGER NOT NULL,
    last_at      INTEGER NOT NULL,
    PRIMARY KEY (run_id, host),
    FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX run_hosts_by_run ON run_hosts (org_id, run_id);

-- Money ------------------------------------------------------------------------------------------------------------

-- What was used and what it cost: one line for each try of each call, and for what runs use beside calls. Outlives the run.
CREATE TABLE ledger (
    id          TEXT PRIMARY KEY NOT NULL,
    org_id      TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    workspace_id TEXT NOT NULL,
    environment TEXT NOT NULL,
    run_id      TEXT NOT NULL,
    agent_id    TEXT NOT NULL,
    -- Who started the run, and with which API key; empty where it was none.
    principal_id TEXT NOT NULL,
    key_id      TEXT NOT NULL DEFAULT '',
    segment     INTEGER NOT NULL,
    call        INTEGER NOT NULL,
    sub         INTEGER NOT NULL,
    try         INTEGER NOT NULL,
    -- A correction adds to another line what a new price makes of it.
    kind        TEXT NOT NULL CHECK (kind IN ('model', 'http', 'tool', 'fuel', 'storage', 'session', 'correction')),
    -- Of a model: its provider's preset, its provider's name, and the model's name there. Of http the host, of a tool its name.
    provider    TEXT NOT NULL,
    provider_name TEXT NOT NULL DEFAULT '',
    model       TEXT NOT NULL,
    -- The line that a correction is about.
    corrects    TEXT,
    state       TEXT NOT NULL CHECK (state IN ('reserved', 'settled', 'released')),
    reserved_micros INTEGER NOT NULL,
    -- Below zero only in a correction.
    cost_micros INTEGER NOT NULL DEFAULT 0,
    estimated   INTEGER NOT NULL DEFAULT 0 CHECK (estimated IN (0, 1)),
    input_tokens INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    -- Of what is no model call: requests, units of fuel, bytes, sessions.
    quantity    INTEGER NOT NULL DEFAULT 0,
    -- When it counts: its reservation; of a correction, that of the line it corrects.
    created_at  INTEGER NOT NULL,
    settled_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX ledger_by_try ON ledger (org_id, run_id, segment, call, sub, try, kind) WHERE kind IN ('model', 'http', 'tool');
CREATE INDEX ledger_by_run ON ledger (org_id, run_id, segment);
CREATE INDEX ledger_by_time ON ledger (org_id, created_at);
-- What is under way: few lines, however many there are.
CREATE INDEX ledger_reserved ON ledger (org_id, created_at) WHERE state = 'reserved';
CREATE INDEX ledger_by_correction ON ledger (corrects) WHERE corrects IS NOT NULL;

-- The ledger's settled lines, summed over quarters of an hour: what dashboards read. Every zone's days begin with one.
CREATE TABLE spending (
    org_id       TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    -- Milliseconds at which the quarter began.
    quarter      INTEGER NOT NULL,
    workspace_id TEXT NOT NULL,
    agent_id     TEXT NOT NULL,
    principal_id TEXT NOT NULL,
    key_id       TEXT NOT NULL,
    kind         TEXT NOT NULL,
    provider_name TEXT NOT NULL,
    model        TEXT NOT NULL,
    calls        INTEGER NOT NULL,
    estimated    INTEGER NOT NULL,
    cost_micros  INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    quantity     INTEGER NOT NULL,
    PRIMARY KEY (org_id, quarter, workspace_id, agent_id, principal_id, key_id, kind, provider_name, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE budgets (
    id           TEXT PRIMARY KEY NOT NULL,
    org_id       TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    -- What it covers; target is the id of that workspace, agent, principal or key, empty for the organization.
    scope        TEXT NOT NULL CHECK (scope IN ('org', 'workspace', 'agent', 'principal', 'key')),
    target       TEXT NOT NULL DEFAULT '',
    limit_micros INTEGER NOT NULL,
    -- domain::budget::Period, and the zone by whose clock it begins.
    period       TEXT NOT NULL CHECK (period IN ('day', 'week', 'month', 'once')),
    time_zone    TEXT NOT NULL DEFAULT 'UTC',
    on_exhausted TEXT NOT NULL DEFAULT 'hold' CHECK (on_exhausted IN ('hold', 'fail')),
    -- For a time: so much more.
    raise_micros INTEGER NOT NULL DEFAULT 0,
    raise_until  INTEGER,
    version      INTEGER NOT NULL DEFAULT 1,
    created_by   TEXT REFERENCES principals (id) ON DELETE SET NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX budgets_by_org ON budgets (org_id, id);
CREATE INDEX budgets_by_target ON budgets (org_id, scope, target);
CREATE INDEX budgets_by_maker ON budgets (created_by) WHERE created_by IS NOT NULL;

-- Sums of the ledger over a budget's windows, kept in the transactions that write the ledger. Made from the ledger when first looked at.
CREATE TABLE budget_windows (
    budget_id    TEXT NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    starts_at    INTEGER NOT NULL,
    -- NULL: never.
    ends_at      INTEGER,
    spent_micros INTEGER NOT NULL,
    reserved_micros INTEGER NOT NULL,
    -- The highest percentage that was told, so that each is told once.
    alerted      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (budget_id, starts_at)
) STRICT, WITHOUT ROWID;

-- What people of an organization are told; each has read it or not.
CREATE TABLE notifications (
    id         TEXT PRIMARY KEY NOT NULL,
    org_id     TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    -- Only those of at least this role see it.
    min_role   TEXT NOT NULL CHECK (min_role IN ('owner', 'admin', 'builder', 'operator', 'viewer')),
    tone       TEXT NOT NULL CHECK (tone IN ('ok', 'info', 'wait', 'fail')),
    title      TEXT NOT NULL,
    body       TEXT NOT NULL DEFAULT '',
    -- A path of the station.
    link       TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX notifications_by_org ON notifications (org_id, id);

-- Up to which notification somebody has read.
CREATE TABLE notifications_read (
    org_id       TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    principal_id TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    up_to        TEXT NOT NULL,
    PRIMARY KEY (org_id, principal_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX notifications_read_by_principal ON notifications_read (principal_id);

-- Where an organization's alerts go beside the station itself.
CREATE TABLE channels (
    id         TEXT PRIMARY KEY NOT NULL,
    org_id     TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('mail', 'slack', 'webhook')),
    -- Of mail: the address. Of the others the host, for people; the whole address is a secret.
    target     TEXT NOT NULL,
    secret_id  TEXT REFERENCES secrets (id) ON DELETE SET NULL,
    enabled    INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    version    INTEGER NOT NULL DEFAULT 1,
    -- Of the last letter or call: when, and what went wrong.
    last_at    INTEGER,
    last_error TEXT NOT NULL DEFAULT '',
    created_by TEXT REFERENCES principals (id) ON DELETE SET NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (org_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX channels_by_secret ON channels (secret_id) WHERE secret_id IS NOT NULL;
CREATE INDEX channels_by_maker ON channels (created_by) WHERE created_by IS NOT NULL;

-- Notifications that are still to go out through a channel.
CREATE TABLE deliveries (
    notification_id TEXT NOT NULL REFERENCES notifications (id) ON DELETE CASCADE,
    channel_id      TEXT NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    org_id          TEXT NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    tries           INTEGER NOT NULL DEFAULT 0,
    due_at          INTEGER NOT NULL,
    PRIMARY KEY (notification_id, channel_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (due_at);
CREATE INDEX deliveries_by_channel ON deliveries (channel_id);
CREATE INDEX deliveries_by_org ON deliveries (org_id);
