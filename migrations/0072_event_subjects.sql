-- Which session or payment at Stripe a recorded event was about: a balance is explained down to the events.
alter table stripe_events add column about text;
create index stripe_events_about on stripe_events (about) where about is not null;
