-- Blobs: named objects of a project, over the same content as its releases; and what becomes of content that
-- nobody refers to any more.

-- Part of a release: it stays until the project is erased. What only a blob refers to goes with the blob.
alter table project_content add column pinned boolean not null default true;
alter table project_content alter column pinned set default false;

create table blobs (
  project_id uuid not null references projects,
  key text collate "C" not null check (octet_length(key) between 1 and 1024),
  sha256 text not null,
  size_bytes bigint not null check (size_bytes >= 0),
  content_type text not null,
  visibility text not null check (visibility in ('public', 'private')),
  immutable boolean not null,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  primary key (project_id, key),
  foreign key (project_id, sha256) references project_content
);
create index blobs_by_content on blobs (project_id, sha256);

-- What an immutable address was given out for: never changed, and never taken back before the project is erased.
create table blob_versions (
  project_id uuid not null references projects,
  key text collate "C" not null,
  -- The part of the address.
  suffix text not null,
  sha256 text not null,
  size_bytes bigint not null check (size_bytes >= 0),
  content_type text not null,
  created_at timestamptz not null,
  primary key (project_id, key, suffix),
  check (suffix = left(sha256, 8)),
  foreign key (project_id, sha256) references project_content
);
create index blob_versions_by_content on blob_versions (project_id, sha256);

-- An upload of a blob: its digest may be unknown until its end, and it may come in parts.
alter table uploads alter column sha256 drop not null;
alter table uploads
  add column blob_key text,
  add column visibility text check (visibility in ('public', 'private')),
  add column immutable boolean,
  -- The object store's own name for an upload in parts.
  add column multipart_id text,
  add column part_size_bytes bigint check (part_size_bytes > 0),
  add constraint uploads_of_blobs
    check ((blob_key is null) = (visibility is null) and (blob_key is null) = (immutable is null)),
  add constraint uploads_in_parts check ((multipart_id is null) = (part_size_bytes is null)),
  add constraint uploads_attested check (sha256 is not null or blob_key is not null);

-- Bytes that may be garbage from then on. Written before they can be, in the transaction that gives them up or
-- before they are put; whether they are is judged when they fall due.
create table content_due (
  sha256 text primary key check (sha256 ~ '^[0-9a-f]{64}$'),
  due_at timestamptz not null
);
create index content_due_by_time on content_due (due_at);

insert into content_due (sha256, due_at)
select o.sha256, o.stored_at + interval '24 hours' from content_objects o
where not exists (select from project_content k where k.sha256 = o.sha256)
  and not exists (select from release_files f where f.sha256 = o.sha256);
