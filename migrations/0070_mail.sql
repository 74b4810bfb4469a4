-- Projects whose own database may hold mail. Marked before the mail is written, so that none is forgotten, and
-- looked at until a minute after the last mark, when no request of that time can still be writing.
create table mail_marks (
  project_id uuid primary key,
  marked_at timestamptz not null,
  due_at timestamptz not null
);
create index on mail_marks (due_at);
-- Where a lab's mail ends.
create table lab_mail (
  seq bigint generated always as identity primary key,
  -- The id under which it was written: a mail that is delivered twice is there once.
  id uuid not null unique,
  project_id uuid not null,
  sender text not null,
  recipient text not null,
  template text not null,
  subject text not null,
  body text not null,
  written_at timestamptz not null
);
create index on lab_mail (recipient, seq);
