-- Domains of tenants' own. A claim that is not verified keeps nobody else away: each project has a token of its own.
create table custom_domains (
  -- Lower case, international labels encoded, without the root's dot.
  domain text not null check (domain ~ '^[a-z0-9-]{1,63}([.][a-z0-9-]{1,63})+$' and length(domain) <= 253),
  project_id uuid not null references projects,
  -- The claimed name whose site it shows.
  subdomain_name text not null,
  -- What the project's owner puts into the domain's TXT record.
  token text not null,
  status text not null check (status in ('pending', 'active', 'failed')),
  -- Why it is not active, in words.
  reason text,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  verified_at timestamptz,
  -- Since when an active domain's DNS does not lead here any more.
  failing_since timestamptz,
  checked_at timestamptz,
  -- Checks in a row that did not find it in order.
  misses integer not null default 0,
  next_check_at timestamptz not null,
  primary key (domain, project_id)
);
create unique index custom_domains_one_owner on custom_domains (domain) where status = 'active';
create index custom_domains_by_project on custom_domains (project_id, created_at);
create index custom_domains_due on custom_domains (next_check_at) where status <> 'failed';

create function domain_announce() returns trigger language plpgsql as $$
begin
  perform pg_notify('domain', coalesce(new.domain, old.domain));
  return null;
end $$;
create trigger domain_announce after insert or update of status, subdomain_name or delete on custom_domains
  for each row execute function domain_announce();
