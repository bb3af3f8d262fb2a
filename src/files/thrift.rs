//! Owns: the reading of Thrift's compact encoding as far as Parquet uses it: numbers, fields, and what to skip.
//! Must not know: what a field means.
//! Invariant: no declared size is believed: every length and count is held against the bytes that are left.

/// Deepest nesting that is followed. Parquet's own structures stay below 10.
const MAX_DEPTH: usize = 32;

/// Types of the compact encoding, as they stand in the low half of a field's first byte.
pub(super) const I32: u8 = 5;
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;

/// A reader of encoded bytes. `None` from any function means that the bytes are damaged or end too early.
pub(super) struct ThriftReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

/// The start of a field of a structure.
pub(super) struct Field {
    pub id: i16,
    pub kind: u8,
}

impl<'a> ThriftReader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Number of bytes read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.position
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.position)?;
        self.position += 1;
        Some(byte)
    }

    fn advance(&mut self, count: u64) -> Option<()> {
        let count = usize::try_from(count).ok().filter(|count| *count <= self.left())?;
        self.position += count;
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Reads a signed number.
    pub fn number(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Reads the start of the next field after field `previous`. `Some(None)` is the end of the structure.
    pub fn field(&mut self, previous: i16) -> Option<Option<Field>> {
        let first = self.byte()?;
        if first == 0 {
            return Some(None);
        }
        let id = match first >> 4 {
            0 => i16::try_from(self.number()?).ok()?,
            step => previous.checked_add(i16::from(step))?,
        };
        Some(Some(Field { id, kind: first & 0x0f }))
    }

    /// Skips the value of a field.
    pub fn skip(&mut self, kind: u8) -> Option<()> {
        self.skip_nested(kind, 0)
    }

    /// Skips a whole structure.
    pub fn skip_struct(&mut self) -> Option<()> {
        self.skip_nested(STRUCT, 0)
    }

    fn skip_nested(&mut self, kind: u8, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match kind {
            // A boolean field has its value in its type.
            1 | 2 => Some(()),
            3 => self.advance(1),
            4..=6 => self.varint().map(drop),
            7 => self.advance(8),
            8 => {
                let length = self.varint()?;
                self.advance(length)
            }
            // A set is encoded as a list.
            LIST | 10 => self.skip_list(depth),
            STRUCT => self.skip_fields(depth),
            _ => None,
        }
    }

    /// Reads the start of a list: the number and the type of its elements.
    pub fn list(&mut self) -> Option<(u64, u8)> {
        let first = self.byte()?;
        let count = match first >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        // An element takes at least a byte.
        (count <= self.left() as u64).then_some((count, first & 0x0f))
    }

    fn skip_list(&mut self, depth: usize) -> Option<()> {
        let (count, kind) = self.list()?;
        (0..count).try_for_each(|_| match kind {
            1 | 2 => self.advance(1),
            kind => self.skip_nested(kind, depth + 1),
        })
    }

    fn skip_fields(&mut self, depth: usize) -> Option<()> {
        let mut previous = 0;
        while let Some(field) = self.field(previous)? {
            self.skip_nested(field.kind, depth + 1)?;
            previous = field.id;
        }
        Some(())
    }
}

/// Encodes a signed number.
pub(super) fn encode_number(number: i64) -> Vec<u8> {
    let mut value = ((number << 1) ^ (number >> 63)) as u64;
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_encoding() {
        for number in [0, 1, -1, 63, 64, -65, i64::from(i32::MIN), i64::MAX] {
            assert_eq!(ThriftReader::new(&encode_number(number)).number(), Some(number));
        }
    }

    #[test]
    fn declared_sizes_beyond_the_bytes_are_not_believed() {
        // A list of 2^28 structures, a string of 2^28 bytes, a structure without end, 100 nested lists.
        let cases: [&[u8]; 4] = [
            &[0x19, 0xfc, 0x80, 0x80, 0x80, 0x80, 0x01, 0, 0],
            &[0x18, 0x80, 0x80, 0x80, 0x80, 0x01, 0, 0],
            &[0x15, 0x02],
            &[[0x19].as_slice(), &[0x19; 100]].concat(),
        ];
        for bytes in cases {
            assert_eq!(ThriftReader::new(bytes).skip_struct(), None, "{bytes:?}");
        }
        assert_eq!(ThriftReader::new(&[0x15, 0x02, 0x19, 0x25, 2, 4, 0]).skip_struct(), Some(()));
    }
}
