//! Owns: recorded events as trace-event JSON for <https://ui.perfetto.dev> and chrome://tracing.
//! Must not know: what is recorded, and when.
//! Invariant: nested spans of a thread are drawn nested.
//!
//! The format: <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>, complete
//! events (`X`).

use super::{SpanKind, SpanRecord};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Instant;

/// Writes the events of several profiles, each as its own process.
pub fn write_trace(mut out: impl Write, measured: &[(&str, &[SpanRecord])]) -> io::Result<()> {
    let all = measured.iter().flat_map(|(_, events)| events.iter());
    let Some(zero) = all.map(|event| event.began).min() else {
        return out.write_all(b"{\"traceEvents\":[]}\n");
    };
    write!(out, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
    for (process, (name, events)) in (1..).zip(measured) {
        let separator = if process == 1 { "\n" } else { ",\n" };
        let named = json!({"ph": "M", "name": "process_name", "pid": process, "args": {"name": name}});
        write!(out, "{separator}{named}")?;
        for event in *events {
            write!(out, ",\n{}", trace_event(event, process, zero))?;
        }
    }
    writeln!(out, "\n]}}")
}

/// Returns a complete event (`X`), with times in microseconds since `zero`.
fn trace_event(event: &SpanRecord, process: usize, zero: Instant) -> Value {
    let micros = |from: Instant, to: Instant| (to - from).as_nanos() as f64 / 1e3;
    let name = match event.kind {
        SpanKind::Backward => format!("{} backward", event.name),
        _ => event.name.to_owned(),
    };
    let category = if event.kind.is_operation() { "operation" } else { event.kind.name() };
    let mut args = json!({"allocated_bytes": event.allocated_bytes});
    if event.flop > 0.0 {
        args["gflop"] = json!(event.flop / 1e9);
        args["gflop_per_s"] = json!(event.flop / 1e9 / event.seconds());
    }
    if event.readback_bytes > 0 {
        args["read_bytes"] = json!(event.readback_bytes);
    }
    json!({
        "ph": "X", "name": name, "cat": category, "pid": process, "tid": event.thread,
        "ts": micros(zero, event.began), "dur": micros(event.began, event.ended), "args": args,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_trace_is_json_with_times_in_microseconds() {
        let zero = Instant::now();
        let event = |name, of, from: u64, to: u64, flop| SpanRecord {
            name,
            kind: of,
            thread: 3,
            began: zero + Duration::from_micros(from),
            ended: zero + Duration::from_micros(to),
            flop,
            allocated_bytes: 8,
            readback_bytes: 0,
        };
        let one = [event("linear", SpanKind::Backward, 20, 30, 1e6), event("step", SpanKind::Step, 10, 50, 0.0)];
        let two = [event("sum", SpanKind::NoGraph, 60, 61, 0.0)];
        let mut out = Vec::new();
        write_trace(&mut out, &[("plain", &one), ("joint", &two)]).unwrap();
        let read: Value = serde_json::from_slice(&out).unwrap();
        let events = read["traceEvents"].as_array().unwrap();
        assert_eq!(events.len(), 5);
        let linear = &events[1];
        assert_eq!((linear["name"].as_str(), linear["ph"].as_str()), (Some("linear backward"), Some("X")));
        assert_eq!((linear["ts"].as_f64(), linear["dur"].as_f64()), (Some(10.0), Some(10.0)));
        assert_eq!((linear["tid"].as_u64(), linear["args"]["gflop_per_s"].as_f64()), (Some(3), Some(100.0)));
        assert_eq!((events[3]["args"]["name"].as_str(), events[4]["pid"].as_u64()), (Some("joint"), Some(2)));
        let mut out = Vec::new();
        write_trace(&mut out, &[("plain", &[])]).unwrap();
        assert!(serde_json::from_slice::<Value>(&out).unwrap()["traceEvents"].as_array().unwrap().is_empty());
    }
}
