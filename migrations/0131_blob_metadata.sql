-- What a function says of a blob that it puts: a flat object. A blob that is written anew has none until it is said again.
alter table blobs add column metadata jsonb;
