-- Workflows of a CI provider that may deploy to a project.
create table ci_bindings (
  id uuid primary key,
  project_id uuid not null references projects,
  issuer text not null,
  audience text not null,
  -- The subject of a token, or its beginning and a star.
  subject_match text not null check (length(subject_match) between 1 and 256),
  allowed_events text[] not null check (cardinality(allowed_events) > 0),
  route_scopes text[] not null,
  github_repository_id text check (github_repository_id ~ '^[0-9]{1,20}$'),
  -- As it was signed, and what that means.
  expires_text text,
  expires_at timestamptz,
  nonce text not null unique,
  -- The wallet that signed.
  created_by text not null,
  -- Who signed what and when, for whoever wants to check it again.
  delegation jsonb not null,
  created_at timestamptz not null,
  revoked_at timestamptz,
  last_used_at timestamptz,
  use_count bigint not null default 0,
  check ((expires_text is null) = (expires_at is null))
);
create index ci_bindings_by_project on ci_bindings (project_id, created_at);
create unique index ci_bindings_active on ci_bindings (project_id, issuer, subject_match) where revoked_at is null;

-- What a workflow got for its token. The token itself is nowhere.
create table ci_sessions (
  token_sha256 bytea primary key check (octet_length(token_sha256) = 32),
  binding_id uuid not null references ci_bindings,
  created_at timestamptz not null,
  expires_at timestamptz not null
);
create index ci_sessions_by_end on ci_sessions (expires_at);

-- Identity tokens that were exchanged: each works once.
create table ci_tokens_used (
  token_sha256 bytea primary key check (octet_length(token_sha256) = 32),
  expires_at timestamptz not null
);
create index ci_tokens_used_by_end on ci_tokens_used (expires_at);

-- Which binding planned; null for people.
alter table deploy_plans add column ci_binding_id uuid references ci_bindings;
alter table content_plans add column ci_binding_id uuid references ci_bindings;
