-- Bundles that are made again of the same source.

alter table function_builds
  -- Of the in-function library. Null: before it was written down.
  add column library_version text;

alter table functions
  -- Workers that were bound before serve the bundle of before.
  add column rebuilt_at timestamptz;
