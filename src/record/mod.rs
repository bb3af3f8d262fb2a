//! Owns: what a run leaves behind: the metric registry, the metrics writer, the log.
//! Must not know: tensors, terminals, how a metric is computed.
//! Invariant: what is recorded can be read by others while the run goes on.

pub mod registry;
