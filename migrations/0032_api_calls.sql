-- Calls of data planes, counted in memory and added up here window by window.

-- What an account used of its lease's calls; erasing a project gives none of them back.
create table account_calls (
  account_id uuid primary key references accounts,
  calls bigint not null default 0 check (calls >= 0)
);
insert into account_calls (account_id, calls)
select p.account_id, sum(u.api_calls) from project_usage u join projects p on p.id = u.project_id
group by p.account_id having sum(u.api_calls) > 0;

-- Windows that were added: the same one again adds nothing. `process` is one run of one server.
create table call_windows (
  process uuid not null,
  number bigint not null,
  account_id uuid not null references accounts,
  calls bigint not null check (calls > 0),
  flushed_at timestamptz not null default now(),
  primary key (process, number, account_id)
);
create index call_windows_old on call_windows (flushed_at);
