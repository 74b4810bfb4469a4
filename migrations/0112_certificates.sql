-- Certificates for the names that we serve, made by an ACME authority.
create table acme_accounts (
  -- The authority's directory.
  directory text primary key,
  -- Its account there, sealed.
  credentials bytea not null,
  created_at timestamptz not null
);

create table certificates (
  host text primary key check (length(host) <= 253),
  -- PEM, the host's own first; null until there is one.
  chain text,
  -- Its key in PEM, sealed for this host.
  key_sealed bytea,
  not_before timestamptz,
  not_after timestamptz,
  requested_at timestamptz not null,
  -- Attempts in a row that failed, and why the last did.
  failures integer not null default 0,
  last_error text,
  started_at timestamptz,
  -- A node that takes a due row moves this ahead, so that no other tries at the same time.
  next_attempt_at timestamptz not null,
  check ((chain is null) = (key_sealed is null) and (chain is null) = (not_after is null))
);
create index certificates_due on certificates (next_attempt_at);
create index certificates_started on certificates (started_at);

-- What the authority asks for at http://<host>/.well-known/acme-challenge/<token>, on whichever node it reaches.
create table acme_challenges (
  token text primary key,
  host text not null,
  key_authorization text not null,
  expires_at timestamptz not null
);

create function certificate_announce() returns trigger language plpgsql as $$
begin
  perform pg_notify('certificate', coalesce(new.host, old.host));
  return null;
end $$;
create trigger certificate_announce after update of chain or delete on certificates
  for each row execute function certificate_announce();
