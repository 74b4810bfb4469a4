//! E08: a deploy that is killed at any of its writes is resumed or not begun, and never half live.

mod garbage;
mod killed;
mod kit;
mod repeated;
