//! Owns: a request to a trainer of another process that has no answer yet.
//! Must not know: who waits for the answer.
//! Invariant: none beyond its parts.

use crate::record::requests::SentRequest;
use crate::schema::protocol::Command;
use std::time::Instant;

/// A request without an answer.
#[derive(Debug)]
pub struct OpenRequest {
    pub sent: SentRequest,
    pub command: Command,
    pub since: Instant,
    /// Whether it was said that there is no answer yet.
    pub late: bool,
}
