-- Content by SHA-256: stored once, reachable only through the projects that hold it.

create table content_objects (
  sha256 text primary key check (sha256 ~ '^[0-9a-f]{64}$'),
  size_bytes bigint not null check (size_bytes >= 0),
  stored_at timestamptz not null
);

-- A project's right to an object. Presence is judged here and nowhere else.
create table project_content (
  project_id uuid not null references projects,
  sha256 text not null references content_objects,
  added_at timestamptz not null,
  primary key (project_id, sha256)
);
create index project_content_by_object on project_content (sha256);

-- How much content an account's projects hold together: one row to lock, so that parallel uploads cannot pass the limit.
create table content_usage (
  account_id uuid primary key references accounts,
  bytes bigint not null default 0 check (bytes >= 0)
);

create table content_plans (
  id uuid primary key,
  project_id uuid not null references projects,
  state text not null check (state in ('open', 'committed')),
  created_at timestamptz not null,
  expires_at timestamptz not null
);

create table uploads (
  id uuid primary key,
  project_id uuid not null references projects,
  content_plan_id uuid references content_plans,
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  size_bytes bigint not null check (size_bytes >= 0),
  content_type text,
  staging_key text not null,
  state text not null check (state in ('open', 'completed', 'aborted')),
  created_at timestamptz not null,
  expires_at timestamptz not null,
  completed_at timestamptz
);
create index uploads_by_plan on uploads (content_plan_id);
create index uploads_open on uploads (expires_at) where state = 'open';
