//! Owns: the mutations of a file's bytes: flipped bits, cuts, copies, extreme numbers in binary and in text.
//! Must not know: any format.
//! Invariant: a mutation depends only on the generator and the bytes.

use coconut_lab::rng::SeededRng;
use rand::RngExt;
use std::ops::Range;

/// Numbers at the limits of their types, which readers take for sizes and offsets.
const EXTREME_INTEGERS: [u64; 10] =
    [0, 1, 0x7f, 0xff, 0x7fff, 0xffff_ffff, 0x7fff_ffff, 0x8000_0000, u64::MAX, i64::MAX as u64];

/// Texts that stand for a number, or are none.
const EXTREME_TEXTS: [&[u8]; 14] = [
    b"0",
    b"-1",
    b"1e308",
    b"1e-400",
    b"9223372036854775807",
    b"18446744073709551616",
    b"4294967295",
    b"NaN",
    b"null",
    b"\"\"",
    b"[]",
    b"{}",
    b"true",
    b"1.5",
];

/// Bytes with a meaning in text formats, and bytes that are no UTF-8.
const SPECIAL_BYTES: &[u8] = b"\0\n\r\t\x1b\"'\\{}[]:,=.#-+ \xff\xc3\xe2\xed";

/// Returns a copy of `bytes` with one to four mutations, most often one.
pub fn mutate(bytes: &[u8], rng: &mut SeededRng) -> Vec<u8> {
    let mut mutated = bytes.to_vec();
    // Half of the inputs have one mutation: the more there are, the earlier a reader gives up.
    for _ in 0..[1, 1, 2, 4][rng.random_range(0..4)] {
        mutate_once(&mut mutated, rng);
    }
    mutated
}

fn mutate_once(bytes: &mut Vec<u8>, rng: &mut SeededRng) {
    if bytes.is_empty() {
        bytes.push(rng.random_range(0..=255) as u8);
        return;
    }
    let at = position(bytes.len(), rng);
    match rng.random_range(0..11) {
        0 | 1 => bytes[at] ^= 1 << rng.random_range(0..8),
        2 => bytes[at] = rng.random_range(0..=255) as u8,
        3 => bytes[at] = SPECIAL_BYTES[rng.random_range(0..SPECIAL_BYTES.len())],
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(span(bytes.len(), rng))),
        6 => {
            let copy = bytes[span(bytes.len(), rng)].to_vec();
            bytes.splice(at..at, copy);
        }
        7 => {
            let copy = bytes[span(bytes.len(), rng)].to_vec();
            let end = bytes.len().min(at + copy.len());
            bytes.splice(at..end, copy);
        }
        8 => write_integer(bytes, at, rng),
        9 => replace_number(bytes, at, rng),
        _ => swap_lines(bytes, rng),
    }
}

/// Draws a position: half of the time near an end, because headers and footers decide how the rest is read.
fn position(len: usize, rng: &mut SeededRng) -> usize {
    let near = len.min(512);
    match rng.random_range(0..4) {
        0 => rng.random_range(0..near),
        1 => len - 1 - rng.random_range(0..near),
        _ => rng.random_range(0..len),
    }
}

/// Draws a range of at most 64 bytes, rarely of any length.
fn span(len: usize, rng: &mut SeededRng) -> Range<usize> {
    let start = position(len, rng);
    let longest = if rng.random_range(0..8) == 0 { len } else { 64 };
    start..len.min(start + rng.random_range(1..=longest))
}

/// Overwrites 1, 2, 4 or 8 bytes with an extreme integer in either byte order.
fn write_integer(bytes: &mut [u8], at: usize, rng: &mut SeededRng) {
    let value = EXTREME_INTEGERS[rng.random_range(0..EXTREME_INTEGERS.len())];
    let size = 1 << rng.random_range(0..4);
    let mut written = value.to_le_bytes()[..size].to_vec();
    if rng.random_range(0..4) == 0 {
        written.reverse();
    }
    let end = bytes.len().min(at + size);
    bytes[at..end].copy_from_slice(&written[..end - at]);
}

/// Replaces the number in text that stands at `at` or after it.
fn replace_number(bytes: &mut Vec<u8>, at: usize, rng: &mut SeededRng) {
    let Some(offset) = bytes[at..].iter().position(u8::is_ascii_digit) else { return };
    let start = at + offset;
    let is_part = |byte: &u8| byte.is_ascii_digit() || b".eE+-".contains(byte);
    let end = bytes[start..].iter().position(|byte| !is_part(byte)).map_or(bytes.len(), |length| start + length);
    let text = EXTREME_TEXTS[rng.random_range(0..EXTREME_TEXTS.len())];
    bytes.splice(start..end, text.iter().copied());
}

/// Copies a line to another place, over the line there or before it.
fn swap_lines(bytes: &mut Vec<u8>, rng: &mut SeededRng) {
    let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let (from, to) = (rng.random_range(0..lines.len()), rng.random_range(0..lines.len()));
    let line = lines[from].clone();
    match rng.random_range(0..3) {
        0 => lines[to] = line,
        1 => lines.insert(to, line),
        _ => drop(lines.remove(to)),
    }
    *bytes = lines.concat();
}
