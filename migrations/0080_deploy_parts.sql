-- Everything of a release that is not a file: functions, routes, the names and keys it had when it went live.

alter table releases
  -- Sorted entries {pattern, methods, target}.
  add column routes jsonb not null default '[]',
  -- What the project had right after this release went live; null before.
  add column names text[],
  add column secret_keys text[];

create table release_functions (
  release_id uuid not null references releases,
  name text not null check (name ~ '^[A-Za-z0-9_-]{1,64}$'),
  runtime text not null,
  -- SHA-256 of the source, or of the canonical list of files with the entry point.
  code_hash text not null check (code_hash ~ '^[0-9a-f]{64}$'),
  timeout_seconds integer not null check (timeout_seconds > 0),
  memory_mb integer not null check (memory_mb > 0),
  schedule text,
  -- References into the project's content.
  source jsonb not null,
  primary key (release_id, name)
);

-- Secrets of a project's functions, sealed for their place. Deploys only ask whether a key is there.
create table function_secrets (
  project_id uuid not null references projects,
  key text not null check (key ~ '^[A-Z_][A-Z0-9_]{0,127}$'),
  sealed bytea not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  primary key (project_id, key)
);

-- The one deploy of a project that changes its database: from before the first statement to the move of the pointer no
-- other release goes live.
create table deploy_gates (
  project_id uuid primary key references projects,
  operation_id uuid not null unique references deploy_operations,
  -- Requests of the project's data are put off as well.
  blocks_data boolean not null,
  taken_at timestamptz not null
);

-- A copy of what the registry in the project's own database says, for inventories. That registry decides.
create table project_migrations (
  project_id uuid not null references projects,
  migration_id text not null,
  checksum text not null,
  operation_id uuid not null,
  applied_at timestamptz not null,
  seq bigint generated always as identity,
  primary key (project_id, migration_id)
);
